-- The life of a card payment: held at the pump, captured in part, refunded in part.
--
-- Run it with psql as a member of pyledger_reader. Lines with --> are what the till and the bank sent, --< is what
-- they got, and --| is what psql printed.

SET search_path = pyledger;
\set bank '01980000-0001-7000-8000-000000000001'
\set station '01980000-0001-7000-8000-000000000002'
\set ada '01980000-0001-7000-8000-000000000003'
\set hold '01980000-0001-7000-8000-000000000011'
\set capture '01980000-0001-7000-8000-000000000012'

--> POST /v1/ledgers {"id": 101, "asset": "EUR", "exponent": 2}
--< 201
--> POST /v1/accounts/batch {"accounts": [{"id": ":bank", "ledger": 101, "code": 1},
-->     {"id": ":station", "ledger": 101, "code": 2, "reference": "Shell, Hafenstrasse"},
-->     {"id": ":ada", "ledger": 101, "code": 3, "flags": ["debits_must_not_exceed_credits"], "reference": "Ada"}]}
--< 200 3 accepted, 0 not

-- Ada has 200.00. She puts her card into the pump, which holds 100.00 before it gives anything.
--> POST /v1/transfers {"id": "01980000-0001-7000-8000-000000000010", "debit_account_id": ":bank",
-->     "credit_account_id": ":ada", "amount": "20000", "ledger": 101, "code": 1}
--< 201
--> POST /v1/transfers {"id": ":hold", "debit_account_id": ":ada", "credit_account_id": ":station", "amount": "10000",
-->     "ledger": 101, "code": 2, "flags": ["pending"], "timeout_s": 604800, "reference": "pump 4"}
--< 201

SELECT reference, major(posted, exponent) AS posted, major(pending, exponent) AS pending,
    major(available, exponent) AS available
FROM accounts WHERE ledger = 101 AND code > 1 ORDER BY code;
--|       reference      | posted | pending | available
--| ---------------------+--------+---------+-----------
--|  Shell, Hafenstrasse |   0.00 |  100.00 |      0.00
--|  Ada                 | 200.00 | -100.00 |    100.00
--| (2 rows)

-- What is open, and for how much longer.
SELECT id, amount, flags, expires_at - recorded_at AS lasts FROM holds WHERE ledger = 101;
--|                   id                  | amount |   flags   | lasts
--| --------------------------------------+--------+-----------+--------
--|  01980000-0001-7000-8000-000000000011 |  10000 | {pending} | 7 days
--| (1 row)

-- She takes fuel for 61.80; the rest is hers again. A week later one can of oil, 12.50, goes back.
--> POST /v1/transfers/:hold/post {"id": ":capture", "amount": "6180"}
--< 201
--> POST /v1/transfers/:capture/reverse {"id": "01980000-0001-7000-8000-000000000013", "amount": "1250",
-->     "reference": "oil returned"}
--< 201

-- The whole life of the payment, from its hold on. transfers also has what was declined, and what each row acts on.
SELECT kind, status, amount, coalesce(pending_id, reverses) AS acts_on, reference FROM transfers
WHERE id = :'hold' OR pending_id = :'hold' OR reverses = :'capture' ORDER BY recorded_ns;
--|   kind   |  status  | amount |               acts_on                |  reference
--| ---------+----------+--------+--------------------------------------+--------------
--|  pending | accepted |  10000 |                                      | pump 4
--|  post    | accepted |   6180 | 01980000-0001-7000-8000-000000000011 |
--|  reverse | accepted |   1250 | 01980000-0001-7000-8000-000000000012 | oil returned
--| (3 rows)

-- The same in entries, with what Ada had after each step. change is what it did to her balance.
SELECT kind, side, amount, change, posted, available FROM entries
WHERE account_id = :'ada' AND (transfer_id = :'hold' OR target_id IN (:'hold', :'capture')) ORDER BY recorded_ns;
--|   kind   |  side  | amount | change | posted | available
--| ---------+--------+--------+--------+--------+-----------
--|  pending | debit  |  10000 |      0 |  20000 |     10000
--|  post    | debit  |   6180 |  -6180 |  13820 |     13820
--|  reverse | credit |   1250 |   1250 |  15070 |     15070
--| (3 rows)

-- Nothing is held any more.
SELECT count(*) FROM holds WHERE ledger = 101;
--|  count
--| -------
--|      0
--| (1 row)
