"""The SQLite dialect: one file on one machine."""

from lash.stores.sqlite.store import SqliteStore, migration_sql

__all__ = ["SqliteStore", "migration_sql"]
