"""The agents of one opened runtime: each with its provider, its mode and all a turn needs of the world.

A model's prefix is resolved when the runtime is made, so that an unknown one is refused at once; its provider is made
when the worker opens, which is where a key is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Protocol

from lash.abc.provider import Provider
from lash.abc.store import BlobStore
from lash.core.model import ModelInfo
from lash.core.outcome import line_of
from lash.core.turn import Mode
from lash.errors import AgentUnknown, AlreadyRegistered, InvalidAgent
from lash.runtime.agent import Agent, overrides, several
from lash.runtime.handle import StartOwned
from lash.runtime.receipts import read_json
from lash.runtime.shapes import short

if TYPE_CHECKING:
    from lash.runtime.bodyrun import BodyRun
    from lash.runtime.live import LiveTurn

ReadOutput = Callable[[str], object]
MakeMode = Callable[["ReadOutput | None"], Mode]
FindProvider = Callable[[str], Provider]


class Agents:
    """By name. ``make_mode`` and ``find_provider`` are handed down by whoever knows the concrete classes; without them
    each agent brings its own."""

    def __init__(self, make_mode: MakeMode | None = None, find_provider: FindProvider | None = None) -> None:
        self.make_mode = make_mode
        self.find_provider = find_provider
        self._by_name: dict[str, Agent[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_name)

    def __iter__(self) -> Iterator[Agent[Any]]:
        return iter(self._by_name.values())

    def include(self, agents: Sequence[Agent[Any]]) -> None:
        """Raises ``InvalidAgent``, ``AlreadyRegistered``."""
        for agent in several("agents=", agents):
            self.add(agent)

    def add(self, agent: Agent[Any]) -> None:
        if not isinstance(agent, Agent):
            raise InvalidAgent(f"agents= takes lash.Agent values, not {line_of(agent)}.")
        known = self._by_name.get(agent.name)
        if known is not None and known is not agent:
            raise AlreadyRegistered(f"Two agents are named {agent.name!r}. Give one another name.", name=agent.name)
        self._by_name[agent.name] = agent

    def named(self, name: str) -> Agent[Any]:
        agent = self._by_name.get(name)
        if agent is None:
            known = ", ".join(sorted(self._by_name)) or "none"
            raise AgentUnknown(f"No agent is named {name!r}. Known: {known}. Pass it to Runtime(agents=[...]).")
        return agent

    def of(self, item: object) -> Agent[Any]:
        """The registered agent that ``item`` means: itself or its name. Raises ``AgentUnknown``."""
        if isinstance(item, str):
            return self.named(item)
        if isinstance(item, Agent):
            known = self._by_name.get(item.name)
            if known is None or known is not item:
                raise AgentUnknown(
                    f"Agent {item.name!r} is not registered on this runtime. Pass it to Runtime(agents=[...])."
                )
            return known
        raise AgentUnknown(f"{item!r} is no lash.Agent, nor the name of one.")

    def mode_of(self, agent: Agent[Any]) -> Mode:
        if agent.mode is not None:
            return agent.mode
        if self.make_mode is None:
            raise InvalidAgent(f"Agent {agent.name!r} has no mode, and this runtime knows none by itself.")
        return self.make_mode(reader_of(agent))


class Outside(Protocol):
    """What turns need of an opened runtime."""

    @property
    def deps(self) -> Any: ...

    @property
    def app(self) -> Any: ...

    def threads(self) -> Executor: ...


class Running:
    """One agent in one opened worker: what its turns stand on."""

    def __init__(
        self,
        agent: Agent[Any],
        agents: Agents,
        provider: Provider,
        blobs: BlobStore,
        world: Outside,
        watch: Callable[[BodyRun, LiveTurn], None],
        start_owned: StartOwned,
    ) -> None:
        self.agent = agent
        self.provider = provider
        self.model = agent.model.partition(":")[2]
        self.info: ModelInfo = agent.info or provider.info(self.model)
        self.output = agent.output_spec
        self.mode = agents.mode_of(agent)
        self.blobs = blobs
        self.deps = world.deps
        self.app = world.app
        self.threads = world.threads
        self.start_owned = start_owned
        self.watch = watch
        """Called when a turn begins, or begins again, to be run here."""
        self.prepares = callable(agent.instructions) or any(
            overrides(plugin, hook)
            for plugin in agent.plugins
            for hook in ("before_turn", "instructions", "hide_tools", "view")
        )

    @property
    def code_hash(self) -> str:
        return self.agent.code_hash


def reader_of(agent: Agent[Any]) -> ReadOutput | None:
    """From a final text to plain JSON that fits the output type; raises ``ValueError`` that says what does not."""
    if not agent.is_structured:
        return None
    shape = agent.shape

    def read(text: str) -> object:
        plain = read_json(text)
        try:
            shape.revive(plain)
        except Exception as error:  # noqa: BLE001  # a validator of the user's may raise anything
            raise ValueError(short(error)) from None
        return plain

    return read
