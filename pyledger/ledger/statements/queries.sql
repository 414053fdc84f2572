-- Rows of one account: by the indexes of history where a partition has them, else among whoever's rows of a bounded
-- piece of the tail. Only accepted rows count; what was declined changed nothing.

-- name: last_indexed
-- The last accepted row before $5, of at most $6 rows of each side, and whether there are more that were not looked at.
WITH debits AS MATERIALIZED (
    SELECT recorded_ns, status, debit_after AS after FROM pyledger.journal
    WHERE debit_account = $3 AND tenant = $2 AND shard = $1 AND recorded_ns >= $4 AND recorded_ns < $5
    ORDER BY recorded_ns DESC LIMIT $6
), credits AS MATERIALIZED (
    SELECT recorded_ns, status, credit_after AS after FROM pyledger.journal
    WHERE credit_account = $3 AND tenant = $2 AND shard = $1 AND recorded_ns >= $4 AND recorded_ns < $5
    ORDER BY recorded_ns DESC LIMIT $6
)
SELECT max(recorded_ns) FILTER (WHERE status = 0) AS recorded_ns,
    (array_agg(after ORDER BY recorded_ns DESC) FILTER (WHERE status = 0))[1] AS after,
    greatest(
        (SELECT min(recorded_ns) FROM debits HAVING count(*) >= $6),
        (SELECT min(recorded_ns) FROM credits HAVING count(*) >= $6)
    ) AS edge_ns
FROM (SELECT * FROM debits UNION ALL SELECT * FROM credits) AS both_sides

-- name: last_scanned
-- No tenant or shard for a planner to see: it would look through all of the index of ids for one.
SELECT recorded_ns, CASE WHEN debit_account = $3 THEN debit_after ELSE credit_after END AS after
FROM pyledger.journal
WHERE shard + 0 = $1 AND tenant + 0 = $2 AND recorded_ns >= $4 AND recorded_ns < $5 AND status = 0 AND kind >= 3
    AND (debit_account = $3 OR credit_account = $3)
ORDER BY recorded_ns DESC LIMIT 1

-- name: entries_indexed
-- The first $8 of the kinds that are asked for, of at most $7 rows of each side; the edge is up to where both sides
-- are known, or null if that is everything. There is always a row.
WITH debits AS MATERIALIZED (
    SELECT * FROM pyledger.journal
    WHERE debit_account = $3 AND tenant = $2 AND shard = $1 AND recorded_ns >= $4 AND recorded_ns < $5
    ORDER BY recorded_ns LIMIT $7
), credits AS MATERIALIZED (
    SELECT * FROM pyledger.journal
    WHERE credit_account = $3 AND tenant = $2 AND shard = $1 AND recorded_ns >= $4 AND recorded_ns < $5
    ORDER BY recorded_ns LIMIT $7
), edge AS (
    SELECT least(
        (SELECT max(recorded_ns) FROM debits HAVING count(*) >= $7),
        (SELECT max(recorded_ns) FROM credits HAVING count(*) >= $7)
    ) AS edge_ns
)
SELECT edge.edge_ns, j.*
FROM edge LEFT JOIN LATERAL (
    SELECT seq, recorded_ns, id::text, kind, debit_account = $3 AS is_debit, amount::text,
        CASE WHEN debit_account = $3 THEN credit_account ELSE debit_account END::text AS other, target::text, code,
        effective_ns, reference, metadata, CASE WHEN debit_account = $3 THEN debit_after ELSE credit_after END AS after
    FROM (SELECT * FROM debits UNION ALL SELECT * FROM credits) AS both_sides
    WHERE (edge.edge_ns IS NULL OR recorded_ns <= edge.edge_ns) AND status = 0 AND kind = ANY ($6::smallint[])
    ORDER BY recorded_ns LIMIT $8
) AS j ON true
ORDER BY j.recorded_ns

