-- Tenants and API keys. Rows are only ever added and revoked, never deleted, changed or brought back:
-- that is why two counts tell whether anything is new.

-- name: add_tenant
INSERT INTO pyledger.tenant (name) VALUES ($1) ON CONFLICT (name) DO NOTHING;

-- name: find_tenant
SELECT id FROM pyledger.tenant WHERE name = $1;

-- name: add_key
INSERT INTO pyledger.api_key (id, hash, tenant, name, scopes, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6)
RETURNING created_at;

-- name: revoke_key
UPDATE pyledger.api_key SET revoked_at = clock_timestamp()
WHERE id = $1 AND revoked_at IS NULL
RETURNING id;

-- name: list_keys
SELECT k.id, k.tenant, t.name AS tenant_name, k.name, k.scopes, k.created_at, k.expires_at, k.revoked_at
FROM pyledger.api_key k JOIN pyledger.tenant t ON t.id = k.tenant
ORDER BY k.created_at, k.id;

-- name: count_keys
SELECT count(*) AS keys, count(revoked_at) AS revoked FROM pyledger.api_key;

-- name: usable_keys
SELECT id, hash, tenant, name, scopes, expires_at FROM pyledger.api_key
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
ORDER BY created_at DESC
LIMIT $1;
