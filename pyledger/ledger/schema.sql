-- The schema as it is, in one file: what the migrations build, held equal to them by a test. Read it to
-- know the database; the migrations are what is run.
--
-- Guarded here: the journal and the batches are only ever added to. The writer's role has no right to
-- change them, triggers refuse it to whoever has, and there is no default partition where a row with
-- an impossible time could hide.

-- One row a shard: who owns it, and where its history ends. The compare-and-set of every append.
CREATE TABLE pyledger.head (
    shard smallint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    last_ns bigint NOT NULL,
    owner text NOT NULL,
    beat bigint NOT NULL,
    CONSTRAINT head_one_a_shard PRIMARY KEY (shard),
    CONSTRAINT head_shard_not_negative CHECK (shard >= 0),
    CONSTRAINT head_epoch_not_negative CHECK (epoch >= 0),
    CONSTRAINT head_seq_not_negative CHECK (seq >= 0),
    CONSTRAINT head_hash_32_bytes CHECK (octet_length(hash) = 32)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- One row a decided command, accepted or declined. Weekly partitions; their indexes are made with them,
-- because a unique index of the whole table would have to contain the time.
CREATE TABLE pyledger.journal (
    shard smallint NOT NULL,
    seq bigint NOT NULL,
    recorded_ns bigint NOT NULL,
    id uuid NOT NULL,
    tenant integer NOT NULL,
    kind smallint NOT NULL,
    status smallint NOT NULL,
    debit_account uuid,
    credit_account uuid,
    amount numeric(39, 0) NOT NULL,
    target uuid,
    ledger integer NOT NULL,
    code integer NOT NULL,
    flags integer NOT NULL,
    timeout_s integer NOT NULL,
    effective_ns bigint,
    fingerprint bytea NOT NULL,
    reference text COLLATE "C",
    metadata text COLLATE "C",
    debit_after bytea,
    credit_after bytea,
    CONSTRAINT journal_kind_known CHECK (kind BETWEEN 1 AND 8),
    CONSTRAINT journal_amount_not_negative CHECK (amount >= 0)
) PARTITION BY RANGE (recorded_ns);

-- One row a committed batch: its rows' Merkle root, and the hash that chains it to the one before.
CREATE TABLE pyledger.batch (
    shard smallint NOT NULL,
    seq bigint NOT NULL,
    rows integer NOT NULL,
    first_ns bigint NOT NULL,
    last_ns bigint NOT NULL,
    root bytea NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT batch_rows_positive CHECK (rows > 0),
    CONSTRAINT batch_times_in_order CHECK (first_ns <= last_ns)
) PARTITION BY RANGE (first_ns);

-- One row a partition of the journal: its bounds, written in the transaction that made them, and what it gets once
-- nothing more can be added to it: the indexes of history, and then its seal, which is how many rows it has, the Merkle
-- root over the hashes of the batches that begin in it, and a filter of its ids (rust_ext/core/src/filter.rs).
CREATE TABLE pyledger.partition (
    name text COLLATE "C" NOT NULL,
    start_ns bigint NOT NULL,
    end_ns bigint NOT NULL,
    indexed_at timestamptz,
    sealed_at timestamptz,
    rows bigint,
    root bytea,
    filter bytea,
    CONSTRAINT partition_start_unique PRIMARY KEY (start_ns),
    CONSTRAINT partition_name_unique UNIQUE (name),
    CONSTRAINT partition_bounds_in_order CHECK (start_ns < end_ns),
    CONSTRAINT partition_seal_whole CHECK (num_nulls(sealed_at, rows, root, filter) IN (0, 4))
);
ALTER TABLE pyledger.partition ALTER COLUMN filter SET STORAGE EXTERNAL;

-- The state as of one batch, written off the money path; recovery replays the journal after it.
CREATE TABLE pyledger.checkpoint (
    shard smallint NOT NULL,
    epoch bigint NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    last_ns bigint NOT NULL,
    ledgers bigint NOT NULL,
    accounts bigint NOT NULL,
    holds bigint NOT NULL,
    CONSTRAINT checkpoint_one_a_shard PRIMARY KEY (shard),
    CONSTRAINT checkpoint_hash_32_bytes CHECK (octet_length(hash) = 32)
);

-- Of the three tables of a checkpoint: a row's seal is a sum over the rest of it, see rust_ext/core/src/tables.rs.
CREATE TABLE pyledger.ledger (
    shard smallint NOT NULL,
    tenant integer NOT NULL,
    number integer NOT NULL,
    asset text COLLATE "C" NOT NULL,
    exponent integer NOT NULL,
    created_ns bigint NOT NULL,
    imported_ns bigint NOT NULL,
    seal bigint NOT NULL,
    CONSTRAINT ledger_number_unique PRIMARY KEY (shard, tenant, number)
);

-- Room on each page lets the balances of a row change without touching its index.
CREATE TABLE pyledger.account (
    shard smallint NOT NULL,
    slot bigint NOT NULL,
    tenant integer NOT NULL,
    id uuid NOT NULL,
    ledger integer NOT NULL,
    code integer NOT NULL,
    flags integer NOT NULL,
    allowance numeric(39, 0),
    debits_pending numeric(39, 0) NOT NULL,
    debits_posted numeric(39, 0) NOT NULL,
    credits_pending numeric(39, 0) NOT NULL,
    credits_posted numeric(39, 0) NOT NULL,
    created_ns bigint NOT NULL,
    effective_ns bigint,
    seal bigint NOT NULL,
    CONSTRAINT account_slot_unique PRIMARY KEY (shard, slot)
) WITH (fillfactor = 70);

CREATE TABLE pyledger.hold (
    shard smallint NOT NULL,
    tenant integer NOT NULL,
    id uuid NOT NULL,
    debit_account uuid NOT NULL,
    credit_account uuid NOT NULL,
    amount numeric(39, 0) NOT NULL,
    ledger integer NOT NULL,
    code integer NOT NULL,
    flags integer NOT NULL,
    recorded_ns bigint NOT NULL,
    expires_ns bigint NOT NULL,
    group_id uuid,
    seal bigint NOT NULL,
    CONSTRAINT hold_id_unique PRIMARY KEY (shard, tenant, id)
);

-- What proofs need to be short: of each 256 batches the hash of their subtree (level 1), of each 256 of those again, and
-- so on. It follows from the batches; pyledger/ledger/proofs/tree.py.
CREATE TABLE pyledger.subtree (
    shard smallint NOT NULL,
    level smallint NOT NULL,
    number bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT subtree_place_unique PRIMARY KEY (shard, level, number),
    CONSTRAINT subtree_level_known CHECK (level BETWEEN 1 AND 7),
    CONSTRAINT subtree_number_not_negative CHECK (number >= 0),
    CONSTRAINT subtree_hash_32_bytes CHECK (octet_length(hash) = 32)
);

-- The roots that were signed, as C2SP checkpoints, with the public key that verifies each.
CREATE TABLE pyledger.signed_checkpoint (
    shard smallint NOT NULL,
    size bigint NOT NULL,
    key_number bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    note text COLLATE "C" NOT NULL,
    CONSTRAINT signed_checkpoint_size_and_key_unique PRIMARY KEY (shard, size, key_number),
    CONSTRAINT signed_checkpoint_size_positive CHECK (size > 0),
    CONSTRAINT signed_checkpoint_key_number_32_bits CHECK (key_number BETWEEN 0 AND 4294967295)
);

CREATE TABLE pyledger.tenant (
    id integer NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    name text COLLATE "C" NOT NULL,
    CONSTRAINT tenant_id_unique PRIMARY KEY (id),
    CONSTRAINT tenant_name_unique UNIQUE (name),
    CONSTRAINT tenant_name_length CHECK (octet_length(name) BETWEEN 1 AND 128)
);

CREATE TABLE pyledger.api_key (
    id uuid NOT NULL,
    hash bytea NOT NULL,
    tenant integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT api_key_id_unique PRIMARY KEY (id),
    CONSTRAINT api_key_hash_unique UNIQUE (hash),
    CONSTRAINT api_key_hash_32_bytes CHECK (octet_length(hash) = 32),
    CONSTRAINT api_key_tenant_exists FOREIGN KEY (tenant) REFERENCES pyledger.tenant (id)
);

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

CREATE FUNCTION pyledger.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION '% of %.% is refused: what is recorded is never rewritten',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

-- The end of an owner is the schema that it knows. One from before there were archives would execute what is archived
-- a second time, and one of before 0010 could append nothing; it may have stood by since before the migration, and asks
-- for the schema when it connects only.
CREATE FUNCTION pyledger.refuse_older_owner() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF right(new.owner, 5) !~ '^:[0-9]{4}$' OR right(new.owner, 5) COLLATE "C" < ':0010' THEN
        RAISE EXCEPTION 'a server of an older version cannot take this shard over any more: stop it'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN new;
END $$;

CREATE TRIGGER head_owner_not_older BEFORE UPDATE OF epoch ON pyledger.head
    FOR EACH ROW WHEN (new.epoch > old.epoch) EXECUTE FUNCTION pyledger.refuse_older_owner();

-- Row triggers are cloned to every partition; statement triggers are not, and are made with each.
CREATE TRIGGER journal_never_changed BEFORE UPDATE OR DELETE ON pyledger.journal
    FOR EACH ROW EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER journal_never_truncated BEFORE TRUNCATE ON pyledger.journal
    FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER batch_never_changed BEFORE UPDATE OR DELETE ON pyledger.batch
    FOR EACH ROW EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER batch_never_truncated BEFORE TRUNCATE ON pyledger.batch
    FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change();

CREATE TRIGGER signed_checkpoint_never_changed BEFORE UPDATE OR DELETE ON pyledger.signed_checkpoint
    FOR EACH ROW EXECUTE FUNCTION pyledger.refuse_change();
CREATE TRIGGER signed_checkpoint_never_truncated BEFORE TRUNCATE ON pyledger.signed_checkpoint
    FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change();

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

-- Makes one partition of the journal. A table is made apart and then attached, because that takes no lock that an
-- append would wait for. What its bounds say is a constraint too, for those of a partition can only be widened without
-- reading all of it where a constraint says that there is nothing outside of them.
CREATE FUNCTION pyledger.make_partition(name text, start_ns bigint, end_ns bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    EXECUTE format('CREATE TABLE pyledger.%I (LIKE pyledger.journal INCLUDING ALL, '
        'CONSTRAINT journal_bounds CHECK (recorded_ns >= %s AND recorded_ns < %s)) '
        'WITH (autovacuum_vacuum_insert_threshold = -1)', name, start_ns, end_ns);
    EXECUTE format('CREATE UNIQUE INDEX %I ON pyledger.%I (id, tenant, shard)', name || '_id_unique', name);
    EXECUTE format('CREATE INDEX %I ON pyledger.%I USING brin (recorded_ns)', name || '_recorded', name);
    EXECUTE format('CREATE INDEX %I ON pyledger.%I (target, tenant) WHERE target IS NOT NULL AND status = 0',
        name || '_target', name);
    EXECUTE format('CREATE TRIGGER journal_never_truncated BEFORE TRUNCATE ON pyledger.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change()', name);
    EXECUTE format('ALTER TABLE pyledger.journal ATTACH PARTITION pyledger.%I FOR VALUES FROM (%L) TO (%L)',
        name, start_ns, end_ns);
    DELETE FROM pyledger.partition AS gone
    WHERE gone.start_ns < make_partition.end_ns AND gone.end_ns > make_partition.start_ns;
    INSERT INTO pyledger.partition (name, start_ns, end_ns) VALUES (name, start_ns, end_ns);
END $$;

-- Makes the partitions of `weeks` weeks from the one that contains `from_ns`, or what is missing of them, and
-- returns the nanosecond where they end.
CREATE FUNCTION pyledger.make_partitions(from_ns bigint, weeks integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    week_ns CONSTANT bigint := 604800000000000;
    monday_ns CONSTANT bigint := 345600000000000;
    second_ns CONSTANT bigint := 1000000000;
    start_ns bigint;
    missing_ns bigint;
    there record;
    day text;
BEGIN
    IF from_ns < monday_ns OR weeks NOT BETWEEN 1 AND 60 THEN
        RAISE EXCEPTION 'partitions from % for % weeks are refused', from_ns, weeks
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('pyledger.make_partitions', 0));
    FOR week IN 0 .. weeks - 1 LOOP
        start_ns := from_ns - (from_ns - monday_ns) % week_ns + week * week_ns;
        day := to_char(to_timestamp(start_ns / 1000000000) AT TIME ZONE 'UTC', 'YYYYMMDD');
        missing_ns := start_ns;
        FOR there IN
            SELECT bounds[1]::bigint AS low_ns, bounds[2]::bigint AS high_ns
            FROM pg_inherits
            JOIN pg_class AS made ON made.oid = inhrelid
            CROSS JOIN regexp_match(
                pg_get_expr(made.relpartbound, made.oid), 'FROM \(''(\d+)''\) TO \(''(\d+)''\)'
            ) AS bounds
            WHERE inhparent = 'pyledger.journal'::regclass
                AND bounds[1]::bigint >= start_ns AND bounds[2]::bigint <= start_ns + week_ns
            UNION ALL
            SELECT start_ns + week_ns, start_ns + week_ns
            ORDER BY low_ns
        LOOP
            IF missing_ns < there.low_ns AND there.low_ns > from_ns THEN
                PERFORM pyledger.make_partition(
                    'journal_' || to_char(to_timestamp(missing_ns / second_ns) AT TIME ZONE 'UTC',
                        CASE WHEN missing_ns = start_ns THEN 'YYYYMMDD' ELSE 'YYYYMMDD_HH24MISS' END),
                    missing_ns, there.low_ns
                );
            END IF;
            missing_ns := there.high_ns;
        END LOOP;
        IF to_regclass('pyledger.batch_' || day) IS NULL THEN
            EXECUTE format('CREATE TABLE pyledger.%I (LIKE pyledger.batch INCLUDING ALL)', 'batch_' || day);
            EXECUTE format('CREATE UNIQUE INDEX %I ON pyledger.%I (shard, seq)',
                'batch_' || day || '_seq_unique', 'batch_' || day);
            EXECUTE format('CREATE INDEX %I ON pyledger.%I (shard, first_ns)',
                'batch_' || day || '_first', 'batch_' || day);
            EXECUTE format('CREATE TRIGGER batch_never_truncated BEFORE TRUNCATE ON pyledger.%I '
                'FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change()', 'batch_' || day);
            EXECUTE format('ALTER TABLE pyledger.batch ATTACH PARTITION pyledger.%I FOR VALUES FROM (%L) TO (%L)',
                'batch_' || day, start_ns, start_ns + week_ns);
        END IF;
    END LOOP;
    RETURN start_ns + week_ns;
END $$;

-- Summarizes the BRIN index of a journal's partition from a page on, range by range, and returns where it stopped: at
-- the pages that may still be written to, for a row in a summarized range costs an update of its summary. Null if
-- somebody else is at the table, such as autovacuum: not now.
CREATE FUNCTION pyledger.summarize_journal(partition text, from_page bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    range_pages CONSTANT bigint := 128;
    unsettled_pages CONSTANT bigint := 256;
    ranges_max CONSTANT bigint := 64;
    page bigint := from_page - from_page % range_pages;
    end_page bigint;
BEGIN
    IF from_page < 0 OR NOT EXISTS (
        SELECT FROM pg_inherits WHERE inhparent = 'pyledger.journal'::regclass
            AND inhrelid = to_regclass(format('pyledger.%I', partition))
    ) THEN
        RAISE EXCEPTION 'there is no partition % with a page %', partition, from_page
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    end_page := least(
        pg_relation_size(format('pyledger.%I', partition)) / current_setting('block_size')::bigint - unsettled_pages,
        page + ranges_max * range_pages
    );
    WHILE page + range_pages <= end_page LOOP
        PERFORM brin_summarize_range(format('pyledger.%I', partition || '_recorded')::regclass, page);
        page := page + range_pages;
    END LOOP;
    RETURN page;
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
END $$;

-- Ends a partition of the journal at `at_ns`; a new one takes its range from there on. False if it is closed, if it has
-- too many rows to be read again under a lock that appends wait for, or one from there on, or if that lock is not to be
-- had at once.
CREATE FUNCTION pyledger.split_partition(from_ns bigint, at_ns bigint) RETURNS boolean
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

-- Gives a partition of the journal the range of the next one, of the same week, if that is empty, and drops that.
-- False if it is not, if nothing but reading it says that the partition's rows are within its bounds, or if the lock
-- is not to be had at once.
CREATE FUNCTION pyledger.merge_partition(from_ns bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
DECLARE
    old pyledger.partition%ROWTYPE;
    following pyledger.partition%ROWTYPE;
    filled boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('pyledger.make_partitions', 0));
    SELECT * INTO old FROM pyledger.partition WHERE start_ns = from_ns;
    SELECT * INTO following FROM pyledger.partition WHERE start_ns = old.end_ns AND name ~ '_\d{8}_\d{6}$';
    IF following IS NULL OR EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = to_regclass(format('pyledger.%I', old.name)) AND tgname = 'journal_over'
    ) OR NOT EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = to_regclass(format('pyledger.%I', old.name))
            AND conname = 'journal_bounds' AND convalidated
    ) THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY pyledger.journal IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('LOCK TABLE pyledger.%I, pyledger.%I IN ACCESS EXCLUSIVE MODE NOWAIT', old.name, following.name);
    EXECUTE format('SELECT EXISTS (SELECT FROM pyledger.%I)', following.name) INTO filled;
    -- It may have been closed while the locks were waited for: what takes no row must not get the range of now.
    IF filled OR EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = to_regclass(format('pyledger.%I', old.name)) AND tgname = 'journal_over'
    ) THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE pyledger.journal DETACH PARTITION pyledger.%I', following.name);
    EXECUTE format('DROP TABLE pyledger.%I', following.name);
    EXECUTE format('ALTER TABLE pyledger.journal DETACH PARTITION pyledger.%I', old.name);
    EXECUTE format('ALTER TABLE pyledger.journal ATTACH PARTITION pyledger.%I FOR VALUES FROM (%L) TO (%L)',
        old.name, old.start_ns, following.end_ns);
    -- The same as what is being a partition demands: nothing is refused that would have been stored.
    EXECUTE format('ALTER TABLE pyledger.%I DROP CONSTRAINT journal_bounds', old.name);
    EXECUTE format('ALTER TABLE pyledger.%I '
        'ADD CONSTRAINT journal_bounds CHECK (recorded_ns >= %s AND recorded_ns < %s) NOT VALID',
        old.name, old.start_ns, following.end_ns);
    DELETE FROM pyledger.partition WHERE start_ns = following.start_ns;
    UPDATE pyledger.partition SET end_ns = following.end_ns WHERE start_ns = from_ns;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;

