"""``ls``, ``show``, ``events`` and ``explain``: they read and never write.

Each builds the JSON document first; what people see is made from the same document or the same facts, so that the two
never say different things.
"""

from __future__ import annotations

from collections.abc import Sequence

from lash.abc.store import ProcessFilter
from lash.cli import output as out
from lash.cli.apps import check_process, looked_at, opened, row_of, session_of
from lash.cli.documents import (
    Document,
    entry_document,
    event_document,
    list_in,
    object_in,
    outcome_document,
    row_document,
    spec_document,
)
from lash.cli.explain import Explanation, explain_process
from lash.cli.journal import Journal, Line
from lash.cli.sessions import session_meant, show_session
from lash.core import codec, event as ev
from lash.core.event import Event
from lash.core.process import ProcessRow
from lash.core.schedule import show_ms
from lash.limits import PAGE_ROWS_MAX
from lash.runtime.runtime import Runtime

CHILDREN_SHOWN = 20
"""Of the children of one process; ``--json`` has a thousand."""
VALUE_CHARS = 60
"""Of a value in a column."""


# ls ----------------------------------------------------------------------------------------------------------------


async def ls(
    url: str | None, status: str | None, name: str | None, tag: str | None, limit: int, after: str | None, as_json: bool
) -> None:
    async with opened(url) as app:
        if after is not None:
            await row_of(app, after)
        rows = await app.processes(status=status, name=name, tag=tag, after=after, limit=limit)
        now_ms = app.store.now_ms()
    more = rows[-1].record.id if len(rows) == limit else None
    if as_json:
        out.print_json({"now_ms": now_ms, "processes": [row_document(row, now_ms) for row in rows], "after": more})
        return
    if not rows:
        out.say("No processes." if not (status or name or tag or after) else "No processes fit.")
        return
    out.table(("id", "name", "state", "detail", "started", "attempts"), [ls_row(row, now_ms) for row in rows])
    if more is not None:
        out.remark(f"There may be more: --after {more}")


def ls_row(row: ProcessRow, now_ms: int) -> Sequence[out.Cell]:
    record = row.record
    name = f"{record.spec.name}@{record.spec.version}" if record.spec.version else record.spec.name
    document = row_document(row, now_ms)
    created = out.relative(record.created_ms, now_ms)
    return record.id, name, str(document["state"]), detail_of(row, now_ms), created, str(record.attempts)


def detail_of(row: ProcessRow, now_ms: int) -> str:
    """A few words behind the state."""
    record = row.record
    if record.outcome is not None:
        document = outcome_document(record.outcome) or {}
        if "failure" in document:
            return failure_words(document["failure"])[:VALUE_CHARS]
        return out.short_value(document["value"], VALUE_CHARS) if "value" in document else ""
    parts: list[str] = []
    if record.blocked is not None:
        parts.append(record.blocked.reason)
    if record.waiting is not None and row.owner is None:
        parts.append(record.waiting.key or record.waiting.on)
    if row.owner is not None and row.until_ms is not None and row.until_ms <= now_ms:
        parts.append(f"lease ended {out.relative(row.until_ms, now_ms)}")
    if row.due_ms is not None and row.owner is None:
        parts.append(f"due {out.relative(row.due_ms, now_ms)}")
    if record.cancel_requested is not None:
        parts.append("cancel requested")
    return ", ".join(parts)


def failure_words(failure: object) -> str:
    told = object_in(failure) or {}
    return f"{told.get('code')}: {told.get('message')}"


# show --------------------------------------------------------------------------------------------------------------


