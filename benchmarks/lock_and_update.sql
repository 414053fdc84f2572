-- The design that everybody else has: lock the account rows, check, update them, insert the transfers.
--
-- Written as well as it can be without leaving that design: set-based, one call a batch, rows locked in the
-- order of their ids so that two batches never deadlock, limits checked by running sums, ids that were
-- posted before answered with their first outcome. Only a batch in which a limit bites is walked row by row.

CREATE TABLE account (
    id uuid NOT NULL CONSTRAINT account_id_unique PRIMARY KEY,
    limited boolean NOT NULL DEFAULT false,
    debits numeric(39, 0) NOT NULL DEFAULT 0,
    credits numeric(39, 0) NOT NULL DEFAULT 0,
    CONSTRAINT account_limit CHECK (NOT limited OR debits <= credits)
) WITH (fillfactor = 50);

-- status: 0 accepted, 1 the debit account does not have that much, 2 there is no such account.
CREATE TABLE transfer (
    id uuid NOT NULL CONSTRAINT transfer_id_unique PRIMARY KEY,
    debit uuid NOT NULL,
    credit uuid NOT NULL,
    amount numeric(39, 0) NOT NULL CONSTRAINT transfer_amount_positive CHECK (amount > 0),
    status smallint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Posts one transfer after the other; what a batch falls back to in which some transfer may be declined.
CREATE FUNCTION post_one_by_one(transfer_ids uuid[], debit_accounts uuid[], credit_accounts uuid[], amounts numeric[])
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    outcome smallint;
BEGIN
    FOR position IN 1 .. cardinality(transfer_ids) LOOP
        CONTINUE WHEN EXISTS (SELECT FROM transfer WHERE transfer.id = transfer_ids[position]);
        IF (SELECT count(*) FROM account WHERE id IN (debit_accounts[position], credit_accounts[position])) < 2 THEN
            outcome := 2;
        ELSE
            UPDATE account SET debits = account.debits + amounts[position]
                WHERE id = debit_accounts[position]
                    AND (NOT limited OR account.debits + amounts[position] <= account.credits);
            outcome := CASE WHEN FOUND THEN 0 ELSE 1 END;
            IF outcome = 0 THEN
                UPDATE account SET credits = account.credits + amounts[position] WHERE id = credit_accounts[position];
            END IF;
        END IF;
        INSERT INTO transfer VALUES (
            transfer_ids[position], debit_accounts[position], credit_accounts[position], amounts[position], outcome);
    END LOOP;
END $$;

-- Posts a batch and returns the status of each transfer, in order.
CREATE FUNCTION post_batch(transfer_ids uuid[], debit_accounts uuid[], credit_accounts uuid[], amounts numeric[])
RETURNS smallint[] LANGUAGE plpgsql AS $$
DECLARE
    simple boolean;
    any_limited boolean;
BEGIN
    WITH locked AS (
        SELECT limited FROM account WHERE id = ANY (debit_accounts || credit_accounts) ORDER BY id FOR NO KEY UPDATE
    )
    SELECT bool_or(limited), count(*) = (SELECT count(DISTINCT id) FROM unnest(debit_accounts || credit_accounts) AS id)
    FROM locked INTO any_limited, simple;

    simple := simple AND NOT EXISTS (SELECT FROM transfer WHERE id = ANY (transfer_ids))
        AND (SELECT count(DISTINCT id) = count(*) FROM unnest(transfer_ids) AS id);

    IF simple AND any_limited THEN
        WITH legs AS (
            SELECT account, -amount AS change, position
            FROM unnest(debit_accounts, amounts) WITH ORDINALITY AS leg (account, amount, position)
            UNION ALL
            SELECT account, amount, position
            FROM unnest(credit_accounts, amounts) WITH ORDINALITY AS leg (account, amount, position)
        ), running AS (
            SELECT account.credits - account.debits
                + sum(legs.change) OVER (PARTITION BY legs.account ORDER BY legs.position) AS left_over
            FROM legs JOIN account ON account.id = legs.account WHERE account.limited
        )
        SELECT NOT EXISTS (SELECT FROM running WHERE left_over < 0) INTO simple;
    END IF;

    IF simple THEN
        WITH legs AS (
            SELECT account, amount AS debit, 0 AS credit FROM unnest(debit_accounts, amounts) AS leg (account, amount)
            UNION ALL
            SELECT account, 0, amount FROM unnest(credit_accounts, amounts) AS leg (account, amount)
        ), changes AS (
            SELECT account, sum(debit) AS debit, sum(credit) AS credit FROM legs GROUP BY account
        )
        UPDATE account SET debits = account.debits + changes.debit, credits = account.credits + changes.credit
            FROM changes WHERE account.id = changes.account;
        INSERT INTO transfer
            SELECT id, debit, credit, amount, 0
            FROM unnest(transfer_ids, debit_accounts, credit_accounts, amounts) AS asked (id, debit, credit, amount);
        RETURN array_fill(0::smallint, ARRAY[cardinality(transfer_ids)]);
    END IF;

    PERFORM post_one_by_one(transfer_ids, debit_accounts, credit_accounts, amounts);
    RETURN ARRAY(
        SELECT transfer.status FROM unnest(transfer_ids) WITH ORDINALITY AS asked (id, position)
        JOIN transfer USING (id) ORDER BY asked.position);
END $$;
