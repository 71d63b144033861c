"""Every promise of this lane is kept on every store that several OS processes can share, unless its file says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.concurrency.databases import NAMES, Database, PostgresSchema, database_of


@pytest.fixture(params=NAMES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return database_of(request.param, tmp_path)


@pytest.fixture
def schema() -> PostgresSchema:
    """Where a promise is about a server, its connections or its notices."""
    return PostgresSchema()
