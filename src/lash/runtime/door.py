"""How sessions are opened, listed and deleted: the Runtime's part of them."""

from __future__ import annotations

from typing import Any, Protocol

from lash.abc.sessions import Delete, Open
from lash.abc.store import Count, ProcessFilter, Unknown
from lash.core.session import SessionRow, process_id_of
from lash.errors import InvalidArguments, StoreUnavailable
from lash.limits import PAGE_ROWS_MAX
from lash.runtime.agent import Agent
from lash.runtime.agents import Agents
from lash.runtime.pictures import Place
from lash.runtime.session import Posting, Session, SessionInfo, info_of, opened_place, refusal, session_spec
from lash.runtime.shapes import ANY


class Host(Posting, Protocol):
    @property
    def agents(self) -> Agents: ...


class SessionDoor:
    """One per runtime. What is asked of it before the runtime is open raises ``RuntimeNotOpen``."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def open(self, session_id: str, agent: Agent[Any] | None) -> Session[Any]:
        if agent is None:
            return await self._existing(session_id)
        known = self._host.agents.of(agent)
        spec = session_spec(session_id, known.name, self._host.host_profile)
        place = opened_place(await self._host.write(Open(spec)), spec, session_id)
        return Session(self._host, place, known.name, known.shape)

    async def _existing(self, session_id: str) -> Session[Any]:
        process_id = process_id_of(session_id)
        (row,) = await self._host.store.sessions((process_id,))
        if not isinstance(row, SessionRow):
            raise refusal(Unknown(row is not None), session_id)
        shapes = {agent.name: agent.shape for agent in self._host.agents}
        return Session(self._host, Place(row.process.row, process_id), row.agent, shapes.get(row.agent, ANY))

    async def page(self, agent: str | None, after: str | None, limit: int) -> list[SessionInfo]:
        if not 1 <= limit <= PAGE_ROWS_MAX:
            raise InvalidArguments(f"limit must be 1 to {PAGE_ROWS_MAX}, not {limit!r}.")
        last = None if after is None else process_id_of(after)
        store = self._host.store
        rows = await store.page(ProcessFilter(None, agent, None, None, last, limit, sessions=True))
        found = await store.sessions([row.record.id for row in rows])
        return [info_of(row) for row in found if isinstance(row, SessionRow)]

    async def delete(self, session_id: str) -> None:
        process_id = process_id_of(session_id)
        verdict = await self._host.write(Delete(process_id))
        self._host.waits.forget(process_id)
        self._host.lives.forget(process_id)
        if isinstance(verdict, Unknown) and not verdict.pruned:
            raise refusal(verdict, session_id)
        if not isinstance(verdict, (Unknown, Count)):
            raise StoreUnavailable(f"The store answered with {type(verdict).__name__}.")
        self._host.hub.changed()
