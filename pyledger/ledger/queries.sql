-- Every query of the ledger room but the checkpoint's, the check's and the migrations' own.

-- name: facts
SELECT
    current_setting('server_version_num')::integer AS server_version,
    current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes,
    current_setting('synchronous_commit') AS synchronous_commit,
    pg_is_in_recovery() AS in_recovery,
    has_database_privilege(current_database(), 'TEMPORARY') AS can_stage,
    current_setting('server_encoding') AS encoding,
    (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AS superuser,
    to_regclass('pyledger.journal') IS NOT NULL AS has_journal

-- name: clock
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: rights
SELECT
    EXISTS (
        SELECT FROM pg_catalog.pg_class AS relation
        JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
        WHERE space.nspname = 'pyledger' AND relation.relname ~ '^(journal|batch)'
        AND (pg_has_role(current_user, relation.relowner, 'MEMBER')
            OR pg_has_role(current_user, space.nspowner, 'MEMBER'))
    ) AS owns_journal,
    EXISTS (
        SELECT FROM pg_catalog.pg_class AS relation
        JOIN pg_catalog.pg_namespace AS space ON space.oid = relation.relnamespace
        WHERE space.nspname = 'pyledger' AND relation.relname ~ '^(journal|batch)' AND relation.relkind IN ('r', 'p')
        AND has_table_privilege(relation.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
    ) AS can_rewrite_journal,
    has_table_privilege('pyledger.journal', 'INSERT') AND has_table_privilege('pyledger.head', 'UPDATE') AS can_append

-- name: open_shard
SELECT pyledger.open_shard($1)

-- name: make_partitions
SELECT pyledger.make_partitions($1, $2)

-- name: partitions
-- An index of history that was dropped, or is not valid (a REINDEX that failed), is none: pages are looked for without.
SELECT name, start_ns, end_ns, indexed_at IS NOT NULL AND (
    SELECT count(*) = 2 FROM pg_index WHERE indisvalid AND indexrelid IN (
        to_regclass('pyledger.' || quote_ident(name || '_debit')), to_regclass('pyledger.' || quote_ident(name || '_credit'))
    )
) AS indexed, coalesce(octet_length(filter), 0) AS filter_bytes
FROM pyledger.partition ORDER BY start_ns

-- name: rows_after
-- Of a shard's batches after a time, or that time again: when the last begins, and how many rows they have.
SELECT coalesce(max(first_ns), $2), coalesce(sum(rows), 0)::bigint FROM pyledger.batch WHERE shard = $1 AND first_ns > $2

-- name: split_partition
-- Commits without a wait for a synchronous standby, for the journal is locked until then. What is appended later waits
-- for all WAL before it, so for this as well; and a standby that lacks this has partitions that cover the same time.
SELECT pyledger.split_partition($1, $2), set_config('synchronous_commit', 'local', true)

-- name: validate_partition
SELECT pyledger.validate_partition($1)

-- name: merge_partition
-- Commits as split_partition does.
SELECT pyledger.merge_partition($1), set_config('synchronous_commit', 'local', true)

-- name: index_partition
SELECT pyledger.index_partition($1)

-- name: seal_partition
SELECT pyledger.seal_partition($1, $2, $3, $4, $5)

-- name: try_sealing
-- One server at a time: those of other shards have the same partitions.
SELECT pg_try_advisory_lock(hashtextextended('pyledger.seal_partition', 0))

-- name: partition_pages
-- And the file that has them: whatever moves rows writes another one.
SELECT pg_relation_filenode('pyledger.' || quote_ident($1)) AS file,
    pg_relation_size('pyledger.' || quote_ident($1)) / current_setting('block_size')::bigint AS pages

-- name: copy_ids
-- Of some pages of one partition, in the order of the disk.
SELECT tenant, id FROM pyledger.journal
WHERE recorded_ns >= $1 AND recorded_ns < $2 AND ctid >= $3::text::tid AND ctid < $4::text::tid

-- name: by_time
-- Pieces of what was archived are found by time; whoever counts them finds out if some are not.
SET enable_bitmapscan = on

-- name: by_time_no_more
RESET enable_bitmapscan

-- name: archived_edges
-- Where the ids of a partition that is archived can be read in pieces: batches that are $4 rows apart.
SELECT min(first_ns) AS first_ns FROM (
    SELECT first_ns, sum(rows) OVER (ORDER BY first_ns) / $4::bigint AS piece FROM pyledger.batch
    WHERE shard = $1 AND first_ns >= $2 AND first_ns < $3
) AS pieces GROUP BY piece ORDER BY 1

-- name: copy_archived_ids
-- Of those that are not in the journal as well.
SELECT tenant, id FROM pyledger.archived_id AS gone
WHERE shard = $1 AND recorded_ns >= $2 AND recorded_ns < $3 AND NOT EXISTS (
    SELECT FROM pyledger.journal AS j WHERE j.id = gone.id AND j.tenant = gone.tenant AND j.shard = gone.shard
        AND j.recorded_ns = gone.recorded_ns AND j.recorded_ns >= $2 AND j.recorded_ns < $3
)

-- name: shards_archived
-- Those that have rows in an archive of the partition from $1 on.
SELECT shard FROM pyledger.archived WHERE start_ns = $1 ORDER BY shard

-- name: batches_of_time
SELECT first_ns, last_ns, rows, hash FROM pyledger.batch WHERE shard = $1 AND first_ns >= $2 AND first_ns < $3
ORDER BY first_ns LIMIT $4

-- name: end_of_batch_before
-- When the batch ends that began last before a time.
SELECT last_ns FROM pyledger.batch WHERE shard = $1 AND first_ns < $2 ORDER BY first_ns DESC LIMIT 1

-- name: batch_within
-- Whether a batch has a row between two times, $1 and $2. None lasts as long as $3.
SELECT EXISTS (
    SELECT FROM pyledger.head
    JOIN pyledger.batch ON batch.shard = head.shard
    WHERE batch.first_ns >= $1::bigint - $3::bigint AND batch.first_ns < $2 AND batch.last_ns >= $1
)

-- name: first_batches_missing
SELECT EXISTS (
    SELECT FROM pyledger.head
    WHERE seq > 0 AND NOT EXISTS (SELECT FROM pyledger.batch WHERE batch.shard = head.shard AND batch.seq = 1)
)

-- name: shards
SELECT shard FROM pyledger.head ORDER BY shard

-- name: seal
SELECT rows, root, filter FROM pyledger.partition WHERE start_ns = $1

-- name: history_indexes
SELECT quote_ident(relname) AS name FROM pyledger.partition AS made, unnest(ARRAY['debit', 'credit']) AS side
JOIN pg_class ON relnamespace = 'pyledger'::regnamespace AND relkind = 'i'
WHERE relname = made.name || '_' || side

-- name: drop_index
DROP INDEX pyledger.{name}

-- name: drop_seals
UPDATE pyledger.partition SET indexed_at = NULL, sealed_at = NULL, rows = NULL, root = NULL, filter = NULL

-- name: filter
SELECT filter FROM pyledger.partition WHERE start_ns = $1

-- name: recorded_twice
-- Of ids that are in the partition from $5 to $6, those that an older one, from $3 to $4, has as well, or had. One by one
-- (OFFSET 0): for a single row a planner would rather read all of a partition than look up what was asked.
SELECT older.id, older.tenant, older.shard FROM unnest($1::integer[], $2::uuid[]) AS asked (tenant, id)
CROSS JOIN LATERAL (
    SELECT id, tenant, shard FROM pyledger.journal
    WHERE id = asked.id AND tenant = asked.tenant AND recorded_ns >= $3 AND recorded_ns < $4
    UNION ALL
    SELECT id, tenant, shard FROM pyledger.archived_id
    WHERE id = asked.id AND tenant = asked.tenant AND recorded_ns >= $3 AND recorded_ns < $4
    OFFSET 0
) AS older
CROSS JOIN LATERAL (
    SELECT FROM pyledger.journal
    WHERE id = asked.id AND tenant = asked.tenant AND shard = older.shard AND recorded_ns >= $5 AND recorded_ns < $6
    OFFSET 0
) AS own
LIMIT 1

-- name: summarize_journal
SELECT pyledger.summarize_journal($1, $2)

-- name: head
SELECT epoch, seq, hash, last_ns, owner, beat FROM pyledger.head WHERE shard = $1

-- name: try_lock
SELECT pg_try_advisory_lock($1)

-- name: unlock
SELECT pg_advisory_unlock($1)

-- name: fence
-- The only way to learn an outcome: it waits for an append in flight, and its commit carries all before it.
UPDATE pyledger.head SET epoch = epoch + 1, owner = $3, beat = beat + 1
WHERE shard = $1 AND epoch = $2
RETURNING epoch, seq, hash, last_ns, owner, beat

-- name: fence_checkpoint
UPDATE pyledger.checkpoint SET epoch = $2 WHERE shard = $1 AND epoch < $2

-- name: mark
-- In the key space of pairs of numbers, where nobody owns an epoch.
SELECT pg_advisory_lock_shared($1::bigint::bit(32)::integer, $2::bigint::bit(32)::integer)

-- name: evict
-- Sessions of epochs that are over, owners and marked ones. Whatever they were at cannot commit any more, but one
-- that froze in the middle of a COPY would keep ids that it has inserted locked for ever.
SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_locks
WHERE locktype = 'advisory' AND classid::bigint = $1 AND objid::bigint < $2 AND objsubid IN (1, 2)
    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND pid <> pg_backend_pid()

-- An append is one message, and so one transaction: append_rows, move_head. Or two, where rows are sent ahead:
-- begin_ahead, append_rows; then move_head, COMMIT.

-- name: begin_ahead
-- Read committed, whatever the database's default: the compare-and-set at the end must see the batch before it.
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL idle_in_transaction_session_timeout = {idle_ms}

-- name: append_rows
COPY pyledger.journal (shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount,
    target, ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after,
    credit_after) FROM STDIN (FORMAT binary)

-- name: prepare_move_head
-- The compare-and-set of the head, and the batch. If the head did not move, the batch has no shard, which aborts it
-- all. Planned once a session: a plan costs PostgreSQL as much as a fifth of a small batch.
PREPARE move_head (smallint, bigint, bigint, bytea, bytea, integer, bigint, bigint, bytea) AS
WITH moved AS (
    UPDATE pyledger.head SET seq = $3, hash = $5, last_ns = $8
    WHERE shard = $1 AND epoch = $2 AND seq = $3 - 1 AND hash = $4
    RETURNING shard
)
INSERT INTO pyledger.batch (shard, seq, rows, first_ns, last_ns, root, hash)
VALUES ((SELECT shard FROM moved), $3, $6, $7, $8, $9, $5)

-- name: move_head
-- A message of two statements has no parameters: the numbers and hashes in braces are the writer's own.
EXECUTE move_head ({shard}::smallint, {epoch}, {seq}, decode('{prev_hash}', 'hex'), decode('{hash}', 'hex'), {rows},
    {first_ns}, {last_ns}, decode('{root}', 'hex'))

-- name: beat
UPDATE pyledger.head SET beat = beat + 1 WHERE shard = $1 AND epoch = $2 AND seq = $3 AND hash = $4
RETURNING seq, false AS synchronous

-- name: go_past
-- A shard at rest goes past a time: its next row is later. Whoever takes over knows it from the head.
UPDATE pyledger.head SET last_ns = $3 WHERE shard = $1 AND epoch = $2 AND last_ns < $3

-- name: has_end
SELECT EXISTS (SELECT FROM pyledger.partition WHERE end_ns = $1)

-- name: confirm
-- Where a standby must have every commit, a plain read proves nothing about a successor: then a beat has to follow.
SELECT seq, current_setting('synchronous_standby_names') <> '' AS synchronous
FROM pyledger.head WHERE shard = $1 AND epoch = $2 AND seq = $3 AND hash = $4

-- name: lookup
-- Rows by id, of the first pair of arrays, and rows that acted on a target, of the second: at most one that
-- resolved it or reversals_max that reversed it. What was declined acted on nothing and has no bound.
-- And, as records of three columns, ids whose row is archived, and targets of which not all is here that acted on them:
-- a partition may be restored while a later one is still archived.
SELECT record_send(ROW(j.shard, j.seq, j.recorded_ns, j.id, j.tenant, j.kind, j.status, j.debit_account,
    j.credit_account, j.amount, j.target, j.ledger, j.code, j.flags, j.timeout_s, j.effective_ns,
    j.fingerprint, j.reference, j.metadata, j.debit_after, j.credit_after)) AS record
FROM unnest($2::integer[], $3::uuid[]) AS asked (tenant, id)
JOIN pyledger.journal AS j ON j.id = asked.id AND j.tenant = asked.tenant
WHERE j.shard = $1
UNION ALL
SELECT record_send(ROW(j.shard, j.seq, j.recorded_ns, j.id, j.tenant, j.kind, j.status, j.debit_account,
    j.credit_account, j.amount, j.target, j.ledger, j.code, j.flags, j.timeout_s, j.effective_ns,
    j.fingerprint, j.reference, j.metadata, j.debit_after, j.credit_after))
FROM unnest($4::integer[], $5::uuid[]) AS asked (tenant, target)
JOIN pyledger.journal AS j ON j.target = asked.target AND j.tenant = asked.tenant
WHERE j.shard = $1 AND j.target IS NOT NULL AND j.status = 0
UNION ALL
SELECT record_send(ROW(gone.shard, gone.tenant, gone.id))
FROM unnest($2::integer[], $3::uuid[]) AS asked (tenant, id)
JOIN pyledger.archived_id AS gone ON gone.id = asked.id AND gone.tenant = asked.tenant AND gone.shard = $1
WHERE NOT EXISTS (
    SELECT FROM pyledger.journal AS j WHERE j.id = gone.id AND j.tenant = gone.tenant AND j.shard = gone.shard
)
UNION ALL
SELECT record_send(ROW(gone.shard, gone.tenant, gone.id))
FROM unnest($4::integer[], $5::uuid[]) AS asked (tenant, target)
JOIN pyledger.archived_id AS gone ON gone.id = asked.target AND gone.tenant = asked.tenant AND gone.shard = $1
WHERE gone.recorded_ns < (SELECT max(end_ns) FROM pyledger.archived WHERE shard = $1)

-- name: lookup_fresh
-- Rows by id that are not in the partitions before $4, which PostgreSQL leaves out; and what was archived since.
SELECT record_send(ROW(j.shard, j.seq, j.recorded_ns, j.id, j.tenant, j.kind, j.status, j.debit_account,
    j.credit_account, j.amount, j.target, j.ledger, j.code, j.flags, j.timeout_s, j.effective_ns,
    j.fingerprint, j.reference, j.metadata, j.debit_after, j.credit_after)) AS record
FROM unnest($2::integer[], $3::uuid[]) AS asked (tenant, id)
JOIN pyledger.journal AS j ON j.id = asked.id AND j.tenant = asked.tenant
WHERE j.shard = $1 AND j.recorded_ns >= $4
UNION ALL
SELECT record_send(ROW(gone.shard, gone.tenant, gone.id))
FROM unnest($2::integer[], $3::uuid[]) AS asked (tenant, id)
JOIN pyledger.archived_id AS gone ON gone.id = asked.id AND gone.tenant = asked.tenant AND gone.shard = $1
WHERE gone.recorded_ns >= $4 AND NOT EXISTS (
    SELECT FROM pyledger.journal AS j WHERE j.id = gone.id AND j.tenant = gone.tenant AND j.shard = gone.shard
        AND j.recorded_ns = gone.recorded_ns
)

-- name: lookup_all
-- After a unique violation: whatever has one of these ids, whoever's it is.
SELECT record_send(ROW(j.shard, j.seq, j.recorded_ns, j.id, j.tenant, j.kind, j.status, j.debit_account,
    j.credit_account, j.amount, j.target, j.ledger, j.code, j.flags, j.timeout_s, j.effective_ns,
    j.fingerprint, j.reference, j.metadata, j.debit_after, j.credit_after)) AS record
FROM unnest($2::uuid[]) AS asked (id)
JOIN pyledger.journal AS j ON j.id = asked.id
WHERE j.shard = $1
UNION ALL
SELECT record_send(ROW(gone.shard, gone.tenant, gone.id))
FROM unnest($2::uuid[]) AS asked (id)
JOIN pyledger.archived_id AS gone ON gone.id = asked.id AND gone.shard = $1
WHERE NOT EXISTS (
    SELECT FROM pyledger.journal AS j WHERE j.id = gone.id AND j.tenant = gone.tenant AND j.shard = gone.shard
)

-- name: archive_of_id
-- The archive of a row that is not here any more; null if it was restored.
SELECT kept.name, kept.end_ns FROM pyledger.archived_id AS gone
LEFT JOIN pyledger.archived AS kept
    ON kept.shard = gone.shard AND gone.recorded_ns >= kept.start_ns AND gone.recorded_ns < kept.end_ns
WHERE gone.shard = $1 AND gone.tenant = $2 AND gone.id = $3

-- name: archived_spans
-- From when until when rows are archived, in order; partitions with nothing between their batches are one span.
SELECT min(start_ns) AS start_ns, max(end_ns) AS end_ns
FROM (
    SELECT start_ns, end_ns, sum(CASE WHEN first_seq = before_seq + 1 THEN 0 ELSE 1 END) OVER (ORDER BY start_ns) AS span
    FROM (
        SELECT start_ns, end_ns, first_seq, lag(last_seq) OVER (ORDER BY start_ns) AS before_seq
        FROM pyledger.archived WHERE shard = $1
    ) AS kept
) AS numbered
GROUP BY span ORDER BY 1

-- name: last_batch_before
SELECT seq, last_ns FROM pyledger.batch WHERE shard = $1 AND first_ns < $2 AND last_ns < $2
ORDER BY first_ns DESC LIMIT 1

-- name: checkpoint_head
-- With whether there is a batch that it is of: its time is what no replay would find wrong.
SELECT epoch, seq, hash, last_ns, ledgers, accounts, holds, seq = 0 AND last_ns = 0 OR EXISTS (
    SELECT FROM pyledger.batch
    WHERE batch.shard = $1 AND batch.seq = kept.seq AND batch.hash = kept.hash AND batch.last_ns = kept.last_ns
) AS known
FROM pyledger.checkpoint AS kept WHERE shard = $1

-- name: copy_ledgers
SELECT shard, tenant, number, asset, exponent, created_ns, imported_ns, seal
FROM pyledger.ledger WHERE shard = $1 ORDER BY tenant, number

-- name: copy_accounts
SELECT shard, slot, tenant, id, ledger, code, flags, allowance, debits_pending, debits_posted,
    credits_pending, credits_posted, created_ns, effective_ns, seal
FROM pyledger.account WHERE shard = $1 ORDER BY slot

-- name: copy_holds
SELECT shard, tenant, id, debit_account, credit_account, amount, ledger, code, flags, recorded_ns,
    expires_ns, group_id, seal
FROM pyledger.hold WHERE shard = $1 ORDER BY recorded_ns

-- name: base
-- Where the journal begins, if what was before is archived, and the state as of there.
SELECT seq, hash, last_ns, ledgers, accounts, holds, digest FROM pyledger.base WHERE shard = $1

-- name: copy_base_ledgers
SELECT shard, tenant, number, asset, exponent, created_ns, imported_ns, seal
FROM pyledger.base_ledger WHERE shard = $1 ORDER BY tenant, number

-- name: copy_base_accounts
SELECT shard, slot, tenant, id, ledger, code, flags, allowance, debits_pending, debits_posted,
    credits_pending, credits_posted, created_ns, effective_ns, seal
FROM pyledger.base_account WHERE shard = $1 ORDER BY slot

-- name: copy_base_holds
SELECT shard, tenant, id, debit_account, credit_account, amount, ledger, code, flags, recorded_ns,
    expires_ns, group_id, seal
FROM pyledger.base_hold WHERE shard = $1 ORDER BY recorded_ns

-- name: pin
-- First of all in a transaction that sees one snapshot: a partition that is swapped after the snapshot is empty in it.
LOCK TABLE pyledger.journal IN ACCESS SHARE MODE

-- name: batches_after
SELECT seq, rows, first_ns, last_ns, root, hash FROM pyledger.batch
WHERE shard = $1 AND seq > $2 ORDER BY seq LIMIT $3

-- name: copy_journal
-- In the order of the disk, which is nearly that of time: what is sorted is only sent when all of it was read.
SELECT shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount, target,
    ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after, credit_after
FROM pyledger.journal WHERE shard = $1 AND recorded_ns BETWEEN $2 AND $3

-- name: copy_journal_sorted
SELECT shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount, target,
    ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after, credit_after
FROM pyledger.journal WHERE shard = $1 AND recorded_ns BETWEEN $2 AND $3 ORDER BY recorded_ns

-- name: transfer_by_id
SELECT record_send(ROW(j.shard, j.seq, j.recorded_ns, j.id, j.tenant, j.kind, j.status, j.debit_account,
    j.credit_account, j.amount, j.target, j.ledger, j.code, j.flags, j.timeout_s, j.effective_ns,
    j.fingerprint, j.reference, j.metadata, j.debit_after, j.credit_after)) AS record
FROM pyledger.journal AS j
WHERE j.shard = $1 AND j.tenant = $2 AND j.id = $3 AND j.kind >= 3 AND j.seq <= $4

-- name: ledger_texts
-- The rows that opened ledgers, by the ids derived from their numbers.
SELECT j.ledger, j.metadata FROM pyledger.journal AS j
WHERE j.id = ANY ($3::uuid[]) AND j.shard = $1 AND j.tenant = $2 AND j.kind = 1 AND j.status = 0

-- name: account_texts
-- Not by a join: a planner that knows nothing of the table yet would read all of it.
SELECT j.id, j.reference, j.metadata FROM pyledger.journal AS j
WHERE j.id = ANY ($3::uuid[]) AND j.shard = $1 AND j.tenant = $2 AND j.kind = 2 AND j.status = 0

-- name: texts_of_account
SELECT j.reference, j.metadata FROM pyledger.journal AS j
WHERE j.id = $3 AND j.shard = $1 AND j.tenant = $2 AND j.recorded_ns = $4 AND j.kind = 2 AND j.status = 0

-- name: feed_batches
-- Whole batches from the one on that the row of $2 is in, in order; none after $3.
SELECT seq, rows, first_ns, last_ns FROM pyledger.batch
WHERE shard = $1 AND seq <= $3 AND first_ns >= coalesce(
    (SELECT first_ns FROM pyledger.batch WHERE shard = $1 AND first_ns <= $2 ORDER BY first_ns DESC LIMIT 1), 0)
ORDER BY first_ns LIMIT $4

-- name: feed_rows
-- No shard for a planner to see: it would look through all of the index of ids for one.
SELECT shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount, target,
    ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after, credit_after
FROM pyledger.journal WHERE shard + 0 = $1 AND recorded_ns BETWEEN $2 AND $3 ORDER BY recorded_ns

-- name: scan_newest_first
-- How far down a page may look: whole batches below $2, until they have $4 rows; nothing older than $3, and no look at
-- what is.
WITH low AS MATERIALIZED (
    SELECT coalesce((
        SELECT first_ns FROM pyledger.batch WHERE shard = $1 AND first_ns <= $3 ORDER BY first_ns DESC LIMIT 1
    ), 0) AS low_ns
), near AS (
    SELECT first_ns, rows FROM pyledger.batch
    WHERE shard = $1 AND first_ns < $2 AND first_ns >= (SELECT low_ns FROM low) AND last_ns >= $3
    ORDER BY first_ns DESC LIMIT $4
), counted AS (
    SELECT first_ns, sum(rows) OVER (ORDER BY first_ns DESC) - rows AS passed FROM near
), edge AS (
    SELECT min(first_ns) AS edge_ns FROM counted WHERE passed < $4
)
SELECT edge_ns, EXISTS (
    SELECT FROM pyledger.batch
    WHERE shard = $1 AND first_ns < edge_ns AND first_ns >= (SELECT low_ns FROM low) AND last_ns >= $3
) AS more FROM edge

-- name: scan_oldest_first
-- How far up a page may look: whole batches from $2 on, until they have $4 rows; nothing from $3 on.
WITH near AS (
    SELECT first_ns, last_ns, rows FROM pyledger.batch
    WHERE shard = $1 AND first_ns < $3 AND last_ns >= $2 AND first_ns >= coalesce((
        SELECT first_ns FROM pyledger.batch WHERE shard = $1 AND first_ns <= $2 ORDER BY first_ns DESC LIMIT 1
    ), 0) ORDER BY first_ns LIMIT $4
), counted AS (
    SELECT last_ns, sum(rows) OVER (ORDER BY first_ns) - rows AS passed FROM near
), edge AS (
    SELECT max(last_ns) + 1 AS edge_ns FROM counted WHERE passed < $4
)
SELECT edge_ns, EXISTS (
    SELECT FROM pyledger.batch WHERE shard = $1 AND first_ns >= edge_ns AND first_ns < $3
) AS more FROM edge

-- name: page_newest_first
-- By one look the rows of whole batches below $4, until they have $10 rows, from $3 on: at most $9 that are asked for;
-- the edge is how far was looked, and whether there is more. Nothing if there is no batch, else always a row.
-- Rows are sent as records only after the limit: most of what is looked at is not wanted. No tenant for a planner to
-- see: it would look through all of the index of ids for one.
WITH low AS MATERIALIZED (
    SELECT coalesce((
        SELECT first_ns FROM pyledger.batch WHERE shard = $1 AND first_ns <= $3 ORDER BY first_ns DESC LIMIT 1
    ), 0) AS low_ns
), near AS (
    SELECT first_ns, rows FROM pyledger.batch
    WHERE shard = $1 AND first_ns < $4 AND first_ns >= (SELECT low_ns FROM low) AND last_ns >= $3
    ORDER BY first_ns DESC LIMIT $10
), counted AS (
    SELECT first_ns, sum(rows) OVER (ORDER BY first_ns DESC) - rows AS passed FROM near
), edge AS MATERIALIZED (
    SELECT edge_ns, EXISTS (
        SELECT FROM pyledger.batch
        WHERE shard = $1 AND first_ns < edge_ns AND first_ns >= (SELECT low_ns FROM low) AND last_ns >= $3
    ) AS more FROM (SELECT min(first_ns) AS edge_ns FROM counted WHERE passed < $10) AS found WHERE edge_ns IS NOT NULL
)
SELECT edge.edge_ns, edge.more, j.recorded_ns, record_send(ROW(j.shard, j.seq, j.recorded_ns, j.id, j.tenant, j.kind, j.status,
    j.debit_account, j.credit_account, j.amount, j.target, j.ledger, j.code, j.flags, j.timeout_s,
    j.effective_ns, j.fingerprint, j.reference, j.metadata, j.debit_after, j.credit_after)) AS record
FROM edge LEFT JOIN LATERAL (
    SELECT * FROM pyledger.journal
    WHERE shard + 0 = $1 AND tenant + 0 = $2 AND recorded_ns >= $3 AND recorded_ns < $4 AND recorded_ns >= edge.edge_ns
        AND seq <= $5 AND kind >= 3 AND ($6::uuid IS NULL OR debit_account = $6 OR credit_account = $6)
        AND ($7::integer IS NULL OR ledger = $7) AND ($8::text IS NULL OR reference = $8)
    ORDER BY recorded_ns DESC LIMIT $9
) AS j ON true
ORDER BY j.recorded_ns DESC

-- name: page_oldest_first
-- The same upwards: whole batches from $3 on, nothing from $4 on.
WITH near AS (
    SELECT first_ns, last_ns, rows FROM pyledger.batch
    WHERE shard = $1 AND first_ns < $4 AND last_ns >= $3 AND first_ns >= coalesce((
        SELECT first_ns FROM pyledger.batch WHERE shard = $1 AND first_ns <= $3 ORDER BY first_ns DESC LIMIT 1
    ), 0) ORDER BY first_ns LIMIT $10
), counted AS (
    SELECT last_ns, sum(rows) OVER (ORDER BY first_ns) - rows AS passed FROM near
), edge AS MATERIALIZED (
    SELECT edge_ns, EXISTS (
        SELECT FROM pyledger.batch WHERE shard = $1 AND first_ns >= edge_ns AND first_ns < $4
    ) AS more FROM (SELECT max(last_ns) + 1 AS edge_ns FROM counted WHERE passed < $10) AS found
    WHERE edge_ns IS NOT NULL
)
SELECT edge.edge_ns, edge.more, j.recorded_ns, record_send(ROW(j.shard, j.seq, j.recorded_ns, j.id, j.tenant, j.kind, j.status,
    j.debit_account, j.credit_account, j.amount, j.target, j.ledger, j.code, j.flags, j.timeout_s,
    j.effective_ns, j.fingerprint, j.reference, j.metadata, j.debit_after, j.credit_after)) AS record
FROM edge LEFT JOIN LATERAL (
    SELECT * FROM pyledger.journal
    WHERE shard + 0 = $1 AND tenant + 0 = $2 AND recorded_ns >= $3 AND recorded_ns < $4 AND recorded_ns < edge.edge_ns
        AND seq <= $5 AND kind >= 3 AND ($6::uuid IS NULL OR debit_account = $6 OR credit_account = $6)
        AND ($7::integer IS NULL OR ledger = $7) AND ($8::text IS NULL OR reference = $8)
    ORDER BY recorded_ns LIMIT $9
) AS j ON true
ORDER BY j.recorded_ns

-- name: page_of_account_newest_first
-- Where partitions have the indexes of history: at most $9 rows of each side, and of those what is asked for. The edge
-- is where both sides are known up to, or null at the end; there is always a row.
WITH debits AS MATERIALIZED (
    SELECT * FROM pyledger.journal
    WHERE debit_account = $6 AND tenant = $2 AND shard = $1 AND recorded_ns >= $3 AND recorded_ns < $4
    ORDER BY recorded_ns DESC LIMIT $9
), credits AS MATERIALIZED (
    SELECT * FROM pyledger.journal
    WHERE credit_account = $6 AND tenant = $2 AND shard = $1 AND recorded_ns >= $3 AND recorded_ns < $4
        AND debit_account IS DISTINCT FROM $6
    ORDER BY recorded_ns DESC LIMIT $9
), edge AS (
    SELECT greatest(
        (SELECT min(recorded_ns) FROM debits HAVING count(*) >= $9),
        (SELECT min(recorded_ns) FROM credits HAVING count(*) >= $9)
    ) AS last_ns
)
SELECT edge.last_ns, j.recorded_ns, record_send(ROW(j.shard, j.seq, j.recorded_ns, j.id, j.tenant, j.kind, j.status,
    j.debit_account, j.credit_account, j.amount, j.target, j.ledger, j.code, j.flags, j.timeout_s,
    j.effective_ns, j.fingerprint, j.reference, j.metadata, j.debit_after, j.credit_after)) AS record
FROM edge LEFT JOIN LATERAL (
    SELECT * FROM (SELECT * FROM debits UNION ALL SELECT * FROM credits) AS both_sides
    WHERE (edge.last_ns IS NULL OR recorded_ns >= edge.last_ns) AND seq <= $5 AND kind >= 3
        AND ($7::integer IS NULL OR ledger = $7) AND ($8::text IS NULL OR reference = $8)
    ORDER BY recorded_ns DESC LIMIT $10
) AS j ON true
ORDER BY j.recorded_ns DESC

-- name: page_of_account_oldest_first
-- Where partitions have the indexes of history: at most $9 rows of each side, and of those what is asked for. The edge
-- is where both sides are known up to, or null at the end; there is always a row.
WITH debits AS MATERIALIZED (
    SELECT * FROM pyledger.journal
    WHERE debit_account = $6 AND tenant = $2 AND shard = $1 AND recorded_ns >= $3 AND recorded_ns < $4
    ORDER BY recorded_ns LIMIT $9
), credits AS MATERIALIZED (
    SELECT * FROM pyledger.journal
    WHERE credit_account = $6 AND tenant = $2 AND shard = $1 AND recorded_ns >= $3 AND recorded_ns < $4
        AND debit_account IS DISTINCT FROM $6
    ORDER BY recorded_ns LIMIT $9
), edge AS (
    SELECT least(
        (SELECT max(recorded_ns) FROM debits HAVING count(*) >= $9),
        (SELECT max(recorded_ns) FROM credits HAVING count(*) >= $9)
    ) AS last_ns
)
SELECT edge.last_ns, j.recorded_ns, record_send(ROW(j.shard, j.seq, j.recorded_ns, j.id, j.tenant, j.kind, j.status,
    j.debit_account, j.credit_account, j.amount, j.target, j.ledger, j.code, j.flags, j.timeout_s,
    j.effective_ns, j.fingerprint, j.reference, j.metadata, j.debit_after, j.credit_after)) AS record
FROM edge LEFT JOIN LATERAL (
    SELECT * FROM (SELECT * FROM debits UNION ALL SELECT * FROM credits) AS both_sides
    WHERE (edge.last_ns IS NULL OR recorded_ns <= edge.last_ns) AND seq <= $5 AND kind >= 3
        AND ($7::integer IS NULL OR ledger = $7) AND ($8::text IS NULL OR reference = $8)
    ORDER BY recorded_ns LIMIT $10
) AS j ON true
ORDER BY j.recorded_ns