async def show(url: str | None, process_id: str, as_json: bool, nodes: bool = False, limit: int = 100) -> None:
    """A process, or else the session of this id; with ``nodes`` a session. ``limit``: of a session's nodes."""
    async with opened(looked_at(url)) as app:
        session_id = await session_meant(app, process_id, nodes)
        if session_id is not None:
            await show_session(app, session_id, limit, nodes, as_json)
            return
        row = await row_of(app, process_id)
        journal = Journal(await app.store.history(row.row, 0))
        events = await all_events(app, process_id)
        children = await app.store.page(ProcessFilter(parent=process_id, limit=PAGE_ROWS_MAX))
        children += await app.store.page(ProcessFilter(parent=process_id, limit=PAGE_ROWS_MAX, sessions=True))
        now_ms = app.store.now_ms()
    runs = {
        "started": sum(event.type == ev.STARTED for event in events),
        "resumed": sum(event.type == ev.RESUMED for event in events),
        "parked": sum(event.type == ev.WAITING for event in events),
        "continued": sum(event.type == ev.CONTINUED for event in events),
    }
    if as_json:
        document: Document = {"now_ms": now_ms, **row_document(row, now_ms), **spec_document(row), "runs": runs}
        document["timeline"] = [line_document(line) for line in journal.timeline()]
        document["journal"] = [entry_document(entry) for entry in journal.entries]
        document["signals"] = [event_document(event) for event in events if is_signal(event)]
        document["children"] = [row_document(child, now_ms) for child in children]
        out.print_json(document)
        return
    show_record(row, runs, now_ms)
    show_timeline(journal, row, now_ms)
    show_signals(journal, [event for event in events if is_signal(event)], now_ms)
    show_children(children, now_ms)


async def all_events(app: Runtime, process_id: str) -> list[Event]:
    return [event async for event in app.handle(process_id).events()]


def is_signal(event: Event) -> bool:
    return event.type.startswith(ev.SIGNAL_PREFIX)


def line_document(line: Line) -> Document:
    return {
        "kind": line.kind,
        "ordinal": line.ordinal,
        "name": line.name,
        "began_ms": line.began_ms,
        "ended_ms": line.ended_ms,
        "ending": line.ending,
        "attempts": line.attempts,
    }


def show_record(row: ProcessRow, runs: dict[str, int], now_ms: int) -> None:
    record, spec = row.record, row.record.spec
    state = str(row_document(row, now_ms)["state"])
    detail = detail_of(row, now_ms) if record.outcome is None else ""
    version = f" version {spec.version}" if spec.version else ""
    lease = "" if row.owner is None else f"{row.owner}, ends {out.relative(row.until_ms or now_ms, now_ms)}"
    attempts = f"{record.attempts} of at most {spec.attempts_max}, {spec.recovery}"
    cancel = record.cancel_requested
    out.facts(
        (
            ("id", (record.id, "bold")),
            ("process", f"{spec.name}{version}" + (f" ({spec.kind})" if spec.kind != "python" else "")),
            ("state", (f"{state}{': ' if detail else ''}{detail}", out.STYLES.get(state, ""))),
            ("arguments", arguments_of(spec.args)),
            ("outcome", None if record.outcome is None else outcome_words(row)),
            ("started", out.moment(record.created_ms, now_ms)),
            ("first run", None if record.first_started is None else out.moment(record.first_started.at_ms, now_ms)),
            ("ended", out.moment(record.updated_ms, now_ms) if record.status.final else None),
            ("took", show_ms(record.updated_ms - record.created_ms) if record.status.final else None),
            ("attempts", None if spec.kind != "python" else attempts),
            ("parked", f"{times(runs['parked'])}, resumed {times(runs['resumed'])}" if runs["parked"] else None),
            (
                "continued",
                f"as new {times(runs['continued'])}; the timeline begins at the last" if runs["continued"] else None,
            ),
            ("lease", lease),
            ("cancel", None if cancel is None else f"requested {out.moment(cancel.at_ms, now_ms)}: {cancel.reason}"),
            (
                "blocked",
                None if record.blocked is None else (f"{record.blocked.reason}: {record.blocked.detail}", "red"),
            ),
            ("timeout", None if spec.timeout_ms is None else show_ms(spec.timeout_ms)),
            ("tags", ", ".join(spec.tags)),
            ("priority", str(spec.priority) if spec.priority else None),
            ("profile", spec.host_profile if spec.host_profile not in ("", "default") else None),
            ("parent", spec.parent),
        )
    )


def times(number: int) -> str:
    return out.count_of(number, "time")


def arguments_of(args: bytes) -> str:
    """As a call would spell them."""
    document = codec.decode(args)
    pair = list_in(document) or []
    if len(pair) == 2 and (positional := list_in(pair[0])) is not None and (keyword := object_in(pair[1])) is not None:
        named = (f"{name}={out.show_value(value)}" for name, value in keyword.items())
        return ", ".join([*(out.show_value(value) for value in positional), *named])
    return out.show_value(document)


