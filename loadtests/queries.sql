-- What a load test asks PostgreSQL about itself: the machine's side of a run.

-- name: counters
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS wal_bytes,
    (SELECT coalesce(sum(pg_indexes_size(relid)), 0)::bigint FROM pg_partition_tree('pyledger.journal'))
    + (SELECT coalesce(sum(pg_indexes_size(relid)), 0)::bigint FROM pg_partition_tree('pyledger.batch'))
        AS index_bytes,
    current_setting('server_version_num')::int AS version;

-- name: io_operations
SELECT coalesce(sum(coalesce(writes, 0) + coalesce(extends, 0) + coalesce(fsyncs, 0)), 0)::bigint FROM pg_stat_io;

-- name: wal_operations
SELECT (wal_write + wal_sync)::bigint FROM pg_stat_wal;

-- name: head
SELECT last_ns FROM pyledger.head WHERE shard = 0;

-- name: journal_rows
SELECT count(*) AS rows, coalesce(sum(pg_column_size(change.*)), 0)::bigint AS bytes
FROM pyledger.journal change WHERE change.ledger = $1 AND change.recorded_ns > $2;

-- name: batch_rows
SELECT count(*) AS rows, coalesce(sum(pg_column_size(batch.*)), 0)::bigint AS bytes
FROM pyledger.batch batch WHERE batch.first_ns > $1;

-- name: look_after_books
-- Rows that stand for a week were made in seconds. PostgreSQL looks after a table by itself, a minute after it grew
-- by a fifth: knows what is in it, and where. What the run adds is left to it.
VACUUM (ANALYZE) pyledger.journal, pyledger.batch;

-- name: commit_nothing
-- A message in the WAL that nobody reads, and a commit that waits for it.
SELECT pg_logical_emit_message(true, 'pyledger load test', 'a commit');
