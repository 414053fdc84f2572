-- What archiving, restoring and legal holds ask, as the owner of the schema. {name} is a partition's, as the table
-- `partition` has it.

-- name: become_owner
SET ROLE pyledger_owner

-- name: lock
SELECT pg_try_advisory_lock(hashtextextended('pyledger.retention', 0))

-- name: unlock
SELECT pg_advisory_unlock_all()

-- name: partitions
SELECT made.name, made.start_ns, made.end_ns, made.rows,
    coalesce(done.step, '') AS step, coalesce(done.manifest, '') AS manifest
FROM pyledger.partition AS made
LEFT JOIN LATERAL (
    SELECT step, manifest FROM pyledger.archive_log
    WHERE archive_log.start_ns = made.start_ns AND archive_log.end_ns = made.end_ns ORDER BY number DESC LIMIT 1
) AS done ON true
ORDER BY made.start_ns

-- name: seal
-- Held, so that it is not dropped meanwhile: the filter of ids is what tells a server to ask for those of the archive.
SELECT rows FROM pyledger.partition WHERE name = $1 AND sealed_at IS NOT NULL FOR SHARE

-- name: contents
SELECT shard, tenant, ledger, count(*) AS rows FROM pyledger.{name} GROUP BY shard, tenant, ledger ORDER BY 1, 2, 3

-- name: ledgers
-- Those of the checkpoints, and those that were opened since.
SELECT tenant, number FROM pyledger.ledger
UNION
SELECT tenant, ledger FROM pyledger.journal WHERE kind = 1 AND status = 0 AND recorded_ns > (
    SELECT min(kept.last_ns) FROM pyledger.checkpoint AS kept JOIN pyledger.head USING (shard) WHERE head.seq > kept.seq
)

-- name: shards
SELECT shard FROM pyledger.head ORDER BY shard

-- name: tenants
SELECT id, name FROM pyledger.tenant

-- name: is_over
-- Every shard's head is past it, so nothing can be committed into it any more.
SELECT NOT EXISTS (SELECT FROM pyledger.head WHERE seq > 0 AND last_ns < $1)

-- name: knows_archives
-- Every shard was taken over since by a server that asks for archived ids.
SELECT NOT EXISTS (
    SELECT FROM pyledger.epoch_before_archives AS old JOIN pyledger.head USING (shard) WHERE head.epoch <= old.epoch
)

-- name: extent
-- The first and the last batch that end within a stretch of time, and the last that begins in it or before.
SELECT coalesce((
    SELECT CASE WHEN last_ns < $2 THEN seq + 1 ELSE seq END FROM pyledger.batch
    WHERE shard = $1 AND first_ns < $2 ORDER BY first_ns DESC LIMIT 1
), 1) AS first_seq, coalesce((
    SELECT CASE WHEN last_ns < $3 THEN seq ELSE seq - 1 END FROM pyledger.batch
    WHERE shard = $1 AND first_ns < $3 ORDER BY first_ns DESC LIMIT 1
), 0) AS last_seq, coalesce((
    SELECT seq FROM pyledger.batch WHERE shard = $1 AND first_ns < $3 ORDER BY first_ns DESC LIMIT 1
), 0) AS begun_seq

-- name: batches
SELECT seq, rows, first_ns, last_ns, root, hash FROM pyledger.batch
WHERE shard = $1 AND seq > $2 AND seq <= $3 ORDER BY seq LIMIT $4

-- name: hash_of_batch
SELECT hash FROM pyledger.batch WHERE shard = $1 AND seq = $2

-- name: copy_rows
SELECT shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount, target,
    ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after, credit_after
FROM pyledger.journal WHERE shard + 0 = $1 AND recorded_ns BETWEEN $2 AND $3 ORDER BY recorded_ns

-- name: lock_checkpoints
SELECT shard, seq FROM pyledger.checkpoint FOR SHARE

-- name: wait_long
SET LOCAL lock_timeout = '60s'

-- name: seqscan
-- On, where all of a partition is read; off, where a piece of it is: a planner without statistics would read all of it.
SELECT set_config('enable_seqscan', $1, false)

-- name: freeze
-- Nothing can be added to it from here on, and no vacuum holds us up later; appends go to another partition.
LOCK TABLE pyledger.{name} IN SHARE MODE

-- name: wait_little
SET LOCAL lock_timeout = '100ms'

-- name: make_twin
SELECT pyledger.make_twin($1)

