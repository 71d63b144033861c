"""The only file that knows concrete classes: a database URL and a word become a store and an engine.

What is wired decides the tier (DESIGN section 9); nothing here is a flag that says so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from lash.abc.engine import Engine
from lash.abc.store import Store
from lash.core.schedule import Duration
from lash.errors import BadUrl, InvalidArguments, RuntimeNotOpen
from lash.runtime.runtime import Runtime as Kernel
from lash.runtime.settings import settings_of
from lash.stores.naming import without_password

if TYPE_CHECKING:
    from lash.abc.provider import Provider
    from lash.runtime.agent import Agent
    from lash.runtime.agents import Agents

Clock = Callable[[], int]


class Runtime(Kernel):
    """A durable runtime on one database.

    ``url``: ``sqlite:///relative.db``, ``sqlite:////absolute.db`` (query ``?sync=normal`` trades the last commits at a
    power failure for speed), ``postgresql://user@host/database`` (query ``schema=``, ``migrate=verify``,
    ``pooler=transaction``; see docs/operations.md), or ``memory://`` (nothing outlives the Python process).
    ``engine``: ``local`` journals every effect in the store; ``inline`` remembers none; or an ``Engine``.
    ``worker``: open an embedded worker with the runtime. ``concurrency``: bodies at work at once.
    ``lease_ttl``: how long a silent worker keeps its processes. ``linger``: how long a body that only waits stays
    before it parks. ``resident``: parked bodies kept in memory. ``drain``: time for steps in flight when closing.
    ``host_profile``: only workers of the same profile run what is started here. ``retention``: prune what ended
    longer ago. ``clock``: epoch milliseconds, for tests; else the store's. ``agents``: whose sessions it opens and
    runs.
    """

    def __init__(
        self,
        url: str,
        *,
        engine: Literal["local", "inline"] | Engine = "local",
        worker: bool = True,
        concurrency: int = 64,
        lease_ttl: Duration = "10s",
        linger: Duration = "1s",
        resident: int = 1_000,
        drain: Duration = "20s",
        host_profile: str = "default",
        retention: Duration | None = None,
        clock: Clock | None = None,
        agents: Sequence[Agent[Any]] = (),
    ) -> None:
        self.url = url
        self._words: Literal["local", "inline"] | None = engine if isinstance(engine, str) else None
        settings = settings_of(concurrency, lease_ttl, linger, resident, drain, host_profile, retention)
        store = store_of(url, clock)
        known = agents_of(agents) if agents else None
        super().__init__(store, engine_of(engine, store), settings, worker, known)

    @property
    def agents(self) -> Agents:
        if self._parts.agents is None:
            self._parts.agents = agents_of(())
        return self._parts.agents

    def move(self, url: str) -> None:
        """The same app on another database, for operators (``lash --url``). Raises ``RuntimeNotOpen`` once open.

        A ``local`` engine moves along; any other stays as it is.
        """
        if self._opening is not None:
            raise RuntimeNotOpen(f"The runtime is open on {without_password(self.url)!r}; move it before it is opened.")
        self._parts.store = store_of(url)
        if self._words is not None:
            self._parts.engine = engine_of(self._words, self._parts.store)
        self.url = url


def agents_of(agents: Sequence[Agent[Any]]) -> Agents:
    """Raises ``InvalidAgent``, ``AlreadyRegistered``."""
    from lash.modes.standard import Standard
    from lash.runtime.agents import Agents

    known = Agents(Standard, provider_of)
    known.include(agents)
    return known


def provider_of(prefix: str) -> Provider:
    """The provider of a model's prefix. Raises ``ModelUnavailable``."""
    from lash.providers import provider_of as find

    return find(prefix)


def store_of(url: str, clock: Clock | None = None) -> Store:
    """The store a URL names, unopened. Raises ``BadUrl``."""
    if not isinstance(url, str) or "://" not in url:
        raise BadUrl(
            f"{without_password(str(url))!r} is no database URL. Use sqlite:///file.db, sqlite:////absolute/file.db, "
            "postgresql://user@host/database or memory://."
        )
    scheme, rest = url.split("://", 1)
    place, _, query = rest.partition("?")
    pairs = [item.partition("=") for item in query.split("&") if item]
    options = {name: value for name, _, value in pairs}
    if scheme == "memory":
        refuse_options(url, options)
        from lash.stores.memory import MemoryStore

        return MemoryStore(clock)
    if scheme == "sqlite":
        host, slash, path = place.partition("/")
        return sqlite_store(url, host, slash + path, options, clock)
    if scheme in ("postgresql", "postgres"):
        return postgres_store(url, clock)
    raise BadUrl(
        f"{scheme!r} in {without_password(url)!r} is no known kind of store. Use sqlite:///file.db, "
        "sqlite:////absolute/file.db, postgresql://user@host/database or memory://."
    )


def postgres_store(url: str, clock: Clock | None) -> Store:
    if importlib.util.find_spec("asyncpg") is None:
        raise BadUrl("A postgresql:// URL needs the driver asyncpg: pip install 'lash-runtime[postgres]'.")
    from lash.stores.postgres import PostgresStore

    return PostgresStore(url, clock=clock)


def sqlite_store(url: str, host: str, path: str, options: dict[str, str], clock: Clock | None) -> Store:
    if host:
        raise BadUrl(f"{url!r} names a host. A file URL has three slashes (relative) or four (absolute).")
    name = path[1:]
    if not name or name == ":memory:" or name.endswith("/"):
        raise BadUrl(f"{url!r} names no file. Use sqlite:///file.db, or memory:// for a store without a file.")
    sync = options.pop("sync", "full")
    if sync not in ("full", "normal"):
        raise BadUrl(f"sync={sync!r} in {url!r}: use sync=full (the default) or sync=normal.")
    refuse_options(url, options)
    from lash.stores.sqlite import SqliteStore

    return SqliteStore(name, sync="full" if sync == "full" else "normal", clock=clock)


def refuse_options(url: str, options: dict[str, str]) -> None:
    if options:
        raise BadUrl(f"{url!r} has options this store does not know: {', '.join(sorted(options))}.")


def engine_of(engine: Literal["local", "inline"] | Engine, store: Store) -> Engine:
    """The engine a word names, or the engine given."""
    if engine == "local":
        from lash.engines.local import LocalEngine

        return LocalEngine(store)
    if engine == "inline":
        from lash.engines.inline import InlineEngine

        return InlineEngine()
    if isinstance(engine, str):
        raise InvalidArguments(f"engine must be 'local', 'inline' or an Engine, not {engine!r}.")
    return engine
