-- Before the first migration, and harmless before each: the three roles and the schema. A role that may
-- not create roles gets a clear error unless they are there. The roles cannot log in; grant them.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['pyledger_owner', 'pyledger_writer', 'pyledger_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another migration of this cluster was faster
            END;
        END IF;
    END LOOP;
    IF NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
        BEGIN
            EXECUTE pg_catalog.format('GRANT pyledger_owner TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege THEN
            NULL; -- an administrator has made the roles; if this one is no member, SET ROLE will say so
        END;
    END IF;
    IF pg_catalog.to_regnamespace('pyledger') IS NULL THEN
        CREATE SCHEMA pyledger AUTHORIZATION pyledger_owner;
    END IF;
END $$;
