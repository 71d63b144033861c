"""``sessions``, and ``show`` of a session: what the store keeps of a conversation, read without the code of its agent.

They read and never write. As with processes, the JSON document and what people see are made from the same facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lash.abc.store import ProcessFilter
from lash.cli import output as out, transcript as said
from lash.cli.apps import NoUrl, load_app, looked_at, opened
from lash.cli.documents import Document, state_of, tuple_document
from lash.cli.spending import listed_price, session_usage_document, usage_lines
from lash.core.process import ProcessRow, Tombstone
from lash.core.session import ID_PREFIX, SESSION, Item, Node, SessionRow, TurnRecord, process_id_of, session_id_of
from lash.limits import PAGE_ROWS_MAX
from lash.runtime.contexts import decode_usage
from lash.runtime.receipts import decode_receipt
from lash.runtime.runtime import Runtime
from lash.wiring import Runtime as WiredRuntime

ITEM_CHARS: Final = 60
NODE_CHARS: Final = 80
"""Of a node in a listing."""
MARKS: Final = {"user": "> ", "call": "→ ", "result": "← ", "failure": "✗ ", "reasoning": "~ ", "note": "· "}
"""Before what was said, so that it can be told apart without colours."""
STYLES: Final = {
    "user": "bold",
    "call": "cyan",
    "result": "dim",
    "failure": "red",
    "reasoning": "dim italic",
    "note": "yellow",
}
COLOURS: Final = {"idle": "green", "closed": "dim", **out.STYLES}


# sessions ----------------------------------------------------------------------------------------------------------


async def sessions(
    target: str | None, url: str | None, agent: str | None, limit: int, after: str | None, as_json: bool
) -> None:
    async with opened(looked_at(url) if target is None else url_of_target(target, url)) as app:
        if after is not None:
            await session_row(app, after)
        last = None if after is None else process_id_of(after)
        listed = await app.store.page(ProcessFilter(None, agent, None, None, last, limit, sessions=True))
        rows = await app.store.sessions([row.record.id for row in listed])
        now_ms = app.store.now_ms()
    found = [row for row in rows if isinstance(row, SessionRow)]
    more = found[-1].id if len(listed) == limit and found else None
    if as_json:
        documents = [session_document(row, now_ms) for row in found]
        out.print_json({"now_ms": now_ms, "sessions": documents, "after": more})
        return
    if not found:
        out.say("No sessions." if not (agent or after) else "No sessions fit.")
        return
    headings = ("id", "agent", "state", "turns", "nodes", "tokens", "changed", "detail")
    out.table(headings, [list_row(row, now_ms) for row in found])
    if more is not None:
        out.remark(f"There may be more: --after {more}")


def url_of_target(target: str, url: str | None) -> str:
    """Where the app of a TARGET keeps its sessions. Raises ``NoUrl`` for a store that no URL names."""
    app = load_app(target, url)
    if not isinstance(app, WiredRuntime):
        raise NoUrl(f"{target} has a store of its own, which no URL names; there is nothing to open from here.")
    return app.url


def list_row(row: SessionRow, now_ms: int) -> Sequence[out.Cell]:
    state = session_state(row.process, now_ms)
    blocked = row.process.record.blocked
    detail = blocked.reason if blocked is not None else "" if row.base is None else f"fork of {session_id_of(row.base)}"
    tokens = f"{decode_usage(row.usage).total.total_tokens:,}"
    changed = out.relative(row.process.record.updated_ms, now_ms)
    return row.id, row.agent, (state, COLOURS.get(state, "")), str(row.turns), str(row.head), tokens, changed, detail


def session_state(row: ProcessRow, now_ms: int) -> str:
    """``closed``, ``closing`` (its next worker closes it), ``idle``, or what its turn does: running, ready, waiting,
    back-off, blocked, lost."""
    if row.record.status.final:
        return "closed"
    return "closing" if row.record.cancel_requested is not None else state_of(row, now_ms)


def session_document(row: SessionRow, now_ms: int) -> Document:
    """A session as ``lash sessions`` tells it."""
    record = row.process.record
    return {
        "id": row.id,
        "kind": SESSION,
        "agent": row.agent,
        "state": session_state(row.process, now_ms),
        "turns": row.turns,
        "nodes": row.head,
        "items": row.items,
        "base": None if row.base is None else session_id_of(row.base),
        "base_node": row.base_node if row.base is not None else None,
        "parent": record.spec.parent,
        "created_ms": record.created_ms,
        "updated_ms": record.updated_ms,
        "blocked": tuple_document(record.blocked),
        "usage": session_usage_document(decode_usage(row.usage), listed_price),
    }


# Which one ---------------------------------------------------------------------------------------------------------


async def session_row(app: Runtime, session_id: str) -> SessionRow:
    """Raises ``SessionUnknown`` and ``SessionDeleted``."""
    return await (await app.session(session_id)).row()


async def session_meant(app: Runtime, text: str, surely: bool) -> str | None:
    """The session that ``show TEXT`` means; None where it is a process, or nothing.

    A process goes before a session of the same id, unless ``surely`` a session is meant; ``session:<id>`` is always
    the session. Raises ``SessionDeleted``.
    """
    (row,) = await app.store.get((text,))
    if isinstance(row, ProcessRow) and row.record.spec.kind == SESSION:
        return session_id_of(text)
    bare = text.removeprefix(ID_PREFIX)
    (session,) = await app.store.sessions((ID_PREFIX + bare,))
    if surely or (row is None and session is not None):
        return bare
    if row is not None and session is not None and not isinstance(session, Tombstone):
        out.remark(f"A session has this id too: lash show {ID_PREFIX}{bare}")
    return None


# show --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Facts:
    """What is read of one session."""

    row: SessionRow
    nodes: Sequence[Node]
    """The newest."""
    items: Sequence[Item]
    """Those that are not done."""
    turns: Sequence[TurnRecord]
    """Those that committed these nodes, and those since."""
    now_ms: int


async def facts_of(app: Runtime, session_id: str, limit: int) -> Facts:
    """Raises ``SessionUnknown`` and ``SessionDeleted``."""
    row = await session_row(app, session_id)
    store, number = app.store, row.process.row
    nodes = await store.nodes(number, 0, row.head, limit)
    own = [node.turn for node in nodes if node.number > row.base_node]
    turns = await store.turns(number, own[0] - 1 if own else 0, PAGE_ROWS_MAX)
    return Facts(row, nodes, await store.items(number, ()), turns, store.now_ms())


async def show_session(app: Runtime, session_id: str, limit: int, as_nodes: bool, as_json: bool) -> None:
    facts = await facts_of(app, session_id, limit)
    if as_json:
        print_document(facts, as_nodes)
        return
    show_facts(facts)
    show_items(facts)
    if as_nodes:
        show_nodes(facts.nodes, facts.now_ms)
    else:
        show_transcript(facts)
    if facts.nodes and facts.nodes[0].number > 1:
        out.remark(f"The newest {len(facts.nodes)} of {facts.row.head} nodes. --limit has more.")


def print_document(facts: Facts, as_nodes: bool) -> None:
    """``--nodes`` adds the nodes that are no messages."""
    shown = [node for node in facts.nodes if as_nodes or node.kind == "message"]
    document: Document = {"now_ms": facts.now_ms, **session_document(facts.row, facts.now_ms)}
    document["pending"] = [said.item_document(item) for item in facts.items]
    document["turn_records"] = [said.turn_document(record) for record in facts.turns]
    document["path" if as_nodes else "transcript"] = [said.node_document(node) for node in shown]
    out.print_json(document)


def show_facts(facts: Facts) -> None:
    row, record, now_ms = facts.row, facts.row.process.record, facts.now_ms
    state = session_state(row.process, now_ms)
    usage = decode_usage(row.usage)
    base = None if row.base is None else f"{session_id_of(row.base)}, at node {row.base_node}"
    ends = out.relative(row.process.until_ms or now_ms, now_ms)
    lease = "" if row.process.owner is None else f"{row.process.owner}, ends {ends}"
    out.facts(
        (
            ("session", (row.id, "bold")),
            ("agent", row.agent),
            ("state", (state, COLOURS.get(state, ""))),
            (
                "blocked",
                None if record.blocked is None else (f"{record.blocked.reason}: {record.blocked.detail}", "red"),
            ),
            ("turns", f"{row.turns}, {out.count_of(row.head, 'node')}"),
            ("fork of", base),
            ("parent", record.spec.parent),
            ("started", out.moment(record.created_ms, now_ms)),
            ("changed", out.moment(record.updated_ms, now_ms)),
            ("lease", lease),
            ("usage", "\n".join(usage_lines(usage, listed_price)) if usage.turns else None),
        )
    )


def show_items(facts: Facts) -> None:
    """What was sent and is not done."""
    if not facts.items:
        return
    out.heading("Pending")
    rows = [
        (
            str(item.number),
            f"in turn {item.turn}" if item.state == "taken" else item.state,
            "" if item.key is None else item.key,
            out.relative(item.at_ms, facts.now_ms),
            said.item_words(item, ITEM_CHARS),
        )
        for item in facts.items
    ]
    out.table(("#", "state", "key", "sent", "payload"), rows)


def show_nodes(nodes: Sequence[Node], now_ms: int) -> None:
    if not nodes:
        return
    out.heading("Nodes")
    rows = [(node.id, *node_cells(node), out.relative(node.at_ms, now_ms)) for node in nodes]
    out.table(("id", "what", "payload", "when"), rows)


def node_cells(node: Node) -> tuple[str, str]:
    return said.node_words(node, NODE_CHARS)


def show_transcript(facts: Facts) -> None:
    if not facts.nodes and not facts.turns:
        return
    out.heading("Transcript")
    for shown in transcript(facts.nodes, facts.turns, facts.row.base_node):
        say_shown(shown)


def transcript(nodes: Sequence[Node], turns: Sequence[TurnRecord], base_node: int = 0) -> Iterator[said.Shown]:
    """What was said, with how each turn ended where it ended without an answer."""
    told = {record.number: said.outcome_words(decode_receipt(record.receipt).outcome) for record in turns}
    ends = {number: words for number, words in told.items() if words}
    turn = 0
    for node in nodes:
        own = node.turn if node.number > base_node else 0
        if own != turn:
            yield from endings(ends, own)
            turn = own
        yield from said.shown_node(node)
    yield from endings(ends, None)


def endings(ends: dict[int, str], before: int | None) -> Iterator[said.Shown]:
    """The ends of turns older than ``before``, each once."""
    for number in sorted(ends):
        if before is None or number < before:
            yield said.Shown("note", f"[turn {number} {ends.pop(number)}]")


def say_shown(shown: said.Shown) -> None:
    """With a mark before it, so that it is told apart without colours too."""
    mark = MARKS.get(shown.kind, "")
    text = said.prose(shown.text).strip("\n").replace("\n", "\n" + " " * len(mark))
    out.say(mark + text, STYLES.get(shown.kind, ""))
