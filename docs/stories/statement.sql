-- A day's statement of a wallet: opening balance, what moved, running balance, closing balance.
--
-- These transfers are imported, so the day is that of effective_at. For the day on which something was recorded, bound
-- recorded_ns: WHERE recorded_ns >= pyledger.ns('2025-10-14Z') AND recorded_ns < pyledger.ns('2025-10-15Z').

SET search_path = pyledger;
\set bank '01980000-0002-7000-8000-000000000001'
\set shop '01980000-0002-7000-8000-000000000002'
\set wallet '01980000-0002-7000-8000-000000000003'

--> POST /v1/ledgers {"id": 102, "asset": "EUR", "exponent": 2}
--< 201
--> POST /v1/accounts/batch {"accounts": [
-->     {"id": ":bank", "ledger": 102, "code": 1, "flags": ["imported"], "effective_at": "2025-10-01T00:00:00Z"},
-->     {"id": ":shop", "ledger": 102, "code": 2, "flags": ["imported"], "effective_at": "2025-10-01T00:00:01Z"},
-->     {"id": ":wallet", "ledger": 102, "code": 3, "flags": ["imported", "debits_must_not_exceed_credits"],
-->      "effective_at": "2025-10-01T00:00:02Z"}]}
--< 200 3 accepted, 0 not
--> POST /v1/transfers/batch {"transfers": [
-->     {"id": "01980000-0002-7000-8000-000000000011", "debit_account_id": ":bank", "credit_account_id": ":wallet",
-->      "amount": "50000", "ledger": 102, "code": 1, "flags": ["imported"], "effective_at": "2025-10-13T09:00:00Z",
-->      "reference": "top-up"},
-->     {"id": "01980000-0002-7000-8000-000000000012", "debit_account_id": ":wallet", "credit_account_id": ":shop",
-->      "amount": "1990", "ledger": 102, "code": 2, "flags": ["imported"], "effective_at": "2025-10-14T07:31:05Z",
-->      "reference": "breakfast"},
-->     {"id": "01980000-0002-7000-8000-000000000013", "debit_account_id": ":wallet", "credit_account_id": ":shop",
-->      "amount": "24000", "ledger": 102, "code": 2, "flags": ["imported"], "effective_at": "2025-10-14T12:00:00Z",
-->      "reference": "bicycle tyres"},
-->     {"id": "01980000-0002-7000-8000-000000000014", "debit_account_id": ":shop", "credit_account_id": ":wallet",
-->      "amount": "12000", "ledger": 102, "code": 3, "flags": ["imported"], "effective_at": "2025-10-14T17:45:00Z",
-->      "reference": "one tyre back"},
-->     {"id": "01980000-0002-7000-8000-000000000015", "debit_account_id": ":wallet", "credit_account_id": ":shop",
-->      "amount": "500", "ledger": 102, "code": 2, "flags": ["imported"], "effective_at": "2025-10-15T08:00:00Z",
-->      "reference": "breakfast"}]}
--< 200 5 accepted, 0 not

-- The 14th of October: what was there before it and after it,
SELECT major(sum(change) FILTER (WHERE effective_at < '2025-10-14Z'), 2) AS opening,
    major(sum(change) FILTER (WHERE effective_at < '2025-10-15Z'), 2) AS closing
FROM entries WHERE account_id = :'wallet';
--|  opening | closing
--| ---------+---------
--|   500.00 |  360.10
--| (1 row)

-- and what moved. The running balance counts from the first entry on, whatever part of it is shown.
SELECT to_char(at, 'HH24:MI') AS time, reference, major(change, 2) AS change, major(balance, 2) AS balance
FROM (
    SELECT effective_at AT TIME ZONE 'UTC' AS at, reference, change, recorded_ns,
        sum(change) OVER (ORDER BY effective_at, recorded_ns) AS balance
    FROM entries WHERE account_id = :'wallet' AND change <> 0
) AS mine
WHERE at >= '2025-10-14' AND at < '2025-10-15' ORDER BY at, recorded_ns;
--|  time  |   reference   | change  | balance
--| -------+---------------+---------+---------
--|  07:31 | breakfast     |  -19.90 |  480.10
--|  12:00 | bicycle tyres | -240.00 |  240.10
--|  17:45 | one tyre back |  120.00 |  360.10
--| (3 rows)

-- Day by day.
SELECT (effective_at AT TIME ZONE 'UTC')::date AS day, count(*) AS entries, major(sum(change), 2) AS change,
    major(sum(sum(change)) OVER (ORDER BY (effective_at AT TIME ZONE 'UTC')::date), 2) AS balance
FROM entries WHERE account_id = :'wallet' GROUP BY day ORDER BY day;
--|     day     | entries | change  | balance
--| ------------+---------+---------+---------
--|  2025-10-13 |       1 |  500.00 |  500.00
--|  2025-10-14 |       3 | -139.90 |  360.10
--|  2025-10-15 |       1 |   -5.00 |  355.10
--| (3 rows)
