-- What the benchmarks ask PostgreSQL: the machine's side of a run, and the proof after it.

-- name: mark_ns
SELECT last_ns FROM pyledger.head WHERE shard = 0;

-- name: batches_past_checkpoint
SELECT head.seq - checkpoint.seq AS batches FROM pyledger.head JOIN pyledger.checkpoint USING (shard);

-- name: plain_table
CREATE TABLE plain AS SELECT * FROM pyledger.journal WITH NO DATA;

-- name: baseline_books
SELECT (SELECT count(*) FROM transfer WHERE status = 0), (SELECT sum(debits) - sum(credits) FROM account);

-- name: pgledger_account
SELECT id FROM pgledger_create_account($1, 'EUR');

-- name: pgledger_move
SELECT id FROM pgledger_create_transfer($1, $2, $3);

-- name: pgledger_transfers
SELECT count(*) FROM pgledger_transfers;

-- name: pgledger_sum
SELECT sum(balance) FROM pgledger_accounts WHERE id = ANY ($1);

-- name: journal_bytes
SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint FROM pg_partition_tree('pyledger.journal');

-- name: rows_recorded
SELECT coalesce(sum(rows), 0)::bigint FROM pyledger.batch

-- name: rows_unsealed
SELECT coalesce(sum(batch.rows), 0)::bigint AS rows FROM pyledger.partition
JOIN pyledger.batch ON batch.first_ns >= partition.start_ns AND batch.first_ns < partition.end_ns
WHERE partition.sealed_at IS NULL

-- name: unfrozen
-- Sealed partitions that autovacuum has still to freeze, which writes each of their pages once more.
SELECT partition.name FROM pyledger.partition
JOIN pg_class ON pg_class.oid = to_regclass('pyledger.' || quote_ident(partition.name))
WHERE sealed_at IS NOT NULL AND relallvisible < relpages

-- name: freeze
VACUUM (FREEZE) pyledger.{name}

-- name: wal_bytes
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint;

-- name: configuration
SELECT name, setting || coalesce(unit, '') AS value FROM pg_settings
WHERE name IN ('server_version', 'fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums',
    'shared_buffers', 'min_wal_size', 'max_wal_size', 'wal_compression', 'wal_buffers',
    'checkpoint_timeout', 'checkpoint_completion_target', 'wal_sync_method')
ORDER BY name;

-- name: data_directory
SELECT current_setting('data_directory');

-- name: tenant_of_ledger
SELECT tenant FROM pyledger.journal WHERE kind = 1 AND status = 0 AND ledger = $1 AND recorded_ns > $2;

-- name: open_timeouts
SELECT count(*) FROM pyledger.journal hold
WHERE hold.tenant = $1 AND hold.ledger = $2 AND hold.recorded_ns > $3
    AND hold.kind = 4 AND hold.status = 0 AND hold.timeout_s > 0
    AND NOT EXISTS (
        SELECT FROM pyledger.journal done
        WHERE done.target = hold.id AND done.tenant = hold.tenant AND done.status = 0
            AND done.recorded_ns > hold.recorded_ns AND done.kind IN (5, 6, 8));

-- name: prepare_proof
CREATE TEMP TABLE IF NOT EXISTS acknowledged (id uuid NOT NULL, accepted boolean NOT NULL);
CREATE TEMP TABLE IF NOT EXISTS served (
    account uuid NOT NULL,
    debits_pending numeric NOT NULL,
    debits_posted numeric NOT NULL,
    credits_pending numeric NOT NULL,
    credits_posted numeric NOT NULL);
TRUNCATE acknowledged, served;
-- Everything here reads in bulk; a planner without fresh statistics may think otherwise.
SET enable_nestloop = off;
SET work_mem = '1GB';

-- name: analyze_proof
ANALYZE acknowledged;
ANALYZE served;

-- name: stored_once
SELECT count(*) AS acknowledged,
    count(*) FILTER (WHERE stored = 0) AS lost,
    count(*) FILTER (WHERE stored > 1) AS stored_twice,
    count(*) FILTER (WHERE stored = 1 AND NOT same) AS other_outcome,
    count(*) FILTER (WHERE disagreed) AS answered_twice
FROM (
    SELECT answered.id, count(stored.id) AS stored,
        bool_or(answered.accepted) <> bool_and(answered.accepted) AS disagreed,
        bool_and((stored.status = 0) = answered.accepted) AS same
    FROM acknowledged answered
    LEFT JOIN pyledger.journal stored
        ON stored.id = answered.id AND stored.tenant = $1 AND stored.recorded_ns > $2
    GROUP BY answered.id) AS each_id;

-- name: stored_rows
SELECT count(*) FROM pyledger.journal
WHERE tenant = $1 AND recorded_ns > $2 AND kind <> 8 AND kind >= $3;

