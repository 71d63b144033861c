"""``start``, ``signal``, ``cancel``, ``retry`` and ``prune``: what a person at a terminal may do to processes.

None of them runs a body. ``start`` writes the row and leaves; ``--wait`` waits for whatever worker there is, and says
so when there is none.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final

from lash.cli import exits, output as out
from lash.cli.apps import IsSession, NoUrl, check_process, load_app, opened, outlives_us, row_of, url_of
from lash.cli.documents import list_in, object_in, outcome_document, row_document
from lash.cli.explain import explain_process
from lash.cli.looking import outcome_words
from lash.core.process import EXTERNAL, ProcessRow
from lash.core.schedule import duration_ms
from lash.core.session import SESSION
from lash.errors import InvalidArguments, NotRegistered, ProcessPruned, ProcessUnknown, UsageError
from lash.runtime.handle import Handle
from lash.runtime.registry import Process
from lash.runtime.runtime import Runtime

UNCLAIMED_S: Final = 3.0
"""How long ``--wait`` stays silent about a process that nobody claims."""


class NotConfirmed(UsageError):
    code = "not_confirmed"


def parse_json(text: str, what: str) -> object:
    """Raises ``InvalidArguments`` with what was wrong; ``-`` reads stdin."""
    source = sys.stdin.read() if text == "-" else text
    try:
        return json.loads(source)
    except (ValueError, RecursionError) as error:
        hint = ""
        if not source.strip().startswith(("{", "[", '"')):
            hint = f" A string needs quotes of its own: '\"{source.strip()[:40]}\"'."
        raise InvalidArguments(f"{what} is no JSON: {error}.{hint} Nothing was written.", what=what) from None


def parse_arguments(text: str | None) -> tuple[list[object], dict[str, object]]:
    """ARGS-JSON: a list of positional arguments, or an object of keyword arguments."""
    if text is None:
        return [], {}
    value = parse_json(text, "ARGS-JSON")
    if (positional := list_in(value)) is not None:
        return positional, {}
    if (keyword := object_in(value)) is not None:
        return [], keyword
    raise InvalidArguments(
        "ARGS-JSON must be a list of positional arguments or an object of keyword arguments, not "
        f"{json.dumps(value)[:60]}. Nothing was written."
    )


def process_named(app: Runtime, name: str) -> Process[..., Any]:
    """The newest version of a registered process. Raises ``NotRegistered``."""
    found = [process for process in app.registered if process.name == name]
    if found:
        return found[-1]
    names = sorted({process.name for process in app.registered})
    close = get_close_matches(name, names, 1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Registered: {', '.join(names) or 'none'}."
    raise NotRegistered(f"No process is registered as {name!r}.{hint} Nothing was written.", name=name)


# start -------------------------------------------------------------------------------------------------------------


async def start(
    target: str,
    name: str,
    arguments: str | None,
    url: str | None,
    process_id: str | None,
    delay: str | None,
    tags: Sequence[str],
    priority: int,
    wait: bool,
    timeout: str | None,
    as_json: bool,
) -> int:
    positional, keyword = parse_arguments(arguments)
    app = load_app(target, url)
    process = process_named(app, name)
    call = process.call(*positional, **keyword).options(id=process_id, delay=delay, tags=list(tags), priority=priority)
    await app.open(with_worker=False)
    try:
        if not outlives_us(app):
            raise NoUrl(
                f"{url_of(app)} keeps nothing beyond this command. Name a database with --url. Nothing was written."
            )
        known = None if process_id is None else await known_row(app, process_id)
        (handle,) = await app.start_many([call])
        if not wait:
            await say_started(app, handle, known, as_json)
            return exits.OK
        out.remark(f"{handle.id} {'was there already' if known else 'is started'}; waiting for its outcome.")
        return await wait_for(app, handle, timeout, as_json)
    finally:
        await app.close()


async def known_row(app: Runtime, process_id: str) -> ProcessRow | None:
    try:
        return await row_of(app, process_id)
    except (ProcessUnknown, ProcessPruned, IsSession):  # a session may bear the name of a process
        return None


async def say_started(app: Runtime, handle: Handle[Any], known: ProcessRow | None, as_json: bool) -> None:
    try:
        row = await row_of(app, handle.id)
    except ProcessPruned:
        if as_json:
            out.print_json({"id": handle.id, "created": False, "pruned": True})
        else:
            out.say(f"{handle.id}  ended and was pruned earlier; nothing was started")
        return
    if as_json:
        out.print_json({"created": known is None, **row_document(row, app.store.now_ms())})
    elif known is None:
        out.say(f"{handle.id}  started")
    else:
        out.say(f"{handle.id}  was there already ({row.record.status}); the same id is the same process")


async def wait_for(app: Runtime, handle: Handle[Any], timeout: str | None, as_json: bool) -> int:
    """Wait for the outcome and say it; exit code 1 for every outcome but ``completed``, and when time is up."""
    timeout_s = None if timeout is None else duration_ms(timeout, "timeout") / 1_000
    hint = asyncio.create_task(hint_when_unclaimed(app, handle.id))
    try:
        async with asyncio.timeout(timeout_s):
            await app.hub.outcome(handle.id)
    except asyncio.CancelledError:  # Ctrl-C
        out.remark(f"{handle.id} goes on without this command. lash show {handle.id}")
        raise
    except TimeoutError:
        if as_json:
            row = await row_of(app, handle.id)
            out.print_json({"timed_out": True, **row_document(row, app.store.now_ms())})
        else:
            out.say(f"{handle.id}  has no outcome after {timeout}; it goes on. lash explain {handle.id}")
        return exits.FAILED
    finally:
        hint.cancel()
        await asyncio.gather(hint, return_exceptions=True)
    row = await row_of(app, handle.id)
    if as_json:
        out.print_json({"timed_out": False, **row_document(row, app.store.now_ms())})
    else:
        text, style = out.parts_of(outcome_words(row))
        out.say(f"{handle.id}  {row.record.status}  {text}", style)
    document = outcome_document(row.record.outcome)
    return exits.OK if document is not None and document["status"] == "completed" else exits.FAILED


async def hint_when_unclaimed(app: Runtime, process_id: str) -> None:
    await asyncio.sleep(UNCLAIMED_S)
    row = await row_of(app, process_id)
    if row.record.first_started is None and row.owner is None and not row.record.status.final:
        found = await explain_process(app.store, row)
        out.remark("\n".join([found.headline, *found.details, *(f"→ {line}" for line in found.advice)]))


# signal, cancel, retry ---------------------------------------------------------------------------------------------


async def signal(
    url: str | None, process_id: str, name: str, payload: str | None, key: str | None, as_json: bool
) -> None:
    value = None if payload is None else parse_json(payload, "PAYLOAD-JSON")
    async with opened(url) as app:
        await check_process(app, process_id)
        (row,) = await app.store.get((process_id,))
        if isinstance(row, ProcessRow) and row.record.spec.kind == SESSION:
            raise IsSession(f"{process_id!r} is a session, which asks for no signals. Send it an input: lash chat.")
        await app.handle(process_id).signal(name, value, key)
        await say_done(app, process_id, f"the signal {name!r} is kept for it", as_json)


async def cancel(url: str | None, process_id: str, reason: str, as_json: bool) -> None:
    async with opened(url) as app:
        await check_process(app, process_id)
        await app.handle(process_id).cancel(reason)
        row = await row_of(app, process_id)
        ended = "it is cancelled" if row.record.status.final else "the request is kept; its body may clean up first"
        await say_done(app, process_id, ended, as_json)


async def retry(url: str | None, process_id: str, as_json: bool) -> None:
    async with opened(url) as app:
        await check_process(app, process_id)
        await app.retry(process_id)
        row = await row_of(app, process_id)
        what = "a worker has it already" if row.owner is not None else "it may be claimed now"
        if row.record.spec.kind == EXTERNAL:
            what = "is external: no worker claims it, so nothing changed"
        elif row.record.waiting is not None and row.owner is None:
            what += "; what it waits for is not changed by that"
        await say_done(app, process_id, what, as_json)


async def say_done(app: Runtime, process_id: str, what: str, as_json: bool) -> None:
    if as_json:
        row = await row_of(app, process_id)
        out.print_json(row_document(row, app.store.now_ms()))
    else:
        out.say(f"{process_id}  {what}")


# prune -------------------------------------------------------------------------------------------------------------


async def prune(url: str | None, older_than: str, confirmed: bool, as_json: bool) -> None:
    older_ms = duration_ms(older_than, "older-than")
    async with opened(url) as app:
        before_ms = app.store.now_ms() - older_ms
        if not confirmed:
            confirm(f"Delete everything that ended before {out.local_iso(before_ms)}, with its journal?", as_json)
        pruned = await app.prune(older_than)
    if as_json:
        out.print_json({"pruned": pruned, "before_ms": before_ms})
    else:
        out.say(
            f"{out.count_of(pruned, 'process', 'processes')} pruned. Their ids stay known; nothing running was touched."
        )


def confirm(question: str, as_json: bool) -> None:
    """Ask on a terminal; elsewhere nobody can answer, and nothing is deleted."""
    if as_json or not sys.stdin.isatty():
        raise NotConfirmed("Nothing was deleted: there is nobody to ask. Say --yes.")
    import typer

    if not typer.confirm(question):
        raise NotConfirmed("Nothing was deleted.")
