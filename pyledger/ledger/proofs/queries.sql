-- What proofs ask of the database, and the little that they store: hashes of subtrees, and signed checkpoints.

-- name: row_place
SELECT seq, recorded_ns FROM pyledger.journal
WHERE shard = $1 AND tenant = $2 AND id = $3 AND kind >= 3 AND seq <= $4
LIMIT 1

-- name: copy_batch
-- No shard for a planner to see: it would look through all of the index of ids for it.
SELECT shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount, target,
    ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after, credit_after
FROM pyledger.journal WHERE shard + 0 = $1 AND recorded_ns BETWEEN $2 AND $3 ORDER BY recorded_ns

-- name: links
-- The batch before a stretch, if there is one, and the batches of it. (Without its type a number less 1 is an int4.)
SELECT seq, rows, first_ns, last_ns, root, hash FROM pyledger.batch
WHERE shard = $1 AND seq BETWEEN $2::bigint - 1 AND $3 ORDER BY seq

-- name: batch_hashes
SELECT seq - 1 AS number, hash FROM pyledger.batch WHERE shard = $1 AND seq > $2 AND seq <= $3 ORDER BY seq

-- name: subtrees
SELECT number, hash FROM pyledger.subtree
WHERE shard = $1 AND level = $2 AND number >= $3 AND number < $4 ORDER BY number

-- name: subtrees_made
SELECT coalesce(max(number) + 1, 0) FROM pyledger.subtree WHERE shard = $1 AND level = $2

-- name: subtrees_whole
-- How many below a number are there with no gap between them; 0 if there is one: somebody drops them meanwhile.
SELECT CASE count(*) WHEN coalesce(max(number) + 1, 0) THEN count(*) ELSE 0 END FROM pyledger.subtree
WHERE shard = $1 AND level = $2 AND number < $3

-- name: subtree_levels
SELECT level, max(number) + 1 AS made FROM pyledger.subtree WHERE shard = $1 GROUP BY level

-- name: strays
-- What belongs to no shard, so that no other question would come upon it.
SELECT 'subtrees' AS what, shard, count(*) AS rows FROM pyledger.subtree
WHERE shard NOT IN (SELECT shard FROM pyledger.head) GROUP BY shard
UNION ALL
SELECT 'checkpoints', shard, count(*) FROM pyledger.signed_checkpoint
WHERE shard NOT IN (SELECT shard FROM pyledger.head) GROUP BY shard
ORDER BY what, shard LIMIT $1

-- name: make_subtrees
-- Whoever else made them made the same.
INSERT INTO pyledger.subtree (shard, level, number, hash)
SELECT $1, $2, made.number, made.hash FROM unnest($3::bigint[], $4::bytea[]) AS made (number, hash)
ON CONFLICT ON CONSTRAINT subtree_place_unique DO NOTHING

-- name: keep_signed
-- Only within our epoch: whoever takes over changes the row that is locked here, and one of the two comes first.
WITH ours AS (
    SELECT shard FROM pyledger.checkpoint WHERE shard = $1 AND epoch = $2 FOR SHARE
)
INSERT INTO pyledger.signed_checkpoint (shard, size, key_number, key, note)
SELECT ours.shard, $3, $4, $5, $6 FROM ours
ON CONFLICT ON CONSTRAINT signed_checkpoint_size_and_key_unique DO NOTHING
RETURNING size

-- name: newest_signed
-- Of several keys' own, here and below: whoever asks after a change of keys expects the new one.
SELECT size, key_number, key, note FROM pyledger.signed_checkpoint
WHERE shard = $1 ORDER BY size DESC, key_number = $2 DESC, key_number LIMIT 1

-- name: newest_signed_by
SELECT size, key_number, key, note FROM pyledger.signed_checkpoint
WHERE shard = $1 AND key_number = $2 ORDER BY size DESC LIMIT 1

-- name: signed_of_size
SELECT size, key_number, key, note FROM pyledger.signed_checkpoint
WHERE shard = $1 AND size = $3 ORDER BY key_number = $2 DESC, key_number LIMIT 1

-- name: signed_page
SELECT size, key_number, key, note FROM pyledger.signed_checkpoint
WHERE shard = $1 AND (size, key_number) < ($2, $3) ORDER BY size DESC, key_number DESC LIMIT $4

-- name: batch_times
SELECT seq, last_ns FROM pyledger.batch WHERE shard = $1 AND seq = ANY ($2::bigint[])

-- name: signed_after
SELECT size, key_number, key, note FROM pyledger.signed_checkpoint
WHERE shard = $1 AND (size, key_number) > ($2, $3) ORDER BY size, key_number LIMIT $4

-- name: signed_bytes_after
-- What a text is made of: of a page that was damaged, that need not be UTF-8.
SELECT size, key_number, textsend(key) AS key, textsend(note) AS note FROM pyledger.signed_checkpoint
WHERE shard = $1 AND (size, key_number) > ($2, $3) ORDER BY size, key_number LIMIT $4

-- name: drop_subtrees
DELETE FROM pyledger.subtree WHERE shard = $1
