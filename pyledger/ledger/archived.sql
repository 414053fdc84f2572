-- What `check` asks of what is archived.

-- name: archived
SELECT start_ns, end_ns, name, first_seq, last_seq, rows, kept_rows, kept_hash FROM pyledger.archived
WHERE shard = $1 ORDER BY start_ns

-- name: copy_kept
-- What stayed of a partition; its hash is over this stream.
SELECT shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount, target,
    ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after, credit_after
FROM pyledger.journal WHERE shard = $1 AND recorded_ns >= $2 AND recorded_ns < $3 ORDER BY recorded_ns

-- name: late_kept
-- What stayed of a partition was written by one transaction: that of most of its rows, or the oldest of as many. The rows
-- that another one wrote; where a single one stayed ($5), it.
WITH written AS (
    SELECT tenant, id, recorded_ns, xmin::text AS writer, age(xmin) FROM pyledger.journal
    WHERE shard = $1 AND recorded_ns >= $3 AND recorded_ns < $4
), usual AS (
    SELECT (SELECT count(*) FROM written) AS rows, writer FROM written
    GROUP BY writer ORDER BY count(*) DESC, max(age) DESC LIMIT 1
)
SELECT format('tenant %s, id %s', tenant, id) AS place,
    CASE WHEN usual.rows = 1 THEN 'it is the only row that stayed, and was changed'
        ELSE 'it was written later than the rest of what stayed' END AS wrong
FROM written, usual WHERE usual.rows = 1 AND $5::bigint = 1 OR written.writer <> usual.writer
ORDER BY recorded_ns LIMIT $2

-- name: archived_ids
-- The ids of what is dropped are all there, and no others.
SELECT format('archive %s', kept.name) AS place,
    format('%s ids are due, and %s are there', kept.ids, found.ids) || CASE WHEN kept.ids = found.ids
        THEN ', but not the same' ELSE '' END AS wrong
FROM pyledger.archived AS kept
CROSS JOIN LATERAL (
    SELECT count(*) AS ids, coalesce(sum(
        ('x' || substr(encode(sha256(uuid_send(id) || int4send(tenant) || int8send(recorded_ns)), 'hex'), 1, 16))::bit(64)::bigint
    ), 0) AS ids_sum
    FROM pyledger.archived_id AS gone
    WHERE gone.shard = kept.shard AND gone.recorded_ns >= kept.start_ns AND gone.recorded_ns < kept.end_ns
) AS found
WHERE kept.shard = $1 AND (kept.ids, kept.ids_sum) IS DISTINCT FROM (found.ids, found.ids_sum)
LIMIT $2
