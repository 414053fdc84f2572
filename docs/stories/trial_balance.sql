-- The trial balance, now and at the end of a month: every ledger's debits equal its credits.

SET search_path = pyledger;
\set bank '01980000-0003-7000-8000-000000000001'
\set capital '01980000-0003-7000-8000-000000000002'
\set ada '01980000-0003-7000-8000-000000000003'
\set bob '01980000-0003-7000-8000-000000000004'
\set fees '01980000-0003-7000-8000-000000000005'

-- Code 10 is cash, a debit account; 20 is capital, 30 are customers, 40 is what the house earns.
--> POST /v1/ledgers {"id": 103, "asset": "USD", "exponent": 2}
--< 201
--> POST /v1/accounts/batch {"accounts": [
-->     {"id": ":bank", "ledger": 103, "code": 10, "flags": ["imported", "credits_must_not_exceed_debits"],
-->      "effective_at": "2025-09-01T00:00:00Z"},
-->     {"id": ":capital", "ledger": 103, "code": 20, "flags": ["imported"], "effective_at": "2025-09-01T00:00:01Z"},
-->     {"id": ":ada", "ledger": 103, "code": 30, "flags": ["imported"], "effective_at": "2025-09-01T00:00:02Z"},
-->     {"id": ":bob", "ledger": 103, "code": 30, "flags": ["imported"], "effective_at": "2025-09-01T00:00:03Z"},
-->     {"id": ":fees", "ledger": 103, "code": 40, "flags": ["imported"], "effective_at": "2025-09-01T00:00:04Z"}]}
--< 200 5 accepted, 0 not
--> POST /v1/transfers/batch {"transfers": [
-->     {"id": "01980000-0003-7000-8000-000000000011", "debit_account_id": ":bank", "credit_account_id": ":capital",
-->      "amount": "1000000", "ledger": 103, "code": 1, "flags": ["imported"], "effective_at": "2025-09-02T08:00:00Z"},
-->     {"id": "01980000-0003-7000-8000-000000000012", "debit_account_id": ":bank", "credit_account_id": ":ada",
-->      "amount": "75000", "ledger": 103, "code": 2, "flags": ["imported"], "effective_at": "2025-09-10T08:00:00Z"},
-->     {"id": "01980000-0003-7000-8000-000000000013", "debit_account_id": ":ada", "credit_account_id": ":bob",
-->      "amount": "20000", "ledger": 103, "code": 3, "flags": ["imported"], "effective_at": "2025-09-20T08:00:00Z"},
-->     {"id": "01980000-0003-7000-8000-000000000014", "debit_account_id": ":ada", "credit_account_id": ":fees",
-->      "amount": "150", "ledger": 103, "code": 4, "flags": ["imported"], "effective_at": "2025-09-30T23:59:59Z"},
-->     {"id": "01980000-0003-7000-8000-000000000015", "debit_account_id": ":bob", "credit_account_id": ":bank",
-->      "amount": "20000", "ledger": 103, "code": 5, "flags": ["imported"], "effective_at": "2025-10-01T00:00:00Z"}]}
--< 200 5 accepted, 0 not

-- Now, as of the batch committed last. The line without a code is the sum.
SELECT code, sum(accounts) AS accounts, major(sum(debit_balance), 2) AS debits,
    major(sum(credit_balance), 2) AS credits
FROM trial_balance WHERE ledger = 103 GROUP BY ROLLUP (code) ORDER BY code;
--|  code | accounts |  debits  | credits
--| ------+----------+----------+----------
--|    10 |        1 | 10550.00 |     0.00
--|    20 |        1 |     0.00 | 10000.00
--|    30 |        2 |     0.00 |   548.50
--|    40 |        1 |     0.00 |     1.50
--|       |        5 | 10550.00 | 10550.00
--| (5 rows)

-- At the end of September, out of the entries that happened until then.
WITH september AS (
    SELECT account_id, sum(amount) FILTER (WHERE side = 'debit') AS debits,
        sum(amount) FILTER (WHERE side = 'credit') AS credits
    FROM entries WHERE ledger = 103 AND change <> 0 AND effective_at < '2025-10-01Z' GROUP BY account_id
), balance AS (
    SELECT code, coalesce(debits, 0) - coalesce(credits, 0) AS balance
    FROM september JOIN accounts ON accounts.id = september.account_id
)
SELECT code, major(sum(greatest(balance, 0)), 2) AS debits, major(sum(greatest(-balance, 0)), 2) AS credits
FROM balance GROUP BY ROLLUP (code) ORDER BY code;
--|  code |  debits  | credits
--| ------+----------+----------
--|    10 | 10750.00 |     0.00
--|    20 |     0.00 | 10000.00
--|    30 |     0.00 |   748.50
--|    40 |     0.00 |     1.50
--|       | 10750.00 | 10750.00
--| (5 rows)

-- No ledger of anybody is out of balance.
SELECT tenant, ledger FROM trial_balance GROUP BY tenant, ledger
HAVING sum(debits_posted) <> sum(credits_posted) OR sum(debits_pending) <> sum(credits_pending);
--|  tenant | ledger
--| --------+--------
--| (0 rows)
