-- What the embedded PostgreSQL is asked by the one who starts it, as its superuser.

-- name: count_database
SELECT count(*) FROM pg_database WHERE datname = 'pyledger';

-- name: create_database
CREATE DATABASE pyledger;

-- name: create_roles
-- The three groups are the schema's, and its migrations find them as they would find any others; the
-- login role is the embedded database's own: what the server connects as, so that it cannot do more
-- here than on anybody's PostgreSQL.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['pyledger_owner', 'pyledger_writer', 'pyledger_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pyledger_server') THEN
        CREATE ROLE pyledger_server LOGIN IN ROLE pyledger_writer;
    END IF;
END
$$;
