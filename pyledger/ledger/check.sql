-- What `check` asks: each query returns what is wrong, a line a finding, at most $2 of them.
-- Nothing here trusts the engine: the books are added up again from the rows, by PostgreSQL.

-- name: extent
SELECT head.seq AS head_seq, head.hash AS head_hash, kept.seq AS checkpoint_seq, kept.hash AS checkpoint_hash,
    ((SELECT coalesce(sum(rows), 0) FROM pyledger.batch WHERE shard = $1)
        - (SELECT coalesce(sum(rows - kept_rows), 0) FROM pyledger.archived WHERE shard = $1))::bigint AS rows,
    (SELECT count(*) FROM pyledger.journal WHERE shard = $1) AS journal_rows
FROM pyledger.head JOIN pyledger.checkpoint AS kept USING (shard) WHERE head.shard = $1

-- name: head
-- The head, the checkpoint and the batches that they name. A shard at rest is taken past the ends of partitions, which
-- are whole seconds; a time with a flipped bit is none, for no power of two is a number of seconds.
SELECT format('head of shard %s', $1::smallint) AS place,
    CASE WHEN head.seq <> last.seq THEN format('it names batch %s, the last one is %s', head.seq, last.seq)
        ELSE format('its time is %s, that of its batch is %s', head.last_ns, coalesce(last.last_ns, 0)) END AS wrong
FROM pyledger.head, (
    SELECT coalesce(max(seq), 0) AS seq, max(last_ns) AS last_ns FROM pyledger.batch WHERE shard = $1
) AS last
WHERE head.shard = $1 AND (head.seq <> last.seq OR head.last_ns < coalesce(last.last_ns, 0)
    OR head.last_ns > coalesce(last.last_ns, 0) AND head.last_ns % 1000000000 <> 0)
UNION ALL
SELECT format('head of shard %s', $1::smallint), 'its hash is not that of its batch'
FROM pyledger.head JOIN pyledger.batch USING (shard, seq) WHERE head.shard = $1 AND head.hash <> batch.hash
UNION ALL
SELECT format('checkpoint of shard %s', $1::smallint), format('there is no batch %s with its hash', kept.seq)
FROM pyledger.checkpoint AS kept WHERE kept.shard = $1 AND kept.seq > 0 AND NOT EXISTS (
    SELECT FROM pyledger.batch
    WHERE batch.shard = $1 AND batch.seq = kept.seq AND batch.hash = kept.hash AND batch.last_ns = kept.last_ns
)
UNION ALL
SELECT format('checkpoint of shard %s', $1::smallint),
    format('it is of epoch %s, the shard is in epoch %s', kept.epoch, head.epoch)
FROM pyledger.checkpoint AS kept JOIN pyledger.head USING (shard) WHERE kept.shard = $1 AND kept.epoch > head.epoch
LIMIT $2

-- name: sequence
-- Batches count up from 1 without a gap, and their times go forward.
SELECT format('batch %s', seq) AS place,
    CASE WHEN seq <> before + 1 THEN format('the batch before it is %s', before)
        ELSE 'it begins before the one before it ends' END AS wrong
FROM (
    SELECT seq, first_ns, lag(seq, 1, 0::bigint) OVER ordered AS before,
        lag(last_ns, 1, 0::bigint) OVER ordered AS before_ns
    FROM pyledger.batch WHERE shard = $1 WINDOW ordered AS (ORDER BY seq, first_ns)
) AS batches
WHERE seq <> before + 1 OR first_ns <= before_ns
LIMIT $2

-- name: batch_rows
-- The rows of each batch of a stretch: their number, and that they stand where the batch says.
SELECT format('batch %s', coalesce(batch.seq, found.seq)) AS place,
    CASE WHEN batch.seq IS NULL THEN format('%s rows belong to it, but there is no such batch', found.rows)
        WHEN found.rows IS DISTINCT FROM batch.rows
            THEN format('it has %s rows, it should have %s', coalesce(found.rows, 0), batch.rows)
        ELSE 'its rows begin or end at another time than it says' END AS wrong
