-- Partitions of the journal can be archived, dropped and restored; legal holds.

-- What was dropped from the journal and is in an archive: a row for each shard of each partition, for as long as that is
-- so. `first_seq` to `last_seq` are the batches that end in the partition, which are what the archive has; `kept_hash` is
-- the SHA-256 of the rows that stayed, and `ids_sum` a sum over the ids of `archived_id`.
CREATE TABLE pyledger.archived (
    start_ns bigint NOT NULL,
    shard smallint NOT NULL,
    end_ns bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    rows bigint NOT NULL,
    kept_rows bigint NOT NULL,
    kept_hash bytea NOT NULL,
    ids bigint NOT NULL,
    ids_sum numeric NOT NULL,
    CONSTRAINT archived_start_and_shard_unique PRIMARY KEY (start_ns, shard),
    CONSTRAINT archived_bounds_in_order CHECK (start_ns < end_ns),
    CONSTRAINT archived_rows_add_up CHECK (kept_rows BETWEEN 0 AND rows)
);

-- Every id that was ever dropped, for ever, so that none is used again. Also where it was restored since.
CREATE TABLE pyledger.archived_id (
    recorded_ns bigint NOT NULL,
    id uuid NOT NULL,
    tenant integer NOT NULL,
    shard smallint NOT NULL,
    CONSTRAINT archived_id_unique PRIMARY KEY (id, tenant, shard)
);

CREATE INDEX archived_id_recorded ON pyledger.archived_id USING brin (recorded_ns);

-- The epochs of before there were archives: who serves in one of them knows nothing of archived ids, so nothing is dropped.
CREATE TABLE pyledger.epoch_before_archives (
    shard smallint NOT NULL,
    epoch bigint NOT NULL,
    CONSTRAINT epoch_before_archives_one_a_shard PRIMARY KEY (shard)
);

-- What was done to partitions, in order: archived (a file was written and verified), dropped, restored.
CREATE TABLE pyledger.archive_log (
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    step text COLLATE "C" NOT NULL,
    start_ns bigint NOT NULL,
    end_ns bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    manifest text COLLATE "C" NOT NULL,
    done_by text COLLATE "C" NOT NULL DEFAULT session_user,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT archive_log_number_unique PRIMARY KEY (number),
    CONSTRAINT archive_log_step_known CHECK (step IN ('archived', 'dropped', 'restored'))
);

-- What must not be archived or dropped, whatever the policy says: all, or a tenant's, a ledger's or an account's rows.
CREATE TABLE pyledger.legal_hold (
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant integer,
    ledger integer,
    account uuid,
    reason text COLLATE "C" NOT NULL,
    placed_by text COLLATE "C" NOT NULL DEFAULT session_user,
    placed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT legal_hold_number_unique PRIMARY KEY (number),
    CONSTRAINT legal_hold_tenant_exists FOREIGN KEY (tenant) REFERENCES pyledger.tenant (id),
    CONSTRAINT legal_hold_of_a_tenant CHECK (tenant IS NOT NULL OR ledger IS NULL AND account IS NULL),
    CONSTRAINT legal_hold_reason_length CHECK (octet_length(reason) BETWEEN 1 AND 1024)
);

CREATE TABLE pyledger.legal_hold_lifted (
    number bigint NOT NULL,
    reason text COLLATE "C" NOT NULL,
    lifted_by text COLLATE "C" NOT NULL DEFAULT session_user,
    lifted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT legal_hold_lifted_once PRIMARY KEY (number),
    CONSTRAINT legal_hold_lifted_exists FOREIGN KEY (number) REFERENCES pyledger.legal_hold (number),
    CONSTRAINT legal_hold_lifted_reason_length CHECK (octet_length(reason) BETWEEN 1 AND 1024)
);

-- The state as of the end of what was dropped last: where `check` begins, and what a checkpoint is made anew from.
CREATE TABLE pyledger.base (
    shard smallint NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    last_ns bigint NOT NULL,
    ledgers bigint NOT NULL,
    accounts bigint NOT NULL,
    holds bigint NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT base_one_a_shard PRIMARY KEY (shard),
    CONSTRAINT base_hash_32_bytes CHECK (octet_length(hash) = 32),
    CONSTRAINT base_digest_32_bytes CHECK (octet_length(digest) = 32)
);

