-- What a checkpoint sends, on its own connection: stage, merge, and last of all its compare-and-set.

-- name: stage_ledger
-- Where what changed lands before one statement merges it. Temporary, not unlogged: PostgreSQL cannot recover
-- ("could not create file ...: File exists") where an unlogged table got new files, as TRUNCATE gives it, right
-- before a crash that loses one of them or a rollback; it would start at the second attempt only.
-- Outside the transaction: what takes long there holds back vacuum everywhere.
CREATE TEMPORARY TABLE ledger_staged (LIKE pyledger.ledger)

-- name: stage_account
CREATE TEMPORARY TABLE account_staged (LIKE pyledger.account)

-- name: stage_hold
CREATE TEMPORARY TABLE hold_staged (LIKE pyledger.hold)

-- name: stage_hold_removed
CREATE TEMPORARY TABLE hold_removed_staged (tenant integer, id uuid)

-- name: merge_ledger
INSERT INTO pyledger.ledger AS kept
SELECT * FROM pg_temp.ledger_staged WHERE shard = $1
ON CONFLICT ON CONSTRAINT ledger_number_unique DO UPDATE SET imported_ns = excluded.imported_ns, seal = excluded.seal

-- name: merge_account
-- What a transfer can change of an account: its counters, and the flag that closes it.
INSERT INTO pyledger.account AS kept
SELECT * FROM pg_temp.account_staged WHERE shard = $1 ORDER BY slot
ON CONFLICT ON CONSTRAINT account_slot_unique DO UPDATE SET
    flags = excluded.flags, seal = excluded.seal,
    debits_pending = excluded.debits_pending, debits_posted = excluded.debits_posted,
    credits_pending = excluded.credits_pending, credits_posted = excluded.credits_posted
WHERE kept.id = excluded.id AND kept.tenant = excluded.tenant

-- name: merge_hold
INSERT INTO pyledger.hold SELECT * FROM pg_temp.hold_staged WHERE shard = $1
ON CONFLICT ON CONSTRAINT hold_id_unique DO NOTHING

-- name: merge_hold_removed
DELETE FROM pyledger.hold AS kept USING pg_temp.hold_removed_staged AS gone
WHERE kept.shard = $1 AND kept.tenant = gone.tenant AND kept.id = gone.id

-- name: counts
-- Accounts by their last slot: there may be millions, and slots have no gaps.
SELECT
    (SELECT count(*) FROM pyledger.ledger WHERE shard = $1) AS ledgers,
    (SELECT coalesce(max(slot) + 1, 0) FROM pyledger.account WHERE shard = $1) AS accounts,
    (SELECT count(*) FROM pyledger.hold WHERE shard = $1) AS holds

-- name: advance
-- Last, so that its row is locked for a moment only: a takeover in between ends this transaction.
UPDATE pyledger.checkpoint SET seq = $3, hash = $4, last_ns = $5, ledgers = $6, accounts = $7, holds = $8
WHERE shard = $1 AND epoch = $2 AND seq <= $3
RETURNING seq

-- name: lock
-- Before all else of `drop`: whoever drops a partition locks it too, and moves the base.
SELECT shard FROM pyledger.checkpoint WHERE shard = $1 FOR UPDATE

-- name: drop
-- Nothing but the journal is left to start from, and the base where its beginning is archived. The epoch is one that
-- nobody has: a server that still runs stores no further checkpoint, which would lack what was dropped; the next start
-- gives it its own.
WITH ledgers AS (DELETE FROM pyledger.ledger WHERE shard = $1), accounts AS (
    DELETE FROM pyledger.account WHERE shard = $1
), holds AS (
    DELETE FROM pyledger.hold WHERE shard = $1
)
UPDATE pyledger.checkpoint AS kept SET epoch = 0, seq = coalesce(base.seq, 0),
    hash = coalesce(base.hash, decode(repeat('00', 32), 'hex')), last_ns = coalesce(base.last_ns, 0),
    ledgers = coalesce(base.ledgers, 0), accounts = coalesce(base.accounts, 0), holds = coalesce(base.holds, 0)
FROM (SELECT $1::smallint AS shard) AS asked LEFT JOIN pyledger.base USING (shard)
WHERE kept.shard = asked.shard

-- name: fill_ledgers
INSERT INTO pyledger.ledger SELECT * FROM pyledger.base_ledger WHERE shard = $1

-- name: fill_accounts
INSERT INTO pyledger.account SELECT * FROM pyledger.base_account WHERE shard = $1 ORDER BY slot

-- name: fill_holds
INSERT INTO pyledger.hold SELECT * FROM pyledger.base_hold WHERE shard = $1