FROM (
    SELECT seq, rows, first_ns, last_ns FROM pyledger.batch WHERE shard = $1 AND seq BETWEEN $3 AND $4
) AS batch
FULL JOIN (
    SELECT seq, count(*) AS rows, min(recorded_ns) AS first_ns, max(recorded_ns) AS last_ns
    FROM pyledger.journal WHERE shard = $1 AND recorded_ns BETWEEN $5 AND $6 GROUP BY seq
) AS found USING (seq)
WHERE (found.rows, found.first_ns, found.last_ns) IS DISTINCT FROM (batch.rows, batch.first_ns, batch.last_ns)
ORDER BY 1 LIMIT $2

-- name: late_rows
-- Of a batch that is not what it was, the rows that another transaction wrote than its own; or, where the batch itself was
-- changed ($6) or restored and no row has its transaction, than most of them, or than the oldest of as many. Of a single
-- row nothing needs to be guessed, unless it is what the root was made of ($7).
WITH written AS (
    SELECT tenant, id, seq, xmin::text AS writer, age(xmin) FROM pyledger.journal
    WHERE shard = $1 AND recorded_ns BETWEEN $4 AND $5
), usual AS (
    SELECT count(*) AS rows, coalesce(
        max(writer) FILTER (
            WHERE NOT $6 AND writer = (SELECT xmin::text FROM pyledger.batch WHERE shard = $1 AND seq = $3)
        ),
        (SELECT writer FROM written GROUP BY writer ORDER BY count(*) DESC, max(age) DESC LIMIT 1)
    ) AS writer FROM written
)
SELECT format('tenant %s, id %s', tenant, id) AS place,
    CASE WHEN seq <> $3 THEN format('it stands among the rows of batch %s and says batch %s', $3::bigint, seq)
        WHEN usual.rows = 1 THEN 'it is the only row of a batch that was changed'
        ELSE 'it was written later than the rest of its batch' END AS wrong
FROM written, usual WHERE seq <> $3 OR usual.rows = 1 AND NOT $7 OR written.writer <> usual.writer
LIMIT $2

-- name: ids
-- The unique index of a partition sees that partition only.
SELECT format('tenant %s, id %s', tenant, id) AS place, format('it was recorded %s times', count(*)) AS wrong
FROM (
    SELECT tenant, id, recorded_ns FROM pyledger.journal WHERE shard = $1
    UNION ALL
    -- Once where its row was restored, or stayed.
    SELECT tenant, id, recorded_ns FROM pyledger.archived_id AS gone WHERE shard = $1 AND NOT EXISTS (
        SELECT FROM pyledger.journal AS j WHERE j.shard = $1 AND j.id = gone.id AND j.tenant = gone.tenant
            AND j.recorded_ns = gone.recorded_ns
    )
) AS used
GROUP BY tenant, id HAVING count(*) > 1 LIMIT $2

-- name: targets
-- A hold is resolved once, and no more is reversed than was moved. What was moved may be archived: then it was looked
-- up when it was reversed, and nothing acts on it any more.
SELECT format('tenant %s, hold %s', tenant, target) AS place, format('it was resolved %s times', count(*)) AS wrong
FROM pyledger.journal WHERE shard = $1 AND target IS NOT NULL AND status = 0 AND kind IN (5, 6, 8)
GROUP BY tenant, target HAVING count(*) > 1
UNION ALL
SELECT format('tenant %s, transfer %s', back.tenant, back.target),
    format('%s was moved and %s reversed', moved.amount, back.amount)
FROM (
    SELECT tenant, target, sum(amount) AS amount FROM pyledger.journal
    WHERE shard = $1 AND target IS NOT NULL AND status = 0 AND kind = 7 GROUP BY tenant, target
) AS back
LEFT JOIN pyledger.journal AS moved ON moved.shard = $1 AND moved.tenant = back.tenant AND moved.id = back.target
    AND moved.status = 0 AND moved.kind IN (3, 5)
WHERE moved.amount IS NULL AND NOT EXISTS (
    SELECT FROM pyledger.archived_id AS gone
    WHERE gone.shard = $1 AND gone.tenant = back.tenant AND gone.id = back.target
) OR back.amount > moved.amount
LIMIT $2

