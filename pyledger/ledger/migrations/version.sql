-- What the migrations ask and say around themselves.

-- name: version_exists
SELECT to_regclass('pyledger.alembic_version') IS NOT NULL

-- name: version
SELECT version_num FROM pyledger.alembic_version

-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended('pyledger.migrate', 0))

-- name: wait_briefly
-- For each table: appends wait in line behind us, while we wait for whoever reads it for long.
SET LOCAL lock_timeout = '5s'

-- name: become_owner
SET LOCAL ROLE pyledger_owner

-- name: grant_version
GRANT SELECT ON pyledger.alembic_version TO pyledger_writer, pyledger_reader
