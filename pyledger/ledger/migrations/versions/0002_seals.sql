-- The rows of a checkpoint get a seal. Those that are there have none, and only the journal can give it: the
-- checkpoint is dropped, and the next start replays every row.

TRUNCATE pyledger.ledger, pyledger.account, pyledger.hold;
UPDATE pyledger.checkpoint SET seq = 0, hash = decode(repeat('00', 32), 'hex'), last_ns = 0, ledgers = 0, accounts = 0,
    holds = 0;
ALTER TABLE pyledger.ledger ADD COLUMN seal bigint NOT NULL;
ALTER TABLE pyledger.account ADD COLUMN seal bigint NOT NULL;
ALTER TABLE pyledger.hold ADD COLUMN seal bigint NOT NULL;
DROP TABLE pyledger.ledger_staged, pyledger.account_staged, pyledger.hold_staged;
CREATE UNLOGGED TABLE pyledger.ledger_staged (LIKE pyledger.ledger);
CREATE UNLOGGED TABLE pyledger.account_staged (LIKE pyledger.account);
CREATE UNLOGGED TABLE pyledger.hold_staged (LIKE pyledger.hold);
GRANT INSERT, SELECT, TRUNCATE ON pyledger.ledger_staged, pyledger.account_staged, pyledger.hold_staged
    TO pyledger_writer;
