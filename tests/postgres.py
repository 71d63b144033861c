"""The one PostgreSQL server of a test session, started when the first test wants it; every test gets its own schema."""

from __future__ import annotations

import atexit
import functools
from contextlib import ExitStack

from lash.testing.postgres import Cluster, postgres_cluster


@functools.cache
def cluster() -> Cluster:
    stack = ExitStack()
    found = stack.enter_context(postgres_cluster())
    atexit.register(stack.close)
    return found


def fresh_url() -> str:
    """A URL of a schema nobody has used."""
    return cluster().schema_url()