-- Reads a partition of the journal, beside appends, to prove what `merge_partition` has to know; unless somebody else
-- is at it.
CREATE FUNCTION pyledger.validate_partition(from_ns bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
BEGIN
    EXECUTE format('ALTER TABLE pyledger.%I VALIDATE CONSTRAINT journal_bounds',
        (SELECT name FROM pyledger.partition WHERE start_ns = from_ns));
EXCEPTION WHEN lock_not_available THEN
    NULL;
END $$;

-- Gives a partition of the journal the next of the indexes of history that it lacks, once each shard's head is past it,
-- and one of them by so much that a shard without rows, or one that is opened now, begins after it, for clocks differ by
-- less (seal_after_s in nouns.py). Where a clock was wrong, this is not so: from then on the partition itself refuses
-- rows, so that what is stored of its ids stays all of them, and a shard that has one serves no more. When it has its
-- indexes, autovacuum is let freeze it, for a function cannot. True once all is done: whoever asks may rest between two indexes.
CREATE FUNCTION pyledger.index_partition(from_ns bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET max_parallel_maintenance_workers = 0 AS $$
DECLARE
    seal_after_ns CONSTANT bigint := 10000000000;
    side text;
    old pyledger.partition%ROWTYPE;
    closed boolean;
BEGIN
    SELECT * INTO STRICT old FROM pyledger.partition WHERE start_ns = from_ns;
    closed := EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = to_regclass(format('pyledger.%I', old.name)) AND tgname = 'journal_over'
    );
    IF closed AND old.indexed_at IS NOT NULL THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT FROM pyledger.head WHERE seq > 0 AND last_ns < old.end_ns)
        OR NOT EXISTS (SELECT FROM pyledger.head WHERE last_ns >= old.end_ns + seal_after_ns)
        OR NOT pg_try_advisory_xact_lock(hashtextextended('pyledger.index_partition', 0)) THEN
        RETURN false;
    END IF;
    IF NOT closed THEN
        EXECUTE format('CREATE TRIGGER journal_over BEFORE INSERT ON pyledger.%I '
            'FOR EACH ROW EXECUTE FUNCTION pyledger.refuse_change()', old.name);
        -- The lock waited for what was on its way: whose head is before the end may have added to it just now, and its
        -- end may have been moved on.
        IF EXISTS (SELECT FROM pyledger.head WHERE seq > 0 AND last_ns < old.end_ns)
            OR NOT EXISTS (SELECT FROM pyledger.partition WHERE start_ns = from_ns AND end_ns = old.end_ns) THEN
            EXECUTE format('DROP TRIGGER journal_over ON pyledger.%I', old.name);
            RETURN false;
        END IF;
    END IF;
    FOREACH side IN ARRAY ARRAY['debit', 'credit'] LOOP
        IF to_regclass(format('pyledger.%I', old.name || '_' || side)) IS NULL THEN
            EXECUTE format('CREATE INDEX %I ON pyledger.%I (%I, tenant, shard, recorded_ns) '
                'WHERE %I IS NOT NULL', old.name || '_' || side, old.name, side || '_account', side || '_account');
            RETURN false;
        END IF;
    END LOOP;
    PERFORM brin_summarize_new_values(format('pyledger.%I', old.name || '_recorded')::regclass);
    EXECUTE format('ALTER TABLE pyledger.%I SET (autovacuum_freeze_min_age = 0, autovacuum_freeze_table_age = 0, '
        'autovacuum_vacuum_insert_threshold = 0, autovacuum_vacuum_insert_scale_factor = 0)', old.name);
    UPDATE pyledger.partition SET indexed_at = clock_timestamp() WHERE start_ns = from_ns;
    RETURN true;