CREATE TABLE pyledger.base_ledger (
    LIKE pyledger.ledger,
    CONSTRAINT base_ledger_number_unique PRIMARY KEY (shard, tenant, number)
);

CREATE TABLE pyledger.base_account (
    LIKE pyledger.account,
    CONSTRAINT base_account_slot_unique PRIMARY KEY (shard, slot)
) WITH (fillfactor = 70);

CREATE INDEX base_account_id ON pyledger.base_account (id);

CREATE TABLE pyledger.base_hold (
    LIKE pyledger.hold,
    CONSTRAINT base_hold_id_unique PRIMARY KEY (shard, tenant, id)
);

-- The end of an owner is the schema that it knows. One from before there were archives would execute what is archived
-- a second time; it may have stood by since before the migration, and asks for the schema when it connects only.
CREATE FUNCTION pyledger.refuse_older_owner() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF right(new.owner, 5) !~ '^:[0-9]{4}$' OR right(new.owner, 5) COLLATE "C" < ':0009' THEN
        RAISE EXCEPTION 'a server of an older version cannot take this shard over any more: stop it'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN new;
END $$;

CREATE TRIGGER head_owner_not_older BEFORE UPDATE OF epoch ON pyledger.head
    FOR EACH ROW WHEN (new.epoch > old.epoch) EXECUTE FUNCTION pyledger.refuse_older_owner();

-- After the trigger, whose lock waits for a takeover that is under way: such a one is of before, too.
INSERT INTO pyledger.epoch_before_archives SELECT shard, epoch FROM pyledger.head;

CREATE TRIGGER archived_id_never_changed BEFORE UPDATE OR DELETE ON pyledger.archived_id
    FOR EACH ROW EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER archived_id_never_truncated BEFORE TRUNCATE ON pyledger.archived_id
    FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER archive_log_never_changed BEFORE UPDATE OR DELETE ON pyledger.archive_log
    FOR EACH ROW EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER archive_log_never_truncated BEFORE TRUNCATE ON pyledger.archive_log
    FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER legal_hold_never_changed BEFORE UPDATE OR DELETE ON pyledger.legal_hold
    FOR EACH ROW EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER legal_hold_never_truncated BEFORE TRUNCATE ON pyledger.legal_hold
    FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER legal_hold_lifted_never_changed BEFORE UPDATE OR DELETE ON pyledger.legal_hold_lifted
    FOR EACH ROW EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER legal_hold_lifted_never_truncated BEFORE TRUNCATE ON pyledger.legal_hold_lifted
    FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change();

