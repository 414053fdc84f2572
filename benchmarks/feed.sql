-- What the readers of the feed are held against.

-- name: recorded_digest
-- Of the times of all rows of a part of the journal, eight bytes each, in their order.
SELECT encode(sha256(string_agg(int8send(recorded_ns), ''::bytea ORDER BY recorded_ns)), 'hex')
FROM pyledger.journal
WHERE recorded_ns > $1 AND recorded_ns <= $2;