-- name: balances
-- Every account of the checkpoint against the base, if there is one, and the rows from there up to its batch, added up
-- again.
WITH accepted AS (
    SELECT * FROM pyledger.journal WHERE shard = $1 AND status = 0 AND seq <= $3
        AND seq > coalesce((SELECT seq FROM pyledger.base WHERE shard = $1), 0)
), held AS (
    SELECT tenant, id, debit_account, credit_account, amount FROM accepted WHERE kind = 4
    UNION ALL
    SELECT tenant, id, debit_account, credit_account, amount FROM pyledger.base_hold WHERE shard = $1
), pending AS (
    SELECT held.* FROM held WHERE NOT EXISTS (
        SELECT FROM accepted AS resolved
        WHERE resolved.target = held.id AND resolved.tenant = held.tenant AND resolved.kind IN (5, 6, 8)
    )
), sides AS (
    SELECT tenant, debit_account AS id, 0 AS dp, amount AS dx, 0 AS cp, 0 AS cx FROM accepted WHERE kind IN (3, 5, 7)
    UNION ALL
    SELECT tenant, credit_account, 0, 0, 0, amount FROM accepted WHERE kind IN (3, 5, 7)
    UNION ALL
    SELECT tenant, debit_account, amount, 0, 0, 0 FROM pending
    UNION ALL
    SELECT tenant, credit_account, 0, 0, amount, 0 FROM pending
    UNION ALL
    SELECT tenant, id, 0, debits_posted, 0, credits_posted FROM pyledger.base_account WHERE shard = $1
), summed AS (
    SELECT tenant, id, sum(dp) AS dp, sum(dx) AS dx, sum(cp) AS cp, sum(cx) AS cx FROM sides GROUP BY tenant, id
)
SELECT format('tenant %s, account %s', coalesce(kept.tenant, summed.tenant), coalesce(kept.id, summed.id)) AS place,
    format(
        'debits pending, posted, credits pending, posted are %s, its rows give %s',
        CASE WHEN kept.id IS NULL THEN 'missing' ELSE concat_ws(', ', kept.debits_pending, kept.debits_posted,
            kept.credits_pending, kept.credits_posted) END,
        concat_ws(', ', coalesce(dp, 0), coalesce(dx, 0), coalesce(cp, 0), coalesce(cx, 0))
    ) AS wrong
FROM (SELECT * FROM pyledger.account WHERE shard = $1) AS kept FULL JOIN summed
    ON kept.tenant = summed.tenant AND kept.id = summed.id
WHERE (kept.debits_pending, kept.debits_posted, kept.credits_pending, kept.credits_posted)
    IS DISTINCT FROM (coalesce(dp, 0), coalesce(dx, 0), coalesce(cp, 0), coalesce(cx, 0))
LIMIT $2

-- name: accounts
-- Every account of the checkpoint against the row that opened it, and the other way round.
SELECT format('tenant %s, account %s', coalesce(kept.tenant, row.tenant), coalesce(kept.id, row.id)) AS place,
    CASE WHEN kept.id IS NULL THEN 'it is missing in the checkpoint'
        WHEN row.id IS NULL THEN 'no row opened it'
        ELSE 'its ledger, code, flags, allowance or time are not those of the row that opened it' END AS wrong
FROM (SELECT * FROM pyledger.account WHERE shard = $1) AS kept
FULL JOIN (
    SELECT * FROM pyledger.journal WHERE shard = $1 AND kind = 2 AND status = 0 AND seq <= $3
) AS row ON kept.tenant = row.tenant AND kept.id = row.id
WHERE (kept.ledger, kept.code, kept.flags & ~32, coalesce(kept.allowance, 0), kept.created_ns)
    IS DISTINCT FROM (row.ledger, row.code, row.flags & ~32, coalesce(row.amount, 0), row.recorded_ns)
LIMIT $2

-- name: trial_balance
SELECT format('tenant %s, ledger %s', tenant, ledger) AS place,
    format('debits pending and posted are %s and %s, credits %s and %s', sum(debits_pending), sum(debits_posted),
        sum(credits_pending), sum(credits_posted)) AS wrong
FROM pyledger.account WHERE shard = $1 GROUP BY tenant, ledger
HAVING sum(debits_pending) <> sum(credits_pending) OR sum(debits_posted) <> sum(credits_posted)
LIMIT $2