-- Makes the twin of a partition of the journal: an empty table with its bounds, to be filled, indexed and swapped in.
CREATE FUNCTION pyledger.make_twin(partition text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old pyledger.partition%ROWTYPE;
BEGIN
    SELECT * INTO STRICT old FROM pyledger.partition WHERE name = make_twin.partition;
    EXECUTE format('CREATE TABLE pyledger.%I (LIKE pyledger.journal INCLUDING ALL, '
        'CONSTRAINT journal_bounds CHECK (recorded_ns >= %s AND recorded_ns < %s)) '
        'WITH (autovacuum_vacuum_insert_threshold = 0, autovacuum_vacuum_insert_scale_factor = 0, '
        'autovacuum_freeze_min_age = 0, autovacuum_freeze_table_age = 0)',
        old.name || '_twin', old.start_ns, old.end_ns);
END $$;

-- Gives a twin that was filled the indexes and triggers that the partition has.
CREATE FUNCTION pyledger.index_twin(partition text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET max_parallel_maintenance_workers = 0 AS $$
DECLARE
    definition text;
BEGIN
    FOR definition IN
        SELECT pg_get_indexdef(indexrelid) FROM pg_index
        WHERE indrelid = to_regclass(format('pyledger.%I', partition)) AND indisvalid ORDER BY indexrelid
    LOOP
        EXECUTE replace(definition, partition, partition || '_twin');
    END LOOP;
    FOR definition IN
        SELECT pg_get_triggerdef(oid) FROM pg_trigger
        WHERE tgrelid = to_regclass(format('pyledger.%I', partition)) AND NOT tgisinternal AND tgparentid = 0 ORDER BY tgname
    LOOP
        EXECUTE replace(definition, partition, partition || '_twin');
    END LOOP;
END $$;

-- Puts a twin in the place of its partition, which is dropped. Waits for its lock no longer than appends may wait for it;
-- whoever calls it may try again from a savepoint. And who falls silent before the COMMIT is cut off.
CREATE FUNCTION pyledger.swap_twin(partition text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    old pyledger.partition%ROWTYPE;
    index name;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('pyledger.make_partitions', 0));
    PERFORM set_config('idle_in_transaction_session_timeout', '2s', true);
    SELECT * INTO STRICT old FROM pyledger.partition WHERE name = swap_twin.partition;
    LOCK TABLE ONLY pyledger.journal IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('ALTER TABLE pyledger.journal DETACH PARTITION pyledger.%I', old.name);
    EXECUTE format('DROP TABLE pyledger.%I', old.name);
    EXECUTE format('ALTER TABLE pyledger.%I RENAME TO %I', old.name || '_twin', old.name);
    FOR index IN
        SELECT relname FROM pg_class JOIN pg_index ON indexrelid = oid
        WHERE indrelid = to_regclass(format('pyledger.%I', old.name))
    LOOP
        EXECUTE format('ALTER INDEX pyledger.%I RENAME TO %I', index, replace(index, '_twin', ''));
    END LOOP;
    EXECUTE format('ALTER TABLE pyledger.journal ATTACH PARTITION pyledger.%I FOR VALUES FROM (%L) TO (%L)',
        old.name, old.start_ns, old.end_ns);
END $$;

-- A partition that is closed keeps its bounds: archives are of these.
CREATE OR REPLACE FUNCTION pyledger.split_partition(from_ns bigint, at_ns bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    second_ns CONSTANT bigint := 1000000000;
    size_max_bytes CONSTANT bigint := 33554432;
    old pyledger.partition%ROWTYPE;
    beyond boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('pyledger.make_partitions', 0));
    SELECT * INTO old FROM pyledger.partition WHERE start_ns = from_ns;
    IF NOT FOUND OR at_ns <= old.start_ns OR at_ns >= old.end_ns OR at_ns % second_ns <> 0 THEN
        RAISE EXCEPTION 'there is no partition from % to split at %', from_ns, at_ns
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = to_regclass(format('pyledger.%I', old.name)) AND tgname = 'journal_over'
    ) OR pg_relation_size(format('pyledger.%I', old.name)) > size_max_bytes THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY pyledger.journal IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('LOCK TABLE pyledger.%I IN ACCESS EXCLUSIVE MODE NOWAIT', old.name);
    EXECUTE format('SELECT EXISTS (SELECT FROM pyledger.%I WHERE recorded_ns >= %s)', old.name, at_ns) INTO beyond;
    IF beyond THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE pyledger.journal DETACH PARTITION pyledger.%I', old.name);
    EXECUTE format('ALTER TABLE pyledger.%I DROP CONSTRAINT IF EXISTS journal_bounds', old.name);
    EXECUTE format('ALTER TABLE pyledger.%I '
        'ADD CONSTRAINT journal_bounds CHECK (recorded_ns >= %s AND recorded_ns < %s)', old.name, old.start_ns, at_ns);
    EXECUTE format('ALTER TABLE pyledger.journal ATTACH PARTITION pyledger.%I FOR VALUES FROM (%L) TO (%L)',
        old.name, old.start_ns, at_ns);
    UPDATE pyledger.partition SET end_ns = at_ns WHERE start_ns = from_ns;
    PERFORM pyledger.make_partition(
        'journal_' || to_char(to_timestamp(at_ns / second_ns) AT TIME ZONE 'UTC', 'YYYYMMDD_HH24MISS'),
        at_ns, old.end_ns
    );
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;

REVOKE ALL ON FUNCTION pyledger.make_twin FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.index_twin FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.swap_twin FROM PUBLIC;
GRANT SELECT ON pyledger.archived, pyledger.archived_id, pyledger.archive_log, pyledger.legal_hold,
    pyledger.legal_hold_lifted, pyledger.epoch_before_archives, pyledger.base, pyledger.base_ledger, pyledger.base_account, pyledger.base_hold
    TO pyledger_writer, pyledger_reader;
