"""The PostgreSQL dialect: one database for a fleet of workers. Needs the extra ``postgres`` (asyncpg)."""

from lash.stores.postgres.store import PostgresStore, migration_sql

__all__ = ["PostgresStore", "migration_sql"]