-- name: holds
-- The open holds of the checkpoint against the pending transfers that nothing has resolved by then.
WITH accepted AS (
    SELECT * FROM pyledger.journal WHERE shard = $1 AND status = 0 AND seq <= $3
        AND seq > coalesce((SELECT seq FROM pyledger.base WHERE shard = $1), 0)
), held AS (
    SELECT tenant, id, debit_account, credit_account, amount FROM accepted WHERE kind = 4
    UNION ALL
    SELECT tenant, id, debit_account, credit_account, amount FROM pyledger.base_hold WHERE shard = $1
), pending AS (
    SELECT * FROM held WHERE NOT EXISTS (
        SELECT FROM accepted AS resolved
        WHERE resolved.target = held.id AND resolved.tenant = held.tenant AND resolved.kind IN (5, 6, 8)
    )
)
SELECT format('tenant %s, hold %s', coalesce(kept.tenant, pending.tenant), coalesce(kept.id, pending.id)) AS place,
    CASE WHEN kept.id IS NULL THEN 'it is open, but missing in the checkpoint'
        WHEN pending.id IS NULL THEN 'it is in the checkpoint, but not open'
        ELSE 'its accounts or its amount are not those of its row' END AS wrong
FROM (SELECT * FROM pyledger.hold WHERE shard = $1) AS kept
FULL JOIN pending ON kept.tenant = pending.tenant AND kept.id = pending.id
WHERE (kept.id, kept.debit_account, kept.credit_account, kept.amount)
    IS DISTINCT FROM (pending.id, pending.debit_account, pending.credit_account, pending.amount)
LIMIT $2

-- name: indexes
-- The indexes of tables that hold rows of shards. Names come quoted, expressions as PostgreSQL writes them.
SELECT relation.oid::regclass::text AS "table", index.relname AS name, method.amname AS method,
    coalesce(pg_get_expr(kept.indpred, kept.indrelid), 'true') AS predicate,
    string_agg(format('row.%I', key.attname), ', ' ORDER BY key.attnum) AS keys,
    string_agg(format('other.%1$I = row.%1$I', key.attname), ' AND ' ORDER BY key.attnum) AS same
FROM pg_catalog.pg_index AS kept
JOIN pg_catalog.pg_class AS index ON index.oid = kept.indexrelid AND index.relkind = 'i'
JOIN pg_catalog.pg_class AS relation ON relation.oid = kept.indrelid
JOIN pg_catalog.pg_am AS method ON method.oid = index.relam AND method.amname IN ('btree', 'brin')
JOIN pg_catalog.pg_attribute AS shard ON shard.attrelid = relation.oid AND shard.attname = 'shard'
JOIN pg_catalog.pg_attribute AS key ON key.attrelid = index.oid
WHERE relation.relnamespace = 'pyledger'::regnamespace AND kept.indisvalid
GROUP BY relation.oid, index.relname, method.amname, kept.indpred, kept.indrelid
ORDER BY relation.oid::regclass::text, index.relname

-- name: seqscan
-- Off, an index that can be used is: a small table would be read as a whole, whatever its index says.
SELECT set_config('enable_seqscan', $1, true)

-- name: unreached_btree
-- Rows as they stand in the table, for a sample is never taken from an index, that a look-up by their key misses.
SELECT format('{table}, row %s', ROW({keys})) AS place, format('the index %s does not lead to it', $1::text) AS wrong
FROM {table} AS row TABLESAMPLE SYSTEM (100)
WHERE {predicate} AND row.ctid <> ALL (ARRAY(
    SELECT other.ctid FROM {table} AS other WHERE {same} AND {predicate}
))
LIMIT $2

-- name: unreached_brin
-- The least and the largest of every 128 pages: what a summary that is too narrow leaves out first.
SELECT format('{table}, row of %s ns', row.recorded_ns) AS place, format('the index %s does not lead to it', $1::text) AS wrong
FROM (
    SELECT unnest(ARRAY[min({keys}), max({keys})]) AS recorded_ns FROM {table} AS row TABLESAMPLE SYSTEM (100)
    GROUP BY (row.ctid::text::point)[0]::bigint / 128
) AS row
WHERE ARRAY(SELECT other.ctid FROM {table} AS other WHERE {same}) = '{{}}'
LIMIT $2
