-- What a decline was about: Bob says that his card did not work on Tuesday, though there was money on it.
--
-- Declines are recorded like everything else, so the books can tell what the account had at that very moment.

SET search_path = pyledger;
\set bank '01980000-0004-7000-8000-000000000001'
\set shop '01980000-0004-7000-8000-000000000002'
\set bob '01980000-0004-7000-8000-000000000003'

--> POST /v1/ledgers {"id": 104, "asset": "EUR", "exponent": 2}
--< 201
--> POST /v1/accounts/batch {"accounts": [{"id": ":bank", "ledger": 104, "code": 1},
-->     {"id": ":shop", "ledger": 104, "code": 2},
-->     {"id": ":bob", "ledger": 104, "code": 3, "flags": ["debits_must_not_exceed_credits"], "allowance": "1000"}]}
--< 200 3 accepted, 0 not
--> POST /v1/transfers {"id": "01980000-0004-7000-8000-000000000011", "debit_account_id": ":bank",
-->     "credit_account_id": ":bob", "amount": "10000", "ledger": 104, "code": 1, "reference": "salary"}
--< 201
--> POST /v1/transfers {"id": "01980000-0004-7000-8000-000000000012", "debit_account_id": ":bob",
-->     "credit_account_id": ":shop", "amount": "8000", "ledger": 104, "code": 2, "flags": ["pending"],
-->     "reference": "hotel deposit"}
--< 201
--> POST /v1/transfers {"id": "01980000-0004-7000-8000-000000000013", "debit_account_id": ":bob",
-->     "credit_account_id": ":shop", "amount": "4500", "ledger": 104, "code": 2, "reference": "shoes"}
--< 422 exceeds_credits
--> POST /v1/transfers/01980000-0004-7000-8000-000000000012/void {"id": "01980000-0004-7000-8000-000000000014"}
--< 201

-- What was declined, and why.
SELECT id, reference, amount, refusal, detail FROM transfers
WHERE debit_account_id = :'bob' AND status = 'declined';
--|                   id                  | reference | amount |     refusal     |                                              detail
--| --------------------------------------+-----------+--------+-----------------+---------------------------------------------------------------------------------------------------
--|  01980000-0004-7000-8000-000000000013 | shoes     |   4500 | exceeds_credits | The debit account does not have that much: its debits would exceed its credits and its allowance.
--| (1 row)

-- What he had then: his last entry before it. 100.00 and 10.00 of allowance, but 80.00 were held.
SELECT e.posted, e.pending, e.available, t.amount AS asked, t.amount - e.available AS missing
FROM transfers AS t
JOIN LATERAL (
    SELECT * FROM entries WHERE account_id = t.debit_account_id AND recorded_ns < t.recorded_ns
    ORDER BY recorded_ns DESC LIMIT 1
) AS e ON true
WHERE t.id = '01980000-0004-7000-8000-000000000013';
--|  posted | pending | available | asked | missing
--| --------+---------+-----------+-------+---------
--|   10000 |   -8000 |      3000 |  4500 |    1500
--| (1 row)

-- What held it, and what became of that: the hotel let go of it after Bob had tried.
SELECT t.kind, t.reference, t.amount, t.recorded_ns > d.recorded_ns AS after_the_decline
FROM transfers AS t, transfers AS d
WHERE d.id = '01980000-0004-7000-8000-000000000013' AND t.ledger = 104
    AND '01980000-0004-7000-8000-000000000012' IN (t.id, t.pending_id)
ORDER BY t.recorded_ns;
--|   kind   |   reference   | amount | after_the_decline
--| ---------+---------------+--------+-------------------
--|  pending | hotel deposit |   8000 | f
--|  void    |               |   8000 | t
--| (2 rows)
