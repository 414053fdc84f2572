-- A checkpoint lands in temporary tables of its own transaction now, see checkpoint.sql.

DROP TABLE pyledger.ledger_staged, pyledger.account_staged, pyledger.hold_staged;
