-- What `pyledger info` asks, of a database that may not have the schema yet.

-- name: server
SELECT current_setting('server_version') AS version, current_database() AS database,
       to_regclass('pyledger.head') IS NOT NULL AS has_schema

-- name: heads
SELECT shard, epoch, seq, encode(hash, 'hex') AS hash, last_ns, owner
FROM pyledger.head
ORDER BY shard
