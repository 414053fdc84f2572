-- Partitions of the journal that are over get a seal, and what makes their indexes rests between two of them. What does
-- not get a lock at once says so, instead of an error that PostgreSQL would log.

ALTER TABLE pyledger.partition
    ADD COLUMN sealed_at timestamptz,
    ADD COLUMN rows bigint,
    ADD COLUMN root bytea,
    ADD COLUMN filter bytea,
    ADD CONSTRAINT partition_seal_whole CHECK (num_nulls(sealed_at, rows, root, filter) IN (0, 4));
ALTER TABLE pyledger.partition ALTER COLUMN filter SET STORAGE EXTERNAL;

-- Summarizes the BRIN index of a journal's partition from a page on, range by range, and returns where it stopped: at
-- the pages that may still be written to, for a row in a summarized range costs an update of its summary. Null if
-- somebody else is at the table, such as autovacuum: not now.
CREATE OR REPLACE FUNCTION pyledger.summarize_journal(partition text, from_page bigint) RETURNS bigint
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

-- Ends a partition of the journal at `at_ns`; a new one takes its range from there on. False if it has too many rows to
-- be read again under a lock that appends wait for, or one from there on, or if that lock is not to be had at once.
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
    IF pg_relation_size(format('pyledger.%I', old.name)) > size_max_bytes THEN
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
CREATE OR REPLACE FUNCTION pyledger.merge_partition(from_ns bigint) RETURNS boolean
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
    IF filled THEN
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
CREATE OR REPLACE FUNCTION pyledger.validate_partition(from_ns bigint) RETURNS void
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
CREATE OR REPLACE FUNCTION pyledger.index_partition(from_ns bigint) RETURNS boolean
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
        -- The lock waited for what was on its way: whose head is before the end may have added to it just now.
        IF EXISTS (SELECT FROM pyledger.head WHERE seq > 0 AND last_ns < old.end_ns) THEN
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

REVOKE ALL ON FUNCTION pyledger.seal_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pyledger.seal_partition TO pyledger_writer;
