-- What `pyledger export` asks, as a member of pyledger_reader.

-- name: settings
-- Off: a sequential scan, which a planner without statistics of the newest partition would choose, and more than one
-- core, which belongs to whoever posts.
SET enable_seqscan = off;
SET DateStyle = 'ISO';
SET max_parallel_workers_per_gather = 0;
SET TimeZone = 'UTC'

-- name: begin_slice
-- The lock before there is a snapshot: a partition that took another's place meanwhile would look empty to an older
-- one. No longer than a slice, for where partitions end is moved, and old row versions are removed, only in between.
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
LOCK TABLE pyledger.journal IN ACCESS SHARE MODE

-- name: tenants
SELECT id, name FROM pyledger.tenant ORDER BY id

-- name: heads
-- One moment, of all shards: what was committed by then, and never changes, is what is exported.
SELECT shard, seq FROM pyledger.head ORDER BY shard

-- name: batches
-- Whole batches to the one of $2, from the one on that the nanosecond $3 is in.
SELECT rows, first_ns, last_ns FROM pyledger.batch
WHERE shard = $1 AND seq <= $2 AND last_ns >= $3 AND first_ns < $4 AND first_ns >= coalesce(
    (SELECT first_ns FROM pyledger.batch WHERE shard = $1 AND first_ns <= $3 ORDER BY first_ns DESC LIMIT 1), 0)
ORDER BY first_ns LIMIT $5

-- name: archived
-- Until when rows from $1 on and before $2 are not here any more.
SELECT max(gone.end_ns) FROM pyledger.archived AS gone
JOIN pyledger.batch AS first ON first.shard = gone.shard AND first.seq = gone.first_seq AND first.first_ns < $2
JOIN pyledger.batch AS last ON last.shard = gone.shard AND last.seq = gone.last_seq AND last.last_ns >= $1
WHERE gone.start_ns < $2 AND gone.end_ns > $1

-- name: rows
SELECT coalesce(sum(rows), 0)::bigint FROM pyledger.batch
WHERE shard = $1 AND seq <= $2 AND last_ns >= $3 AND first_ns < $4 AND first_ns >= coalesce(
    (SELECT first_ns FROM pyledger.batch WHERE shard = $1 AND first_ns <= $3 ORDER BY first_ns DESC LIMIT 1), 0)

-- name: present
SELECT count(*) FROM pyledger.journal WHERE recorded_ns BETWEEN $2 AND $3 AND shard + 0 = $1

-- name: transfers
-- With + 0 nothing is found by the index of ids, which a planner without statistics would read from end to end.
-- Each as a command that stands by itself: an amount is what was moved, however it was found; a chain and a group are
-- their rows; a hold whose time ran out is voided. Ids that the ledger made itself, which begin with ones, begin with
-- seven ones instead, for clients may not use them.
SELECT CASE WHEN id >= 'ffffffff-0000-0000-0000-000000000000' THEN ('7' || substr(id::text, 2))::uuid ELSE id END AS id,
    debit_account AS debit_account_id, credit_account AS credit_account_id,
    CASE WHEN status = 0 OR amount < 340282366920938463463374607431768211455 THEN amount END AS amount,
    ledger, code,
    CASE WHEN flags & 462 <> 0 OR kind = 8 THEN array_to_string(
        pyledger.transfer_flags(flags & 462 | CASE WHEN kind = 8 THEN 8 ELSE 0 END), ' ') END AS flags,
    CASE WHEN kind = 4 THEN nullif(timeout_s, 0) END AS timeout_s,
    CASE WHEN kind <> 7 THEN target END AS pending_id,
    CASE WHEN kind = 7 THEN
        CASE WHEN target >= 'ffffffff-0000-0000-0000-000000000000' THEN ('7' || substr(target::text, 2))::uuid
        ELSE target END END AS reverses,
    CASE WHEN effective_ns IS NOT NULL THEN
        replace((timestamp 'epoch' + effective_ns / 1000000000 * interval '1 second')::text, ' ', 'T')
        || '.' || lpad((effective_ns % 1000000000)::text, 9, '0') || 'Z' END AS effective_at,
    reference, metadata, pyledger.kind(kind) AS kind,
    CASE WHEN status = 0 THEN 'accepted' ELSE 'declined' END AS status,
    recorded_ns
FROM pyledger.journal
WHERE recorded_ns BETWEEN $2 AND $3 AND shard + 0 = $1 AND tenant + 0 = $4 AND kind >= 3
    AND ($5::integer IS NULL OR ledger = $5) AND (status = 0 OR $6) AND recorded_ns >= $7 AND recorded_ns < $8
ORDER BY journal.recorded_ns

-- name: accounts
SELECT id, ledger, code,
    CASE WHEN flags & 22 <> 0 THEN array_to_string(pyledger.account_flags(flags & 22), ' ') END AS flags,
    nullif(amount, 0) AS allowance,
    CASE WHEN effective_ns IS NOT NULL THEN
        replace((timestamp 'epoch' + effective_ns / 1000000000 * interval '1 second')::text, ' ', 'T')
        || '.' || lpad((effective_ns % 1000000000)::text, 9, '0') || 'Z' END AS effective_at,
    reference, metadata, CASE WHEN status = 0 THEN 'accepted' ELSE 'declined' END AS status, recorded_ns
FROM pyledger.journal
WHERE recorded_ns BETWEEN $2 AND $3 AND shard + 0 = $1 AND tenant + 0 = $4 AND kind = 2
    AND ($5::integer IS NULL OR ledger = $5) AND (status = 0 OR $6) AND recorded_ns >= $7 AND recorded_ns < $8
ORDER BY journal.recorded_ns

-- name: json_transfers
SELECT '{{' || concat_ws(',', '"id":"' || id || '"', '"debit_account_id":"' || debit_account_id || '"',
    '"credit_account_id":"' || credit_account_id || '"', '"amount":"' || amount || '"', '"ledger":' || ledger,
    '"code":' || code, '"flags":["' || replace(flags, ' ', '","') || '"]', '"timeout_s":' || timeout_s,
    '"pending_id":"' || pending_id || '"', '"reverses":"' || reverses || '"', '"effective_at":"' || effective_at || '"',
    '"reference":' || to_json(reference)::text, '"metadata":' || metadata, '"kind":"' || kind || '"',
    '"status":"' || status || '"', '"recorded_ns":' || recorded_ns) || '}}'
FROM ({rows}) AS row

-- name: json_accounts
SELECT '{{' || concat_ws(',', '"id":"' || id || '"', '"ledger":' || ledger, '"code":' || code,
    '"flags":["' || replace(flags, ' ', '","') || '"]', '"allowance":"' || allowance || '"',
    '"effective_at":"' || effective_at || '"', '"reference":' || to_json(reference)::text, '"metadata":' || metadata,
    '"status":"' || status || '"', '"recorded_ns":' || recorded_ns) || '}}'
FROM ({rows}) AS row
