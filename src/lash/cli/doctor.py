"""``doctor``: is the database well, and is the work in it.

A check says ok, warn or fail and then why, in words that say what to do. ``fail`` means that work will not get done or
may be lost, and only that makes the exit code 1; a ``warn`` is worth a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

from lash.abc.store import ProcessFilter, WorkerRecord
from lash.cli import exits, output as out
from lash.cli.apps import database_url, opened
from lash.cli.documents import list_in, object_in, state_of, worker_document
from lash.core.outcome import Status
from lash.core.process import EXTERNAL, ProcessRow, lane_of
from lash.limits import CANCEL_GRACE_MS, PAGE_ROWS_MAX

OVERDUE_MS: Final = 30_000
"""A row that is due this long and unclaimed is not just about to be claimed."""
WAL_BYTES_WARN: Final = 256 * 1024 * 1024
"""A log that grows this far beyond its normal size: somebody keeps an old read transaction open."""
FSYNC_US_WARN: Final = 20_000
"""A commit takes at least one fsync; slower disks are felt in every step."""

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """One question a doctor asks."""

    name: str
    verdict: Verdict
    words: str


async def doctor(url: str | None, as_json: bool) -> int:
    where = database_url(url)
    async with opened(where) as app:
        about = await app.store.diagnose()
        workers = await app.store.workers()
        rows = await app.store.page(ProcessFilter(Status.RUNNING, limit=PAGE_ROWS_MAX))
        sessions = await app.store.page(ProcessFilter(Status.RUNNING, limit=PAGE_ROWS_MAX, sessions=True))
        now_ms = app.store.now_ms()
    checks = [*store_checks(about), *work_checks(rows, workers, now_ms), *session_checks(sessions, workers, now_ms)]
    failed = any(check.verdict == "fail" for check in checks)
    if as_json:
        live = [worker_document(worker, now_ms) for worker in workers]
        document = {"ok": not failed, "checks": [asdict(check) for check in checks], "store": about, "workers": live}
        out.print_json(document)
    else:
        out.table(("", "check", "finding"), [(check.verdict, check.name, check.words) for check in checks])
        out.heading("Store")
        shown = {name: value for name, value in about.items() if value not in ([], {})}
        out.facts((name, words_of(value)) for name, value in shown.items())
    return exits.FAILED if failed else exits.OK


def words_of(value: object) -> str:
    if (parts := object_in(value)) is not None:
        numbers = all(isinstance(part, int) for part in parts.values())
        if numbers:
            return ", ".join(f"{number} {name}" for name, number in parts.items() if number)
        return ", ".join(f"{name} {part}" for name, part in parts.items())
    return ", ".join(str(item) for item in list_in(value) or [value])


def store_checks(about: dict[str, object]) -> list[Check]:
    """What the store says about itself; a fact it does not know is not judged."""
    checks = [Check("opened", "ok", f"the {about.get('store')} store opened, and its schema is current")]
    if about.get("store") == "postgres":
        from lash.cli.doctor_postgres import postgres_checks

        return checks + postgres_checks(about)
    if "integrity" in about:
        sound = about["integrity"] == "ok"
        words = "SQLite finds no damage" if sound else f"SQLite says: {about['integrity']}. Restore a backup."
        checks.append(Check("integrity", "ok" if sound else "fail", words))
    if about.get("journal_mode") not in (None, "wal"):
        words = f"journal_mode is {about['journal_mode']}, not wal: readers and writers block one another"
        checks.append(Check("journal mode", "fail", words))
    if about.get("synchronous") == "normal":
        checks.append(Check("sync", "warn", "sync=normal: a power failure may lose the last commits"))
    fsync_us = about.get("fsync_us")
    if isinstance(fsync_us, (int, float)) and fsync_us > FSYNC_US_WARN:
        words = f"one fsync takes {fsync_us / 1_000:.0f} ms on this disk; each step waits for at least one"
        checks.append(Check("disk", "warn", words))
    wal_bytes = about.get("wal_bytes")
    if isinstance(wal_bytes, int) and wal_bytes > WAL_BYTES_WARN:
        words = f"the log is {wal_bytes // 1024**2} MiB: some program keeps an old read transaction open"
        checks.append(Check("log", "warn", words))
    return checks


def work_checks(rows: Sequence[ProcessRow], workers: Sequence[WorkerRecord], now_ms: int) -> list[Check]:
    """Looks at the newest thousand running processes."""
    served = {lane for worker in workers for lane in worker.lanes}
    ours = [row for row in rows if row.record.spec.kind != EXTERNAL]
    by_state: dict[str, list[ProcessRow]] = {}
    for row in ours:
        by_state.setdefault(state_of(row, now_ms), []).append(row)
    unserved = [row for row in ours if lane_of(row.record.spec) not in served]
    due = [row for row in (*by_state.get("ready", ()), *by_state.get("lost", ())) if overdue(row, now_ms)]
    stuck = [row for row in ours if cancel_is_stuck(row, now_ms)]
    checks = [workers_check(workers, len(ours))]
    if unserved and workers:
        names = ", ".join(sorted({row.record.spec.name for row in unserved})[:5])
        checks.append(Check("served", "fail", f"{few(unserved)}: no live worker has their code ({names})"))
    elif ours and workers:
        checks.append(Check("served", "ok", "every running process has a live worker that knows its code"))
    blocked = by_state.get("blocked", [])
    reasons = ", ".join(sorted({row.record.blocked.reason for row in blocked if row.record.blocked is not None}))
    checks.append(Check("blocked", "fail" if blocked else "ok", f"{few(blocked)} ({reasons})" if blocked else "none"))
    checks.append(Check("overdue", "warn" if due else "ok", f"due and unclaimed: {few(due)}" if due else "none"))
    if stuck:
        checks.append(Check("cancels", "warn", f"asked to cancel long ago and still here: {few(stuck)}"))
    return checks


def session_checks(rows: Sequence[ProcessRow], workers: Sequence[WorkerRecord], now_ms: int) -> list[Check]:
    """Looks at the newest thousand open sessions; those with nothing to do need nobody."""
    if not rows:
        return []
    served = {lane for worker in workers for lane in worker.lanes}
    busy = [row for row in rows if state_of(row, now_ms) != "idle"]
    blocked = [row for row in busy if row.record.blocked is not None and row.owner is None]
    unserved = [row for row in busy if lane_of(row.record.spec) not in served]
    due = [row for row in busy if row not in blocked and row not in unserved and overdue(row, now_ms)]
    if blocked:
        reasons = ", ".join(sorted({row.record.blocked.reason for row in blocked if row.record.blocked is not None}))
        return [Check("sessions", "fail", f"blocked: {few(blocked)} ({reasons})")]
    if unserved:
        names = ", ".join(sorted({row.record.spec.name for row in unserved})[:5])
        words = f"{few(unserved)}: no live worker has their agent ({names}): lash worker TARGET"
        return [Check("sessions", "fail" if workers else "warn", words)]
    if due:
        return [Check("sessions", "warn", f"due and unclaimed: {few(due)}")]
    return [Check("sessions", "ok", f"{len(rows):,} open, {len(busy):,} with something to do")]


def workers_check(workers: Sequence[WorkerRecord], waiting: int) -> Check:
    if workers:
        names = ", ".join(worker.owner for worker in workers[:5])
        return Check("workers", "ok", f"{out.count_of(len(workers), 'live worker')}: {names}")
    if waiting:
        left = out.count_of(waiting, "process is", "processes are")
        return Check("workers", "warn", f"no worker is alive, and {left} not finished: lash worker TARGET")
    return Check("workers", "ok", "none alive, and nothing to do")


def overdue(row: ProcessRow, now_ms: int) -> bool:
    at_ms = row.until_ms if row.owner is not None else row.due_ms
    return at_ms is not None and at_ms < now_ms - OVERDUE_MS


def cancel_is_stuck(row: ProcessRow, now_ms: int) -> bool:
    request = row.record.cancel_requested
    return request is not None and request.at_ms < now_ms - 2 * CANCEL_GRACE_MS


def few(rows: Sequence[ProcessRow]) -> str:
    """Some ids, and how many there are."""
    names = ", ".join(row.record.id for row in rows[:3])
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"{names}{more} (lash explain says why)" if rows else "none"