-- name: entries_scanned
-- The first $7 of the kinds that are asked for in a piece of the tail.
SELECT seq, recorded_ns, id::text, kind, debit_account = $3 AS is_debit, amount::text,
    CASE WHEN debit_account = $3 THEN credit_account ELSE debit_account END::text AS other, target::text, code,
    effective_ns, reference, metadata, CASE WHEN debit_account = $3 THEN debit_after ELSE credit_after END AS after
FROM (
    SELECT * FROM pyledger.journal
    WHERE shard + 0 = $1 AND tenant + 0 = $2 AND recorded_ns >= $4 AND recorded_ns < $5 AND status = 0
        AND kind = ANY ($6::smallint[]) AND (debit_account = $3 OR credit_account = $3)
    ORDER BY recorded_ns LIMIT $7
) AS j
ORDER BY j.recorded_ns

-- name: batch_at
-- The last batch that has a row until $2.
SELECT coalesce((SELECT seq FROM pyledger.batch WHERE shard = $1 AND first_ns <= $2 ORDER BY first_ns DESC LIMIT 1), 0)

-- name: archived
-- Whether rows from $2 on and before $3 are not here any more: there is a batch, or a part of one, where there is no
-- partition; or the rows of batches that end in one were archived. And from when on none of those is
-- missing, and what is another whenever rows go or come back.
WITH gaps AS MATERIALIZED (
    SELECT gap_ns, gap_end_ns FROM (
        SELECT end_ns AS gap_ns, lead(start_ns, 1, end_ns) OVER (ORDER BY start_ns) AS gap_end_ns FROM pyledger.partition
        UNION ALL
        SELECT 0, min(start_ns) FROM pyledger.partition
    ) AS between_two
    WHERE gap_ns < gap_end_ns
)
SELECT EXISTS (
    SELECT FROM gaps
    WHERE gap_ns < $3 AND gap_end_ns > $2 AND (
        SELECT last_ns FROM pyledger.batch
        WHERE shard = $1 AND first_ns < least(gap_end_ns, $3) ORDER BY first_ns DESC LIMIT 1
    ) >= greatest(gap_ns, $2)
) OR max(gone.end_ns) IS NOT NULL AS gone, max(gone.end_ns) AS here_since_ns,
    coalesce((SELECT max(number) FROM pyledger.archive_log WHERE step <> 'archived'), 0) AS steps,
    (SELECT coalesce(sum(gap_end_ns - gap_ns), 0)::bigint FROM gaps) AS gaps
FROM pyledger.archived AS gone
JOIN pyledger.batch AS first ON first.shard = $1 AND first.seq = gone.first_seq AND first.first_ns < $3
JOIN pyledger.batch AS last ON last.shard = $1 AND last.seq = gone.last_seq AND last.last_ns >= $2
WHERE gone.shard = $1 AND gone.start_ns < $3 AND gone.end_ns > $2

-- name: begins
-- Where what is archived ends, and what these accounts held there.
SELECT base.last_ns, kept.id::text, kept.debits_pending, kept.debits_posted, kept.credits_pending,
    kept.credits_posted
FROM pyledger.base LEFT JOIN pyledger.base_account AS kept
    ON kept.shard = base.shard AND kept.tenant = $2 AND kept.id = ANY ($3::uuid[])
WHERE base.shard = $1 AND EXISTS (SELECT FROM pyledger.archived WHERE shard = $1)

-- name: rows_between
-- Rows of the first $4 batches that begin between two moments, how many batches those are, and when the last begins.
SELECT coalesce(sum(rows), 0)::bigint AS rows, count(*) AS batches, max(first_ns) AS last_ns FROM (
    SELECT rows, first_ns FROM pyledger.batch WHERE shard = $1 AND first_ns >= $2 AND first_ns < $3 ORDER BY first_ns LIMIT $4
) AS found

