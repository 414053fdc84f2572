"""Migrations. Under construction; signatures are final."""


async def upgrade(owner_url: str) -> str:
    """Bring the database to `SCHEMA_VERSION`, as a role that may own the schema; returns the version.

    Idempotent and safe to run twice at once. Raises `StartupRefused`."""
    raise NotImplementedError
