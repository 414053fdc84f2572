-- What `check` asks of what is archived.

-- name: archived
SELECT start_ns, end_ns, name, first_seq, last_seq, rows, kept_rows, kept_hash FROM pyledger.archived
WHERE shard = $1 ORDER BY start_ns

-- name: copy_kept
-- What stayed of a partition; its hash is over this stream.
SELECT shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount, target,
    ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after, credit_after
FROM pyledger.journal WHERE shard = $1 AND recorded_ns >= $2 AND recorded_ns < $3 ORDER BY recorded_ns

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
