-- The books for people. What stands here stands in views.sql too, which changes with later migrations.
--
-- Guarded here: a view says what the API would say as of the batch that was committed last. The checkpoint's tables
-- lag behind, so whatever stands in them is brought up to date with the rows that were recorded since.

-- Decoders. Pure functions of their arguments, so everybody may call them; written so that PostgreSQL inlines them.

CREATE FUNCTION pyledger.at(ns bigint) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN timestamptz 'epoch' + ns / 1000000000 * interval '1 second' + ns % 1000000000 / 1000 * interval '1 microsecond';

CREATE FUNCTION pyledger.ns(instant timestamptz) RETURNS bigint LANGUAGE sql STABLE PARALLEL SAFE
RETURN (extract(epoch FROM instant) * 1000000000)::bigint;

CREATE FUNCTION pyledger.major(amount numeric, exponent integer) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN round(amount * ('1e-' || exponent)::numeric, exponent);

-- At most 16 bytes, most significant first. Up to 7 of them fit a bigint, which nearly all balances do.
CREATE FUNCTION pyledger.whole_number(bytes bytea) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN octet_length(bytes) < 8
    THEN ('x' || right(repeat('0', 14) || encode(bytes, 'hex'), 14))::bit(56)::bigint::numeric
    ELSE ('x' || substr(right(repeat('0', 32) || encode(bytes, 'hex'), 32), 1, 8))::bit(32)::bigint
            * 79228162514264337593543950336::numeric
        + ('x' || substr(right(repeat('0', 32) || encode(bytes, 'hex'), 32), 9, 8))::bit(32)::bigint
            * 18446744073709551616::numeric
        + ('x' || substr(right(repeat('0', 32) || encode(bytes, 'hex'), 32), 17, 8))::bit(32)::bigint
            * 4294967296::numeric
        + ('x' || substr(right(repeat('0', 32) || encode(bytes, 'hex'), 32), 25, 8))::bit(32)::bigint
END;

-- What debit_after and credit_after keep: four numbers, each a byte of length and that many bytes. OFFSET 0 keeps
-- the planner from working out the places anew for each number.
CREATE FUNCTION pyledger.counters(after bytea)
RETURNS TABLE (debits_pending numeric, debits_posted numeric, credits_pending numeric, credits_posted numeric)
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT pyledger.whole_number(substr(after, 2, second - 1)),
        pyledger.whole_number(substr(after, second + 2, third - second - 1)),
        pyledger.whole_number(substr(after, third + 2, fourth - third - 1)),
        pyledger.whole_number(substr(after, fourth + 2))
    FROM (
        SELECT second, third, third + 1 + get_byte(after, third) AS fourth FROM (
            SELECT second, second + 1 + get_byte(after, second) AS third FROM (
                SELECT 1 + get_byte(after, 0) AS second
            ) AS first OFFSET 0
        ) AS first_two OFFSET 0
    ) AS places OFFSET 0;
END;

CREATE FUNCTION pyledger.transfer_flags(bits integer) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_remove(ARRAY[
    CASE WHEN bits & 1 <> 0 THEN 'linked' END,
    CASE WHEN bits & 2 <> 0 THEN 'pending' END,
    CASE WHEN bits & 4 <> 0 THEN 'post_pending' END,
    CASE WHEN bits & 8 <> 0 THEN 'void_pending' END,
    CASE WHEN bits & 16 <> 0 THEN 'balancing_debit' END,
    CASE WHEN bits & 32 <> 0 THEN 'balancing_credit' END,
    CASE WHEN bits & 64 <> 0 THEN 'closing_debit' END,
    CASE WHEN bits & 128 <> 0 THEN 'closing_credit' END,
    CASE WHEN bits & 256 <> 0 THEN 'imported' END,
    CASE WHEN bits & 512 <> 0 THEN 'reverse' END,
    CASE WHEN bits & 1024 <> 0 THEN 'group' END
], NULL);

