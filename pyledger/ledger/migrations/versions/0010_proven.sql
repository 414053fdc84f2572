-- A batch and a checkpoint say nothing that `pyledger check` cannot prove: these columns followed from nothing, nothing
-- followed from them, and whoever changed one of them was not found out.

ALTER TABLE pyledger.batch DROP COLUMN epoch, DROP COLUMN committed_at;
ALTER TABLE pyledger.checkpoint DROP COLUMN taken_at;
ALTER TABLE pyledger.signed_checkpoint DROP COLUMN signed_at;

-- An owner of before could append nothing more: it may have stood by since, and asks for the schema when it connects only.
CREATE OR REPLACE FUNCTION pyledger.refuse_older_owner() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF right(new.owner, 5) !~ '^:[0-9]{4}$' OR right(new.owner, 5) COLLATE "C" < ':0010' THEN
        RAISE EXCEPTION 'a server of an older version cannot take this shard over any more: stop it'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN new;
END $$;