-- name: fill_twin
-- What stays: whose opening is read for ever, and rows of a batch that goes on in the next partition.
INSERT INTO pyledger.{name}_twin
SELECT row.* FROM pyledger.{name} AS row
JOIN unnest($1::smallint[], $2::bigint[]) AS kept (shard, last_seq) ON kept.shard = row.shard
WHERE row.kind <= 2 AND row.status = 0 OR row.seq > kept.last_seq

-- name: fill_rest
-- Rows of a batch that goes on in the next partition: they are not in the archive.
INSERT INTO pyledger.{name}_twin
SELECT row.* FROM pyledger.{name} AS row
JOIN unnest($1::smallint[], $2::bigint[]) AS kept (shard, last_seq) ON kept.shard = row.shard
WHERE row.seq > kept.last_seq

-- name: index_twin
SELECT pyledger.index_twin($1)

-- name: swap_twin
-- Commits without a wait for a synchronous standby, for the journal is locked until then; a standby that lacks this has
-- all of it as it was before.
SELECT pyledger.swap_twin($1), set_config('synchronous_commit', 'local', true)

-- name: keep_ids
INSERT INTO pyledger.archived_id (recorded_ns, id, tenant, shard)
SELECT recorded_ns, id, tenant, shard FROM pyledger.{name} WHERE NOT (kind <= 2 AND status = 0) ORDER BY recorded_ns
ON CONFLICT ON CONSTRAINT archived_id_unique DO NOTHING

-- name: counted
-- Rows of a shard, and those of batches that are in its archive.
SELECT count(*) AS rows, count(*) FILTER (WHERE seq <= $2) AS archived, count(*) FILTER (WHERE kind > 2 OR status <> 0) AS ids
FROM pyledger.{name} WHERE shard = $1

-- name: copy_twin
SELECT shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount, target,
    ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after, credit_after
FROM pyledger.{name}_twin WHERE shard = $1 ORDER BY recorded_ns

-- name: copy_rest
SELECT shard, seq, recorded_ns, id, tenant, kind, status, debit_account, credit_account, amount, target,
    ledger, code, flags, timeout_s, effective_ns, fingerprint, reference, metadata, debit_after, credit_after
FROM pyledger.{name} WHERE shard = $1 AND seq > $2 ORDER BY recorded_ns

-- name: sum_ids
SELECT count(*) AS ids, coalesce(sum(
    ('x' || substr(encode(sha256(uuid_send(id) || int4send(tenant) || int8send(recorded_ns)), 'hex'), 1, 16))::bit(64)::bigint
), 0) AS ids_sum
FROM pyledger.archived_id WHERE shard = $1 AND recorded_ns >= $2 AND recorded_ns < $3

-- name: note_archived
INSERT INTO pyledger.archived (start_ns, shard, end_ns, name, first_seq, last_seq, rows, kept_rows, kept_hash, ids, ids_sum)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: archived
SELECT shard, first_seq, last_seq, rows FROM pyledger.archived WHERE start_ns = $1 ORDER BY shard

-- name: forget_archived
DELETE FROM pyledger.archived WHERE start_ns = $1

-- name: log
INSERT INTO pyledger.archive_log (step, start_ns, end_ns, name, manifest) VALUES ($1, $2, $3, $4, $5)

-- name: was_noted
SELECT EXISTS (SELECT FROM pyledger.archive_log WHERE manifest = $1)

-- name: identity
-- Of this database, among those that may share a directory.
SELECT to_hex(system_identifier) || '_' || (SELECT oid FROM pg_database WHERE datname = current_database())
FROM pg_control_system()

-- name: newest_signed
-- What a text is made of, here and below: of a page that was damaged, that need not be UTF-8.
SELECT size, key_number, textsend(key) AS key, textsend(note) AS note FROM pyledger.signed_checkpoint
WHERE shard = $1 AND key_number = coalesce($2, key_number) ORDER BY size DESC, key_number LIMIT 1

-- name: signed_of_size
SELECT size, key_number, textsend(key) AS key, textsend(note) AS note FROM pyledger.signed_checkpoint
WHERE shard = $1 AND size = $2

-- name: base
SELECT seq FROM pyledger.base WHERE shard = $1

-- name: stage_ledger
CREATE TEMPORARY TABLE ledger_staged (LIKE pyledger.ledger) ON COMMIT DROP

-- name: stage_account
CREATE TEMPORARY TABLE account_staged (LIKE pyledger.account) ON COMMIT DROP

-- name: stage_hold
CREATE TEMPORARY TABLE hold_staged (LIKE pyledger.hold) ON COMMIT DROP

