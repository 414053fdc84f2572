-- A shard at rest is taken past the end of a partition, so it can be closed while the next one is empty: then its end must
-- not be moved on, nor a partition be closed whose end was moved on just now.

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
