-- Pages of history look at a bounded part of the newest partition: the server summarizes its BRIN index as it grows.
-- And vacuums for the rows that were added leave it alone, with whose lock that would collide.

CREATE OR REPLACE FUNCTION pyledger.make_partitions(from_ns bigint, weeks integer) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    week_ns CONSTANT bigint := 604800000000000;
    monday_ns CONSTANT bigint := 345600000000000;
    start_ns bigint;
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
        IF to_regclass('pyledger.journal_' || day) IS NULL THEN
            EXECUTE format('CREATE TABLE pyledger.%I (LIKE pyledger.journal INCLUDING ALL) '
                'WITH (autovacuum_vacuum_insert_threshold = -1)', 'journal_' || day);
            EXECUTE format('CREATE UNIQUE INDEX %I ON pyledger.%I (id, tenant, shard)',
                'journal_' || day || '_id_unique', 'journal_' || day);
            EXECUTE format('CREATE INDEX %I ON pyledger.%I USING brin (recorded_ns)',
                'journal_' || day || '_recorded', 'journal_' || day);
            EXECUTE format('CREATE INDEX %I ON pyledger.%I (target, tenant) WHERE target IS NOT NULL AND status = 0',
                'journal_' || day || '_target', 'journal_' || day);
            EXECUTE format('CREATE TRIGGER journal_never_truncated BEFORE TRUNCATE ON pyledger.%I '
                'FOR EACH STATEMENT EXECUTE FUNCTION pyledger.refuse_change()', 'journal_' || day);
            EXECUTE format('ALTER TABLE pyledger.journal ATTACH PARTITION pyledger.%I FOR VALUES FROM (%L) TO (%L)',
                'journal_' || day, start_ns, start_ns + week_ns);
        END IF;
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
CREATE FUNCTION pyledger.summarize_journal(partition text, from_page bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    range_pages CONSTANT bigint := 128;
    unsettled_pages CONSTANT bigint := 512;
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

REVOKE ALL ON FUNCTION pyledger.summarize_journal FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pyledger.summarize_journal TO pyledger_writer;

DO $$
DECLARE
    made regclass;
BEGIN
    FOR made IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'pyledger.journal'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET (autovacuum_vacuum_insert_threshold = -1)', made);
    END LOOP;
END $$;
