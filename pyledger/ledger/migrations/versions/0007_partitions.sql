-- Partitions of the journal end by rows and by time, and get the indexes of history once they are over.

-- One row a partition of the journal: its bounds, written in the transaction that made them, and whether it has the
-- indexes of history, which it gets once nothing more can be added to it.
CREATE TABLE pyledger.partition (
    name text COLLATE "C" NOT NULL,
    start_ns bigint NOT NULL,
    end_ns bigint NOT NULL,
    indexed_at timestamptz,
    CONSTRAINT partition_start_unique PRIMARY KEY (start_ns),
    CONSTRAINT partition_name_unique UNIQUE (name),
    CONSTRAINT partition_bounds_in_order CHECK (start_ns < end_ns)
);

INSERT INTO pyledger.partition (name, start_ns, end_ns)
SELECT made.relname, bounds[1]::bigint, bounds[2]::bigint
FROM pg_inherits
JOIN pg_class AS made ON made.oid = inhrelid
CROSS JOIN regexp_match(pg_get_expr(made.relpartbound, made.oid), 'FROM \(''(\d+)''\) TO \(''(\d+)''\)') AS bounds
WHERE inhparent = 'pyledger.journal'::regclass;

DO $$
DECLARE
    made pyledger.partition%ROWTYPE;
BEGIN
    FOR made IN SELECT * FROM pyledger.partition LOOP
        EXECUTE format('ALTER TABLE pyledger.%I '
            'ADD CONSTRAINT journal_bounds CHECK (recorded_ns >= %s AND recorded_ns < %s) NOT VALID',
            made.name, made.start_ns, made.end_ns);
    END LOOP;
END $$;

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
CREATE OR REPLACE FUNCTION pyledger.make_partitions(from_ns bigint, weeks integer) RETURNS bigint
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
-- the pages that may still be written to, for a row in a summarized range costs an update of its summary.
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
END $$;

-- Ends a partition of the journal at `at_ns`; a new one takes its range from there on. False if it has too many rows to
-- be read again under a lock that appends wait for, or one from there on.
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
    IF pg_relation_size(format('pyledger.%I', old.name)) > size_max_bytes THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY pyledger.journal IN ACCESS EXCLUSIVE MODE;
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
END $$;

-- Gives a partition of the journal the range of the next one, of the same week, if that is empty, and drops that.
-- False if it is not, or if nothing but reading it says that the partition's rows are within its bounds.
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
    IF following IS NULL OR NOT EXISTS (
        SELECT FROM pg_constraint WHERE conrelid = to_regclass(format('pyledger.%I', old.name))
            AND conname = 'journal_bounds' AND convalidated
    ) THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY pyledger.journal IN ACCESS EXCLUSIVE MODE;
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
END $$;

-- Reads a partition of the journal, beside appends, to prove what `merge_partition` has to know.
CREATE FUNCTION pyledger.validate_partition(from_ns bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
BEGIN
    EXECUTE format('ALTER TABLE pyledger.%I VALIDATE CONSTRAINT journal_bounds',
        (SELECT name FROM pyledger.partition WHERE start_ns = from_ns));
END $$;

-- Gives a partition of the journal the indexes of history, once each shard's head is past it, so that nothing can be
-- added to it any more; and lets autovacuum freeze it, for a function cannot. False if that is not so yet.
CREATE FUNCTION pyledger.index_partition(from_ns bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET max_parallel_maintenance_workers = 0 AS $$
DECLARE
    side text;
    old pyledger.partition%ROWTYPE;
BEGIN
    SELECT * INTO STRICT old FROM pyledger.partition WHERE start_ns = from_ns;
    IF old.indexed_at IS NOT NULL THEN
        RETURN true;
    END IF;
    IF EXISTS (SELECT FROM pyledger.head WHERE seq > 0 AND last_ns < old.end_ns)
        OR NOT EXISTS (SELECT FROM pyledger.head WHERE last_ns >= old.end_ns)
        OR NOT pg_try_advisory_xact_lock(hashtextextended('pyledger.index_partition', 0)) THEN
        RETURN false;
    END IF;
    FOREACH side IN ARRAY ARRAY['debit', 'credit'] LOOP
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON pyledger.%I (%I, tenant, shard, recorded_ns) '
            'WHERE %I IS NOT NULL', old.name || '_' || side, old.name, side || '_account', side || '_account');
    END LOOP;
    PERFORM brin_summarize_new_values(format('pyledger.%I', old.name || '_recorded')::regclass);
    EXECUTE format('ALTER TABLE pyledger.%I SET (autovacuum_freeze_min_age = 0, autovacuum_freeze_table_age = 0, '
        'autovacuum_vacuum_insert_threshold = 0, autovacuum_vacuum_insert_scale_factor = 0)', old.name);
    UPDATE pyledger.partition SET indexed_at = clock_timestamp() WHERE start_ns = from_ns;
    RETURN true;
END $$;

REVOKE ALL ON FUNCTION pyledger.make_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.split_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.merge_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.validate_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION pyledger.index_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pyledger.split_partition, pyledger.merge_partition, pyledger.validate_partition,
    pyledger.index_partition TO pyledger_writer;
GRANT SELECT ON pyledger.partition TO pyledger_writer, pyledger_reader;