END $$;

-- Stores the seal of a partition of the journal that has its indexes and ends where the seal does. False if it has a
-- seal, which is not replaced, or does not.
CREATE FUNCTION pyledger.seal_partition(
    from_ns bigint, until_ns bigint, rows bigint, root bytea, filter bytea
) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE pyledger.partition AS sealed
    SET sealed_at = clock_timestamp(), rows = seal_partition.rows, root = seal_partition.root,
        filter = seal_partition.filter
    WHERE sealed.start_ns = from_ns AND sealed.end_ns = until_ns AND sealed.indexed_at IS NOT NULL AND sealed.sealed_at IS NULL;
    RETURN FOUND;
END $$;

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

-- Gives a new shard its head and its empty checkpoint, at the genesis of the chain.
CREATE FUNCTION pyledger.open_shard(new_shard smallint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO pyledger.head VALUES (new_shard, 0, 0, decode(repeat('00', 32), 'hex'), 0, '', 0)
        ON CONFLICT DO NOTHING;
    INSERT INTO pyledger.checkpoint VALUES (new_shard, 0, 0, decode(repeat('00', 32), 'hex'), 0, 0, 0, 0)
        ON CONFLICT DO NOTHING;
$$;

REVOKE ALL ON FUNCTION pyledger.make_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.make_partitions FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.summarize_journal FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.split_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.merge_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.validate_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.index_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.seal_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.make_twin FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.index_twin FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.swap_twin FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.open_shard FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.refuse_change FROM PUBLIC;
GRANT USAGE ON SCHEMA pyledger TO pyledger_writer, pyledger_reader;
GRANT EXECUTE ON FUNCTION pyledger.make_partitions, pyledger.summarize_journal, pyledger.split_partition,
    pyledger.merge_partition, pyledger.validate_partition, pyledger.index_partition, pyledger.seal_partition,
    pyledger.open_shard TO pyledger_writer;
GRANT SELECT ON pyledger.head, pyledger.journal, pyledger.batch, pyledger.partition, pyledger.checkpoint,
    pyledger.ledger, pyledger.account, pyledger.hold, pyledger.subtree, pyledger.signed_checkpoint, pyledger.tenant
    TO pyledger_writer, pyledger_reader;
GRANT SELECT ON pyledger.api_key TO pyledger_writer;
GRANT INSERT ON pyledger.journal, pyledger.batch, pyledger.subtree, pyledger.signed_checkpoint TO pyledger_writer;
GRANT UPDATE ON pyledger.head, pyledger.checkpoint TO pyledger_writer;
GRANT INSERT, UPDATE, DELETE ON pyledger.ledger, pyledger.account, pyledger.hold TO pyledger_writer;
GRANT SELECT ON pyledger.archived, pyledger.archived_id, pyledger.archive_log, pyledger.legal_hold,
    pyledger.legal_hold_lifted, pyledger.epoch_before_archives, pyledger.base, pyledger.base_ledger, pyledger.base_account, pyledger.base_hold
    TO pyledger_writer, pyledger_reader;