-- name: unequal_balances
WITH moves AS (
    SELECT change.debit_account, change.credit_account,
        CASE WHEN change.kind IN (3, 5, 7) THEN change.amount ELSE 0 END AS posted,
        CASE WHEN change.kind = 4 THEN change.amount
            WHEN change.kind IN (5, 6, 8) THEN -hold.amount ELSE 0 END AS pending
    FROM pyledger.journal change
    LEFT JOIN pyledger.journal hold
        ON change.kind IN (5, 6, 8) AND hold.id = change.target AND hold.tenant = change.tenant
            AND hold.kind = 4 AND hold.recorded_ns > $3
    WHERE change.tenant = $1 AND change.ledger = $2 AND change.recorded_ns > $3
        AND change.status = 0 AND change.kind >= 3
), sums AS (
    SELECT side.account,
        coalesce(sum(posted) FILTER (WHERE side.debit), 0) AS debits_posted,
        coalesce(sum(pending) FILTER (WHERE side.debit), 0) AS debits_pending,
        coalesce(sum(posted) FILTER (WHERE NOT side.debit), 0) AS credits_posted,
        coalesce(sum(pending) FILTER (WHERE NOT side.debit), 0) AS credits_pending
    FROM moves CROSS JOIN LATERAL (VALUES (debit_account, true), (credit_account, false)) AS side (account, debit)
    GROUP BY side.account
)
SELECT count(*) FILTER (WHERE served.account IS NULL) AS not_served,
    count(*) FILTER (WHERE served.debits_posted IS DISTINCT FROM coalesce(sums.debits_posted, 0)
        OR served.debits_pending IS DISTINCT FROM coalesce(sums.debits_pending, 0)
        OR served.credits_posted IS DISTINCT FROM coalesce(sums.credits_posted, 0)
        OR served.credits_pending IS DISTINCT FROM coalesce(sums.credits_pending, 0)) AS unequal
FROM sums
FULL JOIN served USING (account);

-- name: trial_balance
SELECT count(*) AS accounts, coalesce(sum(debits_posted), 0) AS debits_posted,
    coalesce(sum(credits_posted), 0) AS credits_posted, coalesce(sum(debits_pending), 0) AS debits_pending,
    coalesce(sum(credits_pending), 0) AS credits_pending
FROM served;

-- name: ids_twice
SELECT count(*) FROM (SELECT FROM pyledger.journal GROUP BY tenant, id HAVING count(*) > 1) AS twice;

-- name: wal_files_missing
SELECT greatest(0, (SELECT setting::bigint FROM pg_settings WHERE name = 'min_wal_size')
    / (SELECT setting::bigint / 1048576 FROM pg_settings WHERE name = 'wal_segment_size')
    - (SELECT count(*) FROM pg_ls_waldir()))::bigint;

-- name: fill_wal_file
SELECT pg_logical_emit_message(true, 'benchmarks', repeat(md5($1::text), 500000));

-- name: checkpoint
CHECKPOINT;

-- name: hold_sealing
-- As the server of another shard does, which has the same partitions.
SELECT pg_try_advisory_lock(hashtextextended('pyledger.seal_partition', 0));

-- name: let_sealing
SELECT pg_advisory_unlock(hashtextextended('pyledger.seal_partition', 0));

-- name: sealing_at_work
SELECT EXISTS (
    SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND application_name = 'pyledger sealing');

-- name: partitions_due
SELECT count(*) FROM pyledger.partition
WHERE sealed_at IS NULL AND end_ns + 10000000000 <= (SELECT min(last_ns) FROM pyledger.head WHERE seq > 0);

-- name: partitions_sealed
SELECT count(*) FROM pyledger.partition WHERE rows > 0;

-- name: rows_sealed
SELECT coalesce(sum(rows), 0)::bigint FROM pyledger.partition;

-- name: partitions_filled
SELECT count(*) FROM pyledger.partition WHERE start_ns <= (SELECT max(last_ns) FROM pyledger.head);

-- name: rows_and_indexed
SELECT coalesce(sum(rows), 0)::bigint, coalesce(sum(rows) FILTER (
    WHERE first_ns < (SELECT max(end_ns) FROM pyledger.partition WHERE indexed_at IS NOT NULL)), 0)::bigint
FROM pyledger.batch;

-- name: indexed_until
SELECT coalesce(max(end_ns), 0) FROM pyledger.partition WHERE indexed_at IS NOT NULL;

-- name: acknowledged_ids
SELECT count(*) FROM acknowledged;

-- name: rows_of_part
SELECT coalesce(sum(rows), 0)::bigint FROM pyledger.batch WHERE first_ns > $1 AND first_ns <= $2;

-- name: found_in_part
-- A row for each that was acknowledged, unless one is stored twice.
SELECT count(*) AS found, count(*) FILTER (WHERE stored.id IS NULL) AS lost,
    count(*) FILTER (WHERE (stored.status = 0) <> answered.accepted) AS other_outcome
FROM acknowledged AS answered
LEFT JOIN pyledger.journal AS stored
    ON stored.id = answered.id AND stored.recorded_ns > $1 AND stored.recorded_ns <= $2;