CREATE FUNCTION pyledger.account_flags(bits integer) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN array_remove(ARRAY[
    CASE WHEN bits & 1 <> 0 THEN 'linked' END,
    CASE WHEN bits & 2 <> 0 THEN 'debits_must_not_exceed_credits' END,
    CASE WHEN bits & 4 <> 0 THEN 'credits_must_not_exceed_debits' END,
    CASE WHEN bits & 16 <> 0 THEN 'imported' END,
    CASE WHEN bits & 32 <> 0 THEN 'closed' END
], NULL);

CREATE FUNCTION pyledger.kind(number smallint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (ARRAY['ledger', 'account', 'transfer', 'pending', 'post', 'void', 'reverse', 'expire'])[number];

-- Seen from the account's own side: debits for an account that its credits must not exceed, else credits.

CREATE FUNCTION pyledger.own_side(flags integer, debits numeric, credits numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN flags & 4 <> 0 THEN debits - credits ELSE credits - debits END;

-- The allowance saturates, as it does where it is enforced.
CREATE FUNCTION pyledger.available(flags integer, allowance numeric, debits_pending numeric, debits_posted numeric,
    credits_pending numeric, credits_posted numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN flags & 4 <> 0
    THEN least(debits_posted + allowance, 340282366920938463463374607431768211455) - credits_posted - credits_pending
    ELSE least(credits_posted + allowance, 340282366920938463463374607431768211455) - debits_posted - debits_pending
END;

-- What the views stand on; not granted to anybody.
--
-- Ids are joined by =, tenants and shards by IS NOT DISTINCT FROM, which no planner sorts or hashes by: one without
-- statistics takes it for granted that there are 200 of each, and joins everything with everything.

-- Accepted rows that the checkpoint does not include. Both ends are given for the planner: for a range it uses the
-- index by time and skips older partitions; the second condition on the start is for shards with later checkpoints.
CREATE VIEW pyledger.recent AS
SELECT j.* FROM pyledger.journal AS j
JOIN pyledger.checkpoint AS c ON c.shard = j.shard AND j.recorded_ns > c.last_ns
WHERE j.status = 0
    AND j.recorded_ns > (SELECT min(last_ns) FROM pyledger.checkpoint)
    AND j.recorded_ns <= (SELECT max(last_ns) FROM pyledger.head);

-- Accounts as of the checkpoint, and those opened since.
CREATE VIEW pyledger.opened AS
SELECT shard, tenant, id, ledger, code, flags, coalesce(allowance, 0) AS allowance, debits_pending, debits_posted,
    credits_pending, credits_posted, created_ns, nullif(effective_ns, 0) AS effective_ns
FROM pyledger.account
UNION ALL
SELECT shard, tenant, id, ledger, code, flags, amount, 0, 0, 0, 0, recorded_ns, effective_ns
FROM pyledger.recent WHERE kind = 2;

-- The pending transfers that nothing has resolved. A post in part releases the rest, so it ends a hold as well.
CREATE VIEW pyledger.open_hold AS
SELECT held.* FROM (
    SELECT shard, tenant, id, debit_account, credit_account, amount, ledger, code, flags, recorded_ns,
        nullif(expires_ns, 0) AS expires_ns
    FROM pyledger.hold
    UNION ALL
    SELECT shard, tenant, id, debit_account, credit_account, amount, ledger, code, flags, recorded_ns,
        CASE WHEN timeout_s > 0 THEN recorded_ns + timeout_s * 1000000000::bigint END
    FROM pyledger.recent WHERE kind = 4
) AS held
WHERE NOT EXISTS (
    SELECT FROM pyledger.recent AS done
    WHERE done.target = held.id AND (done.tenant, done.shard) IS NOT DISTINCT FROM (held.tenant, held.shard)
        AND done.kind IN (5, 6, 8)
);

-- Ledgers as of the checkpoint, and those opened since.
CREATE VIEW pyledger.opened_ledger AS
SELECT shard, tenant, number AS ledger, asset, exponent, created_ns FROM pyledger.ledger
UNION ALL
SELECT shard, tenant, ledger, reference, code, recorded_ns FROM pyledger.recent WHERE kind = 1;

-- Each accepted transfer twice, once for each of its accounts.
CREATE VIEW pyledger.side AS
SELECT shard, seq, recorded_ns, id, tenant, kind, 'debit' AS side, debit_account AS account_id,
    credit_account AS other_account_id, amount, target, ledger, code, effective_ns, reference, metadata,
    debit_after AS after
FROM pyledger.journal WHERE status = 0 AND kind >= 3
UNION ALL
SELECT shard, seq, recorded_ns, id, tenant, kind, 'credit', credit_account, debit_account, amount, target, ledger, code,
    effective_ns, reference, metadata, credit_after
FROM pyledger.journal WHERE status = 0 AND kind >= 3;

-- The views.

CREATE VIEW pyledger.refusals (number, refusal, detail) AS VALUES
    (3::smallint, 'linked_event_failed', 'Another command of the same linked chain was declined, so none of the chain took effect.'),
    (33, 'accounts_must_share_the_ledger', 'The two accounts are in different ledgers.'),
    (34, 'transfer_must_share_the_ledger', 'The accounts are not in the transfer''s ledger.'),
    (35, 'pending_transfer_not_pending', 'The transfer to resolve is not a pending one.'),
    (36, 'transfer_not_reversible', 'Only money that was moved can be reversed: a transfer or the post of a pending one, not a hold, a void, a decline or a reversal.'),
    (37, 'target_has_different_debit_account', 'The transfer acted on has another debit account.'),
    (38, 'target_has_different_credit_account', 'The transfer acted on has another credit account.'),
    (39, 'target_has_different_ledger', 'The transfer acted on is in another ledger.'),
    (40, 'target_has_different_code', 'The transfer acted on has another code.'),
    (41, 'exceeds_pending_amount', 'More would be posted than is held.'),
    (42, 'pending_transfer_has_different_amount', 'A hold is voided in full: the amount must be left out or equal the hold''s.'),
    (43, 'pending_transfer_already_posted', 'The pending transfer was already posted.'),
    (44, 'pending_transfer_already_voided', 'The pending transfer was already voided.'),
    (45, 'pending_transfer_expired', 'The pending transfer has expired.'),
    (46, 'group_too_large', 'The linked group has more holds than one command resolves.'),
    (47, 'exceeds_reversible_amount', 'More would be reversed than was moved and not yet reversed.'),
    (48, 'imported_must_not_regress', 'Imported events of a ledger must be in the order in which they happened.'),
    (49, 'imported_must_postdate_debit_account', 'The imported transfer is older than its debit account.'),
    (50, 'imported_must_postdate_credit_account', 'The imported transfer is older than its credit account.'),
    (51, 'debit_account_closed', 'The debit account is closed.'),
    (52, 'credit_account_closed', 'The credit account is closed.'),
    (53, 'overflows_debits_pending', 'The debit account''s pending debits would pass 2^128 - 1.'),
    (54, 'overflows_credits_pending', 'The credit account''s pending credits would pass 2^128 - 1.'),
    (55, 'overflows_debits_posted', 'The debit account''s posted debits would pass 2^128 - 1.'),
    (56, 'overflows_credits_posted', 'The credit account''s posted credits would pass 2^128 - 1.'),
    (57, 'overflows_debits', 'The debit account''s posted and pending debits together would pass 2^128 - 1.'),
    (58, 'overflows_credits', 'The credit account''s posted and pending credits together would pass 2^128 - 1.'),
    (59, 'exceeds_credits', 'The debit account does not have that much: its debits would exceed its credits and its allowance.'),
    (60, 'exceeds_debits', 'The credit account does not owe that much: its credits would exceed its debits and its allowance.'),
    (64, 'too_many_reversals', 'The transfer was reversed in as many parts as one transfer can be.');

CREATE VIEW pyledger.ledgers AS
SELECT t.name AS tenant, l.ledger, l.asset, l.exponent, pyledger.at(l.created_ns) AS created_at
FROM pyledger.opened_ledger AS l
LEFT JOIN pyledger.tenant AS t ON t.id = l.tenant;

CREATE VIEW pyledger.accounts AS
SELECT t.name AS tenant, a.ledger, l.asset, l.exponent, a.id, a.code,
    pyledger.account_flags(a.flags & ~32 | CASE WHEN closing.account_id IS NULL THEN 0 ELSE 32 END) AS flags,
    nullif(a.allowance, 0) AS allowance,
    n.debits_pending, n.debits_posted, n.credits_pending, n.credits_posted,
    pyledger.own_side(a.flags, n.debits_posted, n.credits_posted) AS posted,
    pyledger.own_side(a.flags, n.debits_pending, n.credits_pending) AS pending,
    pyledger.available(a.flags, a.allowance, n.debits_pending, n.debits_posted, n.credits_pending, n.credits_posted)
        AS available,
    pyledger.at(a.created_ns) AS created_at,
    pyledger.at(a.effective_ns) AS effective_at,
    (SELECT j.reference FROM pyledger.journal AS j
        WHERE j.id = a.id AND j.tenant = a.tenant AND j.shard = a.shard AND j.kind = 2 AND j.status = 0) AS reference,
    (SELECT j.metadata FROM pyledger.journal AS j
        WHERE j.id = a.id AND j.tenant = a.tenant AND j.shard = a.shard AND j.kind = 2 AND j.status = 0)::jsonb AS metadata
FROM pyledger.opened AS a
LEFT JOIN (
    -- The last row of each account since the checkpoint says what it has now.
    SELECT DISTINCT ON (account_id, tenant, shard) account_id, tenant, shard, after FROM (
        SELECT shard, tenant, debit_account AS account_id, recorded_ns, debit_after AS after
        FROM pyledger.recent WHERE kind >= 3
        UNION ALL
        SELECT shard, tenant, credit_account, recorded_ns, credit_after FROM pyledger.recent WHERE kind >= 3
    ) AS side ORDER BY account_id, tenant, shard, recorded_ns DESC
) AS last ON last.account_id = a.id AND (last.tenant, last.shard) IS NOT DISTINCT FROM (a.tenant, a.shard)
CROSS JOIN LATERAL (
    SELECT coalesce(c.debits_pending, a.debits_pending) AS debits_pending,
        coalesce(c.debits_posted, a.debits_posted) AS debits_posted,
        coalesce(c.credits_pending, a.credits_pending) AS credits_pending,
        coalesce(c.credits_posted, a.credits_posted) AS credits_posted
    FROM pyledger.counters(last.after) AS c OFFSET 0
) AS n
LEFT JOIN (
    -- Closed is what an open hold closes, and nothing else.
    SELECT DISTINCT account_id, tenant, shard FROM (
        SELECT shard, tenant, debit_account AS account_id FROM pyledger.open_hold WHERE flags & 64 <> 0
        UNION ALL
        SELECT shard, tenant, credit_account FROM pyledger.open_hold WHERE flags & 128 <> 0
    ) AS side
) AS closing ON closing.account_id = a.id AND (closing.tenant, closing.shard) IS NOT DISTINCT FROM (a.tenant, a.shard)
LEFT JOIN pyledger.tenant AS t ON t.id = a.tenant
LEFT JOIN pyledger.opened_ledger AS l ON l.shard = a.shard AND l.tenant = a.tenant AND l.ledger = a.ledger;

CREATE VIEW pyledger.transfers AS
SELECT t.name AS tenant, j.ledger, j.id, pyledger.kind(j.kind) AS kind,
    CASE WHEN j.status = 0 THEN 'accepted' ELSE 'declined' END AS status, r.refusal, r.detail,
    -- The largest number asks for all there is; what that was is only known where it was accepted.
    CASE WHEN j.status = 0 OR j.amount < 340282366920938463463374607431768211455 THEN j.amount END AS amount,
    j.debit_account AS debit_account_id, j.credit_account AS credit_account_id, j.code,
    pyledger.transfer_flags(j.flags) AS flags,
    CASE WHEN j.kind <> 7 THEN j.target END AS pending_id,
    CASE WHEN j.kind = 7 THEN j.target END AS reverses,
    nullif(j.timeout_s, 0) AS timeout_s,
    pyledger.at(CASE WHEN j.kind = 4 AND j.status = 0 AND j.timeout_s > 0
        THEN j.recorded_ns + j.timeout_s * 1000000000::bigint END) AS expires_at,
    j.reference, j.metadata::jsonb AS metadata,
    pyledger.at(j.effective_ns) AS effective_at,
    pyledger.at(j.recorded_ns) AS recorded_at, j.recorded_ns, j.seq
FROM pyledger.journal AS j
LEFT JOIN pyledger.tenant AS t ON t.id = j.tenant
LEFT JOIN pyledger.refusals AS r ON r.number = j.status
WHERE j.kind >= 3;

CREATE VIEW pyledger.entries AS
SELECT t.name AS tenant, s.ledger, s.account_id, s.id AS transfer_id, pyledger.kind(s.kind) AS kind, s.side, s.amount,
    CASE WHEN s.kind NOT IN (3, 5, 7) THEN 0 WHEN (s.side = 'debit') = (a.flags & 4 <> 0) THEN s.amount ELSE -s.amount
        END AS change,
    pyledger.own_side(a.flags, n.debits_posted, n.credits_posted) AS posted,
    pyledger.own_side(a.flags, n.debits_pending, n.credits_pending) AS pending,
    pyledger.available(a.flags, a.allowance, n.debits_pending, n.debits_posted, n.credits_pending, n.credits_posted)
        AS available,
    n.debits_pending, n.debits_posted, n.credits_pending, n.credits_posted,
    s.other_account_id, s.code, s.target AS target_id, s.reference, s.metadata::jsonb AS metadata,
    pyledger.at(s.effective_ns) AS effective_at,
    pyledger.at(s.recorded_ns) AS recorded_at, s.recorded_ns, s.seq
FROM pyledger.side AS s
LEFT JOIN pyledger.opened AS a ON a.id = s.account_id AND (a.tenant, a.shard) IS NOT DISTINCT FROM (s.tenant, s.shard)
LEFT JOIN pyledger.tenant AS t ON t.id = s.tenant
CROSS JOIN LATERAL pyledger.counters(s.after) AS n;

CREATE VIEW pyledger.holds AS
SELECT t.name AS tenant, h.ledger, h.id, h.amount, h.debit_account AS debit_account_id,
    h.credit_account AS credit_account_id, h.code, pyledger.transfer_flags(h.flags) AS flags,
    pyledger.at(h.expires_ns) AS expires_at, pyledger.at(h.recorded_ns) AS recorded_at, h.recorded_ns
FROM pyledger.open_hold AS h
LEFT JOIN pyledger.tenant AS t ON t.id = h.tenant;

CREATE VIEW pyledger.trial_balance AS
SELECT tenant, ledger, asset, exponent, code, count(*) AS accounts,
    sum(debits_pending) AS debits_pending, sum(debits_posted) AS debits_posted,
    sum(credits_pending) AS credits_pending, sum(credits_posted) AS credits_posted,
    sum(greatest(debits_posted - credits_posted, 0)) AS debit_balance,
    sum(greatest(credits_posted - debits_posted, 0)) AS credit_balance
FROM pyledger.accounts
GROUP BY tenant, ledger, asset, exponent, code;

GRANT SELECT ON pyledger.refusals, pyledger.ledgers, pyledger.accounts, pyledger.transfers, pyledger.entries,
    pyledger.holds, pyledger.trial_balance TO pyledger_reader;

COMMENT ON FUNCTION pyledger.at(bigint) IS
    'A point in time out of nanoseconds since 1970, cut to microseconds, which is what a timestamptz holds.';
COMMENT ON FUNCTION pyledger.ns(timestamptz) IS
    'Nanoseconds since 1970 out of a point in time: WHERE recorded_ns >= pyledger.ns(''2026-11-01Z'') reads the '
    'partitions and pages of that time only, as no condition on recorded_at can.';
COMMENT ON FUNCTION pyledger.major(numeric, integer) IS
    'An amount of minor units as people write it: pyledger.major(1250, 2) is 12.50. Exact.';
COMMENT ON VIEW pyledger.refusals IS 'Why a transfer can be declined: the codes of the API.';
COMMENT ON COLUMN pyledger.refusals.number IS 'What the journal keeps.';
COMMENT ON COLUMN pyledger.refusals.refusal IS 'The code.';
COMMENT ON COLUMN pyledger.refusals.detail IS 'One sentence for a person.';

COMMENT ON VIEW pyledger.ledgers IS 'One row a ledger, which is one asset of one tenant.';
COMMENT ON COLUMN pyledger.ledgers.tenant IS 'Whose it is.';
COMMENT ON COLUMN pyledger.ledgers.ledger IS 'The ledger''s number, unique within its tenant.';
COMMENT ON COLUMN pyledger.ledgers.asset IS 'What the ledger counts: EUR, USD, points.';
COMMENT ON COLUMN pyledger.ledgers.exponent IS
    'Digits behind the decimal point of the asset: pyledger.major(amount, exponent) is what people write.';
COMMENT ON COLUMN pyledger.ledgers.created_at IS 'When it was recorded.';

COMMENT ON VIEW pyledger.accounts IS
    'One row an account with its balances as of the batch committed last, as the API gives them. Reads all accounts '
    'and whatever was recorded since the last checkpoint. Leave reference and metadata out where you list many: '
    'each looks up the row that opened the account.';
COMMENT ON COLUMN pyledger.accounts.tenant IS 'Whose it is.';
COMMENT ON COLUMN pyledger.accounts.ledger IS 'The ledger''s number, unique within its tenant.';
COMMENT ON COLUMN pyledger.accounts.asset IS 'What the ledger counts: EUR, USD, points.';
COMMENT ON COLUMN pyledger.accounts.exponent IS
    'Digits behind the decimal point of the asset: pyledger.major(amount, exponent) is what people write.';
COMMENT ON COLUMN pyledger.accounts.id IS 'Unique within its tenant.';
COMMENT ON COLUMN pyledger.accounts.code IS 'The client''s own kind of account, 1 to 65535.';
COMMENT ON COLUMN pyledger.accounts.flags IS 'As the API names them.';
COMMENT ON COLUMN pyledger.accounts.allowance IS 'By how much the limited side may exceed the other.';
COMMENT ON COLUMN pyledger.accounts.debits_pending IS 'Debits held.';
COMMENT ON COLUMN pyledger.accounts.debits_posted IS 'Debits moved.';
COMMENT ON COLUMN pyledger.accounts.credits_pending IS 'Credits held.';
COMMENT ON COLUMN pyledger.accounts.credits_posted IS 'Credits moved.';
COMMENT ON COLUMN pyledger.accounts.posted IS
    'The balance seen from the account''s own side: debits less credits if it is flagged '
    'credits_must_not_exceed_debits, else credits less debits.';
COMMENT ON COLUMN pyledger.accounts.pending IS 'What is held, seen from the same side.';
COMMENT ON COLUMN pyledger.accounts.available IS
    'What can leave the account now: posted, less what is held on the other side, plus the allowance.';
COMMENT ON COLUMN pyledger.accounts.created_at IS 'When it was recorded.';
COMMENT ON COLUMN pyledger.accounts.effective_at IS 'When it was opened, where it was imported.';
COMMENT ON COLUMN pyledger.accounts.reference IS 'The client''s own text, at most 128 bytes.';
COMMENT ON COLUMN pyledger.accounts.metadata IS 'The client''s own JSON object.';

COMMENT ON VIEW pyledger.transfers IS
    'One row a decided transfer, accepted or declined, for ever. Fast by id; anything else reads the journal, so '
    'bound it by recorded_ns.';
COMMENT ON COLUMN pyledger.transfers.tenant IS 'Whose it is.';
COMMENT ON COLUMN pyledger.transfers.ledger IS 'The ledger''s number, unique within its tenant.';
COMMENT ON COLUMN pyledger.transfers.id IS 'Unique within its tenant.';
COMMENT ON COLUMN pyledger.transfers.kind IS
    'transfer, pending (a hold), post, void, reverse, or expire (a hold''s time ran out).';
COMMENT ON COLUMN pyledger.transfers.status IS 'accepted or declined.';
COMMENT ON COLUMN pyledger.transfers.refusal IS 'Why it was declined: one of pyledger.refusals.';
COMMENT ON COLUMN pyledger.transfers.detail IS 'The same as a sentence.';
COMMENT ON COLUMN pyledger.transfers.amount IS
    'Minor units that were moved, held or released; of a decline what was asked, and nothing where that was all '
    'there is.';
COMMENT ON COLUMN pyledger.transfers.debit_account_id IS
    'The account that it debits; of a decline only as far as it is known.';
COMMENT ON COLUMN pyledger.transfers.credit_account_id IS
    'The account that it credits; of a decline only as far as it is known.';
COMMENT ON COLUMN pyledger.transfers.code IS 'The client''s own kind of transfer, 1 to 65535.';
COMMENT ON COLUMN pyledger.transfers.flags IS 'As the API names them.';
COMMENT ON COLUMN pyledger.transfers.pending_id IS 'The hold that it ends.';
COMMENT ON COLUMN pyledger.transfers.reverses IS 'The transfer that it moves back.';
COMMENT ON COLUMN pyledger.transfers.timeout_s IS 'Seconds after which a hold ends by itself.';
COMMENT ON COLUMN pyledger.transfers.expires_at IS 'When a hold ends by itself.';
COMMENT ON COLUMN pyledger.transfers.reference IS 'The client''s own text, at most 128 bytes.';
COMMENT ON COLUMN pyledger.transfers.metadata IS 'The client''s own JSON object.';
COMMENT ON COLUMN pyledger.transfers.effective_at IS 'When it happened, where the client said so.';
COMMENT ON COLUMN pyledger.transfers.recorded_at IS 'When it was recorded, to the microsecond.';
COMMENT ON COLUMN pyledger.transfers.recorded_ns IS
    'When it was recorded, nanoseconds since 1970: unique within a shard and strictly increasing. Order and bound '
    'by this.';
COMMENT ON COLUMN pyledger.transfers.seq IS 'The batch that it was committed in.';

COMMENT ON VIEW pyledger.entries IS
    'Two rows an accepted transfer, one for each of its accounts, each with the balances right after it: a '
    'statement is the entries of one account by recorded_ns. Reads the journal, so bound it by recorded_ns. Fast by '
    'target_id and transfer_id.';
COMMENT ON COLUMN pyledger.entries.tenant IS 'Whose it is.';
COMMENT ON COLUMN pyledger.entries.ledger IS 'The ledger''s number, unique within its tenant.';
COMMENT ON COLUMN pyledger.entries.account_id IS 'Whose entry it is.';
COMMENT ON COLUMN pyledger.entries.transfer_id IS 'The transfer, as in pyledger.transfers.';
COMMENT ON COLUMN pyledger.entries.kind IS
    'transfer, pending (a hold), post, void, reverse, or expire (a hold''s time ran out).';
COMMENT ON COLUMN pyledger.entries.side IS 'debit or credit: what the transfer does to this account.';
COMMENT ON COLUMN pyledger.entries.amount IS 'Minor units that were moved, held or released.';
COMMENT ON COLUMN pyledger.entries.change IS
    'By how much it changed posted; 0 for what only holds or releases. The changes of an account add up to its '
    'balance.';
COMMENT ON COLUMN pyledger.entries.posted IS
    'The balance right after it, seen from the account''s own side: the running balance.';
COMMENT ON COLUMN pyledger.entries.pending IS 'What is held right after it, seen from the same side.';
COMMENT ON COLUMN pyledger.entries.available IS 'What could leave the account right after it.';
COMMENT ON COLUMN pyledger.entries.debits_pending IS 'Debits held.';
COMMENT ON COLUMN pyledger.entries.debits_posted IS 'Debits moved.';
COMMENT ON COLUMN pyledger.entries.credits_pending IS 'Credits held.';
COMMENT ON COLUMN pyledger.entries.credits_posted IS 'Credits moved.';
COMMENT ON COLUMN pyledger.entries.other_account_id IS 'The account on the other side.';
COMMENT ON COLUMN pyledger.entries.code IS 'The client''s own kind of transfer, 1 to 65535.';
COMMENT ON COLUMN pyledger.entries.target_id IS 'The hold that it ends or the transfer that it moves back.';
COMMENT ON COLUMN pyledger.entries.reference IS 'The client''s own text, at most 128 bytes.';
COMMENT ON COLUMN pyledger.entries.metadata IS 'The client''s own JSON object.';
COMMENT ON COLUMN pyledger.entries.effective_at IS 'When it happened, where the client said so.';
COMMENT ON COLUMN pyledger.entries.recorded_at IS 'When it was recorded, to the microsecond.';
COMMENT ON COLUMN pyledger.entries.recorded_ns IS
    'When it was recorded, nanoseconds since 1970: unique within a shard and strictly increasing. Order and bound '
    'by this.';
COMMENT ON COLUMN pyledger.entries.seq IS 'The batch that it was committed in.';

COMMENT ON VIEW pyledger.holds IS 'One row a hold that is open as of the batch committed last.';
COMMENT ON COLUMN pyledger.holds.tenant IS 'Whose it is.';
COMMENT ON COLUMN pyledger.holds.ledger IS 'The ledger''s number, unique within its tenant.';
COMMENT ON COLUMN pyledger.holds.id IS 'The pending transfer.';
COMMENT ON COLUMN pyledger.holds.amount IS 'Minor units that are held.';
COMMENT ON COLUMN pyledger.holds.debit_account_id IS
    'The account that it debits; of a decline only as far as it is known.';
COMMENT ON COLUMN pyledger.holds.credit_account_id IS
    'The account that it credits; of a decline only as far as it is known.';
COMMENT ON COLUMN pyledger.holds.code IS 'The client''s own kind of transfer, 1 to 65535.';
COMMENT ON COLUMN pyledger.holds.flags IS 'As the API names them.';
COMMENT ON COLUMN pyledger.holds.expires_at IS 'When a hold ends by itself.';
COMMENT ON COLUMN pyledger.holds.recorded_at IS 'When it was recorded, to the microsecond.';
COMMENT ON COLUMN pyledger.holds.recorded_ns IS
    'When it was recorded, nanoseconds since 1970: unique within a shard and strictly increasing. Order and bound '
    'by this.';

COMMENT ON VIEW pyledger.trial_balance IS
    'One row a ledger and code of accounts, as of the batch committed last. In each ledger the sums of debits and '
    'of credits are equal, posted, pending and balances alike. Costs what reading all accounts costs.';
COMMENT ON COLUMN pyledger.trial_balance.tenant IS 'Whose it is.';
COMMENT ON COLUMN pyledger.trial_balance.ledger IS 'The ledger''s number, unique within its tenant.';
COMMENT ON COLUMN pyledger.trial_balance.asset IS 'What the ledger counts: EUR, USD, points.';
COMMENT ON COLUMN pyledger.trial_balance.exponent IS
    'Digits behind the decimal point of the asset: pyledger.major(amount, exponent) is what people write.';
COMMENT ON COLUMN pyledger.trial_balance.code IS 'The client''s own kind of account, 1 to 65535.';
COMMENT ON COLUMN pyledger.trial_balance.accounts IS 'How many accounts.';
COMMENT ON COLUMN pyledger.trial_balance.debits_pending IS 'Debits held.';
COMMENT ON COLUMN pyledger.trial_balance.debits_posted IS 'Debits moved.';
COMMENT ON COLUMN pyledger.trial_balance.credits_pending IS 'Credits held.';
COMMENT ON COLUMN pyledger.trial_balance.credits_posted IS 'Credits moved.';
COMMENT ON COLUMN pyledger.trial_balance.debit_balance IS 'Balances of the accounts with more debits than credits.';
COMMENT ON COLUMN pyledger.trial_balance.credit_balance IS 'Balances of the accounts with more credits than debits.';