-- name: stage_hold_removed
CREATE TEMPORARY TABLE hold_removed_staged (tenant integer, id uuid) ON COMMIT DROP

-- name: merge_ledger
INSERT INTO pyledger.base_ledger AS kept SELECT * FROM pg_temp.ledger_staged WHERE shard = $1
ON CONFLICT ON CONSTRAINT base_ledger_number_unique DO UPDATE
SET imported_ns = excluded.imported_ns, seal = excluded.seal

-- name: merge_account
INSERT INTO pyledger.base_account AS kept SELECT * FROM pg_temp.account_staged WHERE shard = $1 ORDER BY slot
ON CONFLICT ON CONSTRAINT base_account_slot_unique DO UPDATE SET
    flags = excluded.flags, seal = excluded.seal,
    debits_pending = excluded.debits_pending, debits_posted = excluded.debits_posted,
    credits_pending = excluded.credits_pending, credits_posted = excluded.credits_posted
WHERE kept.id = excluded.id AND kept.tenant = excluded.tenant

-- name: merge_hold
INSERT INTO pyledger.base_hold SELECT * FROM pg_temp.hold_staged WHERE shard = $1
ON CONFLICT ON CONSTRAINT base_hold_id_unique DO NOTHING

-- name: merge_hold_removed
DELETE FROM pyledger.base_hold AS kept USING pg_temp.hold_removed_staged AS gone
WHERE kept.shard = $1 AND kept.tenant = gone.tenant AND kept.id = gone.id

-- name: unstage
DROP TABLE IF EXISTS pg_temp.ledger_staged, pg_temp.account_staged, pg_temp.hold_staged,
    pg_temp.hold_removed_staged

-- name: base_counts
SELECT
    (SELECT count(*) FROM pyledger.base_ledger WHERE shard = $1) AS ledgers,
    (SELECT count(*) FROM pyledger.base_account WHERE shard = $1) AS accounts,
    (SELECT count(*) FROM pyledger.base_hold WHERE shard = $1) AS holds

-- name: set_base
INSERT INTO pyledger.base (shard, seq, hash, last_ns, ledgers, accounts, holds, digest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT ON CONSTRAINT base_one_a_shard DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
    last_ns = excluded.last_ns, ledgers = excluded.ledgers, accounts = excluded.accounts, holds = excluded.holds,
    digest = excluded.digest

-- name: holds
SELECT number, tenant, ledger, account::text, reason FROM pyledger.legal_hold
WHERE NOT EXISTS (SELECT FROM pyledger.legal_hold_lifted AS lifted WHERE lifted.number = legal_hold.number)
ORDER BY number

-- name: clock
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint

-- name: holds_placed
-- None is ever changed or deleted, so as many are the same ones; a greater number may be committed before a smaller one.
SELECT count(*) FROM pyledger.legal_hold

-- name: lock_holds
-- One that is being placed comes before or after, and is not overlooked.
LOCK TABLE pyledger.legal_hold IN SHARE MODE

-- name: has_account
SELECT EXISTS (
    SELECT FROM pyledger.{name} WHERE tenant = $1 AND (debit_account = $2 OR credit_account = $2 OR id = $2)
)

-- name: opened
-- In which ledger an account was opened, or that a ledger was, by the id derived from its number: openings stay.
SELECT ledger FROM pyledger.journal WHERE id = $2 AND tenant = $1 AND kind = $3 AND status = 0 LIMIT 1

-- name: tenant_by_name
SELECT id FROM pyledger.tenant WHERE name = $1

-- name: place_hold
INSERT INTO pyledger.legal_hold (tenant, ledger, account, reason) VALUES ($1, $2, $3, $4) RETURNING number

-- name: lift_hold
INSERT INTO pyledger.legal_hold_lifted (number, reason)
SELECT number, $2 FROM pyledger.legal_hold WHERE number = $1
ON CONFLICT ON CONSTRAINT legal_hold_lifted_once DO NOTHING RETURNING number

-- name: all_holds
SELECT hold.number, tenant.name AS tenant, hold.ledger, hold.account::text AS account, hold.reason, hold.placed_by,
    hold.placed_at, lifted.reason AS lifted_because, lifted.lifted_by, lifted.lifted_at
FROM pyledger.legal_hold AS hold
LEFT JOIN pyledger.tenant ON tenant.id = hold.tenant
LEFT JOIN pyledger.legal_hold_lifted AS lifted ON lifted.number = hold.number
ORDER BY hold.number