def outcome_words(row: ProcessRow) -> out.Cell:
    document = outcome_document(row.record.outcome) or {}
    status = str(document.get("status"))
    failure = object_in(document.get("failure"))
    if failure is not None:
        raw = "" if failure.get("raw") is None else f"\n{out.show_value(failure['raw'])}"
        return f"{failure.get('code')} ({failure.get('class')}): {failure.get('message')}{raw}", out.STYLES["failed"]
    rest = [value for name, value in document.items() if name != "status"]
    return out.show_value(rest[0] if rest else None), out.STYLES.get(status, "")


def show_timeline(journal: Journal, row: ProcessRow, now_ms: int) -> None:
    lines = journal.timeline()
    if not lines:
        return
    start_ms = row.record.began_ms or row.record.created_ms
    out.heading("Timeline")
    out.table(
        ("#", "what", "name", "at", "took", "ending", "result"),
        [line_row(line, start_ms, now_ms, row.record.status.final) for line in lines],
    )


def line_row(line: Line, start_ms: int, now_ms: int, final: bool) -> Sequence[out.Cell]:
    took = show_ms((line.ended_ms if line.ended_ms is not None else now_ms) - line.began_ms)
    ending = line.ending if line.attempts == 1 else f"{line.ending}, attempt {line.attempts}"
    style = {"failed": "red", "retrying": "yellow", "open": "cyan"}.get(line.ending, "")
    if line.ended_ms is None:
        took = "" if final else f"{took} so far"
        ending = "never came" if final else ending
    result = ""
    if line.payload:
        value = codec.decode(line.payload)
        failed = line.ending in ("failed", "retrying")
        result = failure_words(value)[:VALUE_CHARS] if failed else out.short_value(value, VALUE_CHARS)
    number = "" if line.kind in ("cancel", "sleep") else str(line.ordinal)
    at = f"+{show_ms(max(0, line.began_ms - start_ms))}"
    return number, line.kind, line.name, at, "" if line.kind == "sleep" else took, (ending, style), result


def show_signals(journal: Journal, signals: Sequence[Event], now_ms: int) -> None:
    if not signals:
        return
    untaken = {entry.ordinal for entry in journal.untaken}
    out.heading("Signals")
    rows = [
        (
            str(event.sequence),
            event.type.removeprefix(ev.SIGNAL_PREFIX),
            out.relative(event.at_ms, now_ms),
            "not taken yet" if event.sequence in untaken else "",
            out.short_value(event.value(), VALUE_CHARS),
        )
        for event in signals
    ]
    out.table(("#", "name", "when", "note", "payload"), rows)


def show_children(children: Sequence[ProcessRow], now_ms: int) -> None:
    if not children:
        return
    out.heading(f"Children ({len(children)}{'+' if len(children) >= PAGE_ROWS_MAX else ''})")
    shown = children[:CHILDREN_SHOWN]
    out.table(("id", "name", "state", "detail", "started", "attempts"), [ls_row(child, now_ms) for child in shown])
    if len(children) > len(shown):
        out.say(f"… and {len(children) - len(shown)} more")


# events ------------------------------------------------------------------------------------------------------------


async def events(url: str | None, process_id: str, after: int, follow: bool, as_json: bool) -> None:
    async with opened(url) as app:
        await check_process(app, process_id)
        async for event in app.handle(process_id).events(after, follow):
            if as_json:
                out.print_json(event_document(event))
            else:
                key = f"  key={event.key}" if event.key is not None else ""
                payload = "" if event.payload == b"{}" else f"  {out.show_value(event.value(), 400)}"
                out.say(f"{event.sequence:>4}  {out.local_iso(event.at_ms)}  {event.type}{payload}{key}")


# explain -----------------------------------------------------------------------------------------------------------


async def explain(url: str | None, process_id: str, as_json: bool) -> None:
    async with opened(looked_at(url)) as app:
        session = await session_of(app, process_id)
        known = (await app.store.get((process_id,)))[0] is not None
        row = session.process if session is not None and not known else await row_of(app, process_id)
        found = await explain_process(app.store, row)
    if as_json:
        out.print_json(found.as_json())
    else:
        say_explanation(found)


def say_explanation(found: Explanation, indent: int = 0) -> None:
    margin = "  " * indent
    out.say(f"{margin}{found.process_id}: {found.headline}", "bold" if not indent else "")
    for detail in found.details:
        out.say(f"{margin}  {detail}")
    for advice in found.advice:
        out.say(f"{margin}  → {advice}", "cyan")
    for below in found.awaited:
        say_explanation(below, indent + 1)