-- name: dated
-- In the order of effective dates: at most $12 rows from the place ($10, $11) on and before $9, and what moved before $8,
-- before $9 and before that place. All rows of the account from $4 on are looked at, by index before $5, and in the tail
-- before $6: at most $7 of each side, and of the tail. What is kept of each is narrow; the texts are only fetched for
-- the rows that are shown. There is always a row.
WITH debits AS MATERIALIZED (
    SELECT recorded_ns, id, kind, status, true AS is_debit, amount, effective_ns FROM pyledger.journal
    WHERE debit_account = $3 AND tenant = $2 AND shard = $1 AND recorded_ns >= $4 AND recorded_ns < $5
    ORDER BY recorded_ns LIMIT $7
), credits AS MATERIALIZED (
    SELECT recorded_ns, id, kind, status, false AS is_debit, amount, effective_ns FROM pyledger.journal
    WHERE credit_account = $3 AND tenant = $2 AND shard = $1 AND recorded_ns >= $4 AND recorded_ns < $5
    ORDER BY recorded_ns LIMIT $7
), tail AS MATERIALIZED (
    SELECT recorded_ns, id, kind, status, debit_account = $3 AS is_debit, amount, effective_ns FROM pyledger.journal
    WHERE shard + 0 = $1 AND tenant + 0 = $2 AND recorded_ns >= $5 AND recorded_ns < $6
        AND (debit_account = $3 OR credit_account = $3)
    LIMIT $7
), moves AS MATERIALIZED (
    SELECT recorded_ns, id, is_debit, amount, coalesce(effective_ns, recorded_ns) AS moment_ns
    FROM (SELECT * FROM debits UNION ALL SELECT * FROM credits UNION ALL SELECT * FROM tail) AS found
    WHERE status = 0 AND kind IN (3, 5, 7)
), shown AS MATERIALIZED (
    SELECT recorded_ns, id, is_debit, moment_ns
    FROM moves WHERE moment_ns < $9 AND (moment_ns, recorded_ns) >= ($10, $11)
    ORDER BY moment_ns, recorded_ns LIMIT $12
)
SELECT sums.*, j.*
FROM (
    SELECT greatest((SELECT count(*) FROM debits), (SELECT count(*) FROM credits), (SELECT count(*) FROM tail))
            AS looked,
        coalesce(sum(amount) FILTER (WHERE is_debit AND moment_ns < $8), 0)::text AS debits_opening,
        coalesce(sum(amount) FILTER (WHERE NOT is_debit AND moment_ns < $8), 0)::text AS credits_opening,
        coalesce(sum(amount) FILTER (WHERE is_debit AND moment_ns < $9), 0)::text AS debits_closing,
        coalesce(sum(amount) FILTER (WHERE NOT is_debit AND moment_ns < $9), 0)::text AS credits_closing,
        coalesce(sum(amount) FILTER (WHERE is_debit AND (moment_ns, recorded_ns) < ($10, $11)), 0)::text
            AS debits_before,
        coalesce(sum(amount) FILTER (WHERE NOT is_debit AND (moment_ns, recorded_ns) < ($10, $11)), 0)::text
            AS credits_before
    FROM moves
) AS sums
LEFT JOIN LATERAL (
    SELECT row.seq, shown.recorded_ns, shown.id::text, row.kind, shown.is_debit, row.amount::text,
        CASE WHEN shown.is_debit THEN row.credit_account ELSE row.debit_account END::text AS other, row.target::text,
        row.code, row.effective_ns, row.reference, row.metadata, shown.moment_ns
    FROM shown CROSS JOIN LATERAL (
        SELECT * FROM pyledger.journal
        WHERE id = shown.id AND tenant = $2 AND shard = $1 AND recorded_ns = shown.recorded_ns LIMIT 1
    ) AS row
) AS j ON true
ORDER BY j.moment_ns, j.recorded_ns

-- name: many_indexed
-- The last accepted row of each account before $4, of at most $5 rows of each side; without one, whether there may be
-- one behind those.
SELECT asked.id::text, last.after, greatest(debits.recorded_ns, credits.recorded_ns) AS recorded_ns,
    last.after IS NULL AND greatest(debits.looked, credits.looked) >= $5 AS unsure
