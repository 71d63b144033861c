"""Who takes part, what each can do, and how it was set up: the table that run, report and tests read.

A note says of a figure what keeps it from being comparable. A figure that is marked so is shown and never the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from benchmarks.peers.environments import ENVIRONMENTS, Environment
from benchmarks.peers.metrics import AGENT_WORKLOADS, PROCESS_WORKLOADS

Store: TypeAlias = Literal["SQLite", "Postgres", "own"]
OURS: Final = "lash"
NO_NOTES: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Contender:
    """``notes`` by workload; those in ``apart`` are of figures that are not comparable."""

    name: str
    title: str
    store: Store
    environment: Environment
    program: str
    setup: str
    workloads: tuple[str, ...] = PROCESS_WORKLOADS
    parked: int = 100_000
    variant: str = ""
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    apart: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        return self.environment.name == OURS

    @property
    def module(self) -> str:
        return f"benchmarks.peers.programs.{self.program}"


LASH: Final = "defaults, with concurrency=100 in W2 and 500 in W4; start_many for W2 to W4 and to fill W5."
DBOS: Final = (
    "async workflows and steps, started directly and not through a queue that is polled; {more}. No other setting for "
    "speed was found in its docs."
)
DBOS_NOTE: Final = "its queue of recovered workflows is polled once a second"
DBOS_PARKED: Final = (
    "a sleeping workflow is a task of its process; by default fewer are parked, because starting them takes long"
)
ABSURD: Final = (
    "async tasks, 8 workers in one OS process, each with a connection of its own, concurrency shared among them "
    "(1 worker for W1 and W5); poll_interval 0.01 s instead of 0.25 s; outcomes looked for every 2 ms. Its docs "
    "name these settings and recommend none for speed; the number of workers was tried."
)
ABSURD_LEASE: Final = (
    "a dead worker's tasks are claimed again when their claim_timeout is over (15 s here, 120 s by default): that wait "
    "is not counted, the new process was started after it"
)
ABSURD_PARKED: Final = "its worker looks for work every 10 ms; by default fewer are parked, because filling takes long"
GRAPH: Final = (
    "a graph of one node, durability=sync: a step's result is on disk before the next step, as everywhere here."
)
TASKS: Final = "tasks of an entrypoint, durability=async: the quickest that its docs describe."
TASKS_NOTE: Final = "goes on before the result of a step is on disk; a crash may repeat steps whose results were used"
RESTATE: Final = (
    "server and one service process under hypercorn with the stream and request limits of Restate's templates (their 8 "
    "worker processes were no quicker on 2 cores); calls through the ingress on up to 100 kept connections, a client "
    "of a few lines on asyncio streams; inactivity_timeout 0 for the sleepers of W5."
)
RESTATE_NOTE: Final = "the service is killed, the server stays up; its first retry is due after 0.5 s"
RESTATE_PARKED: Final = "by default fewer are parked, because filling takes long"
STEPS_ONLY: Final = ("W1", "W2")
LASH_AGENT: Final = "defaults, with concurrency=100 in T100; the model is lash.testing.ScriptedModel."
GRAPH_AGENT: Final = (
    "a model node and the prebuilt ToolNode over MessagesState, with the async saver of its docs (one connection); "
    "durability=sync: what a node said is on disk before the next one begins (exit would keep one state of a turn "
    "instead of one of each step, and lose a turn that is cut off). Nothing is pruned, as by default."
)
GRAPH_DELTA: Final = (
    "the same with a DeltaChannel for the messages and its default of a whole state every 100 updates: its docs name "
    "it for long conversations; it is a beta."
)
GRAPH_ASYNC: Final = "the first with durability=async, which is the default."
OPENAI_AGENT: Final = (
    "Runner.run with a SQLiteSession for each conversation, all on one file, not streamed; tracing off, because traces "
    "are sent away; the model is a class of ours. A store on Postgres is an extension of it and was not measured."
)
OPENAI_NOTE: Final = "its session keeps messages; a turn that is cut off by a crash is not gone on with"
TURNS: Final = ("T1", "T100")
OPENAI_NOTES: Final = dict.fromkeys(TURNS, OPENAI_NOTE)
ASYNC_NOTE: Final = "goes on before what a node said is on disk; a crash may ask the model again whose answer was used"
ASYNC_NOTES: Final = dict.fromkeys(TURNS, ASYNC_NOTE)


def agent(
    name: str,
    title: str,
    home: str,
    setup: str,
    variant: str = "",
    notes: Mapping[str, str] = NO_NOTES,
    apart: tuple[str, ...] = (),
) -> Contender:
    """One that has conversations and no workflows, on the store that ends its name."""
    store: Store = "Postgres" if name.endswith("postgres") else "SQLite"
    environment, workloads = ENVIRONMENTS[home], apart or AGENT_WORKLOADS
    return Contender(
        f"agents-{name}",
        f"{title}, {store}",
        store,
        environment,
        f"{home}_agent",
        setup,
        workloads,
        variant=variant,
        notes=notes,
        apart=apart,
    )


CONTENDERS: Final = {
    item.name: item
    for item in (
        Contender("lash-sqlite", "lash, SQLite", "SQLite", ENVIRONMENTS["lash"], "lash_app", LASH),
        Contender("lash-postgres", "lash, Postgres", "Postgres", ENVIRONMENTS["lash"], "lash_app", LASH),
        Contender(
            "dbos-sqlite",
            "DBOS, SQLite",
            "SQLite",
            ENVIRONMENTS["dbos"],
            "dbos_app",
            DBOS.format(more="the file put into WAL mode, which DBOS does not do itself"),
            parked=20_000,
            notes={"W4": DBOS_NOTE, "W5": DBOS_PARKED},
        ),
        Contender(
            "dbos-postgres",
            "DBOS, Postgres",
            "Postgres",
            ENVIRONMENTS["dbos"],
            "dbos_app",
            DBOS.format(more="as many executor threads as connections (20), LISTEN/NOTIFY on"),
            parked=20_000,
            notes={"W4": DBOS_NOTE, "W5": DBOS_PARKED},
        ),
        Contender(
            "absurd-postgres",
            "Absurd, Postgres",
            "Postgres",
            ENVIRONMENTS["absurd"],
            "absurd_app",
            ABSURD,
            parked=50_000,
            notes={"W4": ABSURD_LEASE, "W5": ABSURD_PARKED},
        ),
        Contender(
            "langgraph-sqlite",
            "LangGraph, SQLite",
            "SQLite",
            ENVIRONMENTS["langgraph"],
            "langgraph_app",
            GRAPH,
            workloads=STEPS_ONLY,
            variant="graph",
        ),
        Contender(
            "langgraph-postgres",
            "LangGraph, Postgres",
            "Postgres",
            ENVIRONMENTS["langgraph"],
            "langgraph_app",
            GRAPH,
            workloads=STEPS_ONLY,
            variant="graph",
        ),
        Contender(
            "langgraph-sqlite-tasks",
            "LangGraph tasks, SQLite",
            "SQLite",
            ENVIRONMENTS["langgraph"],
            "langgraph_app",
            TASKS,
            workloads=STEPS_ONLY,
            variant="tasks",
            notes=dict.fromkeys(STEPS_ONLY, TASKS_NOTE),
            apart=STEPS_ONLY,
        ),
        Contender(
            "langgraph-postgres-tasks",
            "LangGraph tasks, Postgres",
            "Postgres",
            ENVIRONMENTS["langgraph"],
            "langgraph_app",
            TASKS,
            workloads=STEPS_ONLY,
            variant="tasks",
            notes=dict.fromkeys(STEPS_ONLY, TASKS_NOTE),
            apart=STEPS_ONLY,
        ),
        Contender(
            "restate",
            "Restate",
            "own",
            ENVIRONMENTS["restate"],
            "restate_app",
            RESTATE,
            parked=50_000,
            notes={"W4": RESTATE_NOTE, "W5": RESTATE_PARKED},
        ),
        agent("lash-sqlite", "lash agent", "lash", LASH_AGENT),
        agent("lash-postgres", "lash agent", "lash", LASH_AGENT),
        agent("langgraph-sqlite", "LangGraph agent", "langgraph", GRAPH_AGENT),
        agent("langgraph-postgres", "LangGraph agent", "langgraph", GRAPH_AGENT),
        agent("langgraph-delta-sqlite", "LangGraph delta", "langgraph", GRAPH_DELTA, "delta"),
        agent("langgraph-delta-postgres", "LangGraph delta", "langgraph", GRAPH_DELTA, "delta"),
        agent("langgraph-async-sqlite", "LangGraph async", "langgraph", GRAPH_ASYNC, "async", ASYNC_NOTES, TURNS),
        agent("langgraph-async-postgres", "LangGraph async", "langgraph", GRAPH_ASYNC, "async", ASYNC_NOTES, TURNS),
        agent("openai-sqlite", "OpenAI agent", "openai", OPENAI_AGENT, notes=OPENAI_NOTES),
    )
}
"""By name, in the order of the table, which is the order within a workload."""


def chosen(names: Sequence[str]) -> list[Contender]:
    """Those whose names begin with one of ``names``; all, if there is none. Raises ``KeyError`` for an unknown one."""
    for name in names:
        if not any(matches(known, name) for known in CONTENDERS):
            raise KeyError(name)
    return [item for item in CONTENDERS.values() if not names or any(matches(item.name, name) for name in names)]


def matches(known: str, name: str) -> bool:
    return known == name or known.startswith(name + "-")