FROM unnest($3::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT count(*) AS looked, max(recorded_ns) FILTER (WHERE status = 0) AS recorded_ns,
        (array_agg(debit_after ORDER BY recorded_ns DESC) FILTER (WHERE status = 0))[1] AS after
    FROM (
        SELECT recorded_ns, status, debit_after FROM pyledger.journal
        WHERE debit_account = asked.id AND tenant = $2 AND shard = $1 AND recorded_ns < $4
        ORDER BY recorded_ns DESC LIMIT $5
    ) AS near
) AS debits
CROSS JOIN LATERAL (
    SELECT count(*) AS looked, max(recorded_ns) FILTER (WHERE status = 0) AS recorded_ns,
        (array_agg(credit_after ORDER BY recorded_ns DESC) FILTER (WHERE status = 0))[1] AS after
    FROM (
        SELECT recorded_ns, status, credit_after FROM pyledger.journal
        WHERE credit_account = asked.id AND tenant = $2 AND shard = $1 AND recorded_ns < $4
        ORDER BY recorded_ns DESC LIMIT $5
    ) AS near
) AS credits
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN debits.recorded_ns IS NULL AND debits.looked >= $5 OR credits.recorded_ns IS NULL AND credits.looked >= $5
            THEN NULL
        WHEN coalesce(debits.recorded_ns, 0) > coalesce(credits.recorded_ns, 0) THEN debits.after
        ELSE credits.after
    END AS after
) AS last

-- name: many_scanned
-- The last accepted row of each account in the tail, of those that have one there. In hex a time is in the order of
-- times: no more is kept than a row of each account.
SELECT account::text AS id, ('x' || left(max(last), 16))::bit(64)::bigint AS recorded_ns,
    decode(substr(max(last), 17), 'hex') AS after
FROM (
    SELECT side.account, encode(int8send(recorded_ns) || side.after, 'hex') COLLATE "C" AS last
    FROM pyledger.journal
    CROSS JOIN LATERAL (
        VALUES (debit_account, debit_after), (credit_account, credit_after)
    ) AS side (account, after)
    WHERE shard + 0 = $1 AND tenant + 0 = $2 AND recorded_ns >= $4 AND recorded_ns < $5 AND status = 0 AND kind >= 3
        AND side.account = ANY ($3::uuid[])
) AS found
GROUP BY account

-- name: many_changed
-- Of each account that has accepted rows from $4 on and before $5 the first one, and what the hold held that it posts,
-- which may be archived since it was taken.
WITH first AS MATERIALIZED (
    SELECT account, min(place) AS place
    FROM (
        SELECT side.account, encode(int8send(recorded_ns) || uuid_send(id), 'hex') COLLATE "C" AS place
        FROM pyledger.journal
        CROSS JOIN LATERAL (VALUES (debit_account), (credit_account)) AS side (account)
        WHERE shard + 0 = $1 AND tenant + 0 = $2 AND recorded_ns >= $4 AND recorded_ns < $5 AND status = 0
            AND kind >= 3 AND side.account = ANY ($3::uuid[])
    ) AS found
    GROUP BY account
)
SELECT first.account::text AS id, row.kind, row.debit_account = first.account AS is_debit, row.amount::text,
    CASE WHEN row.debit_account = first.account THEN row.debit_after ELSE row.credit_after END AS after,
    hold.amount::text AS held
FROM first
CROSS JOIN LATERAL (
    SELECT * FROM pyledger.journal
    WHERE id = substr(place, 17)::uuid AND tenant = $2 AND shard = $1
        AND recorded_ns = ('x' || left(place, 16))::bit(64)::bigint
    LIMIT 1
) AS row
LEFT JOIN LATERAL (
    SELECT amount FROM pyledger.journal
    WHERE row.kind = 5 AND id = row.target AND tenant = $2 AND shard = $1 AND kind = 4 AND status = 0
    UNION ALL
    SELECT amount FROM pyledger.base_hold
    WHERE row.kind = 5 AND id = row.target AND tenant = $2 AND shard = $1
    LIMIT 1
) AS hold ON true
