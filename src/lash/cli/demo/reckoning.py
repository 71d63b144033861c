"""The reckoning: what the store recorded, what the ledger saw, and whether the two and the report agree.

Nothing here asks the workers what they think they did, but for the counters named as theirs. A check that fails makes
the demo fail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lash.abc.store import ProcessFilter
from lash.cli.demo.analysis import PARTS_MAX, Totals, directly
from lash.cli.demo.crew import Member
from lash.cli.demo.plan import stamp_of
from lash.cli.demo.story import Story
from lash.cli.documents import Document, object_in
from lash.core import codec, event as ev
from lash.core.effect import Entry, EntryKind
from lash.core.event import Event
from lash.core.ids import effect_key
from lash.core.outcome import Completed
from lash.core.process import ProcessRow, fold
from lash.errors import ProcessUnknown
from lash.limits import PAGE_ROWS_MAX
from lash.runtime.runtime import Runtime

IN_FLIGHT_MAX: Final = PARTS_MAX
"""Steps of one file under way at once: its parts are analysed together."""


@dataclass(frozen=True, slots=True)
class Held:
    """One check: what should be so, and whether it is."""

    words: str
    good: bool


@dataclass(frozen=True, slots=True)
class Life:
    """Everything the store keeps of one process."""

    row: ProcessRow
    events: Sequence[Event]
    entries: Sequence[Entry]


@dataclass(slots=True)
class Ledger:
    """The side file: who performed what."""

    lines: int = 0
    pids: dict[tuple[str, int], list[int]] = field(default_factory=dict[tuple[str, int], list[int]])
    """By idempotency key and attempt: the Python processes that performed it, in order."""

    @property
    def repeated(self) -> dict[tuple[str, int], list[int]]:
        return {key: pids for key, pids in self.pids.items() if len(pids) > 1}


@dataclass(slots=True)
class Reckoning:
    """What the demo's table shows."""

    report: Totals | None
    direct: Totals
    files: int
    completed: int
    steps_recorded: int
    attempts_retried: int
    steps_performed: int
    performed_twice: int
    in_flight_at_most: int
    replayed: int
    parked: int
    takeover_ms: list[int]
    """For each process the killed worker held and that had not ended: until another one had it."""
    zombie_refused_writes: int
    zombie_leases_lost: int
    others_leases_lost: int
    """By workers nobody killed or stopped: the machine was too busy to renew them."""
    checks: list[Held]

    @property
    def good(self) -> bool:
        return all(check.good for check in self.checks)


async def reckon(story: Story, ledger_path: Path) -> Reckoning:
    """Read everything back and compare."""
    app = story.app
    report = await life_of(app, story.report_id)
    lives = [await life_of(app, row.record.id) for row in await children_of(app, story.report_id)]
    ledger = read_ledger(ledger_path)
    story.crew.read_counters()
    direct = directly(story.plan.folder, story.plan.names)
    steps = [entry for life in lives for entry in life.entries if entry.kind is EntryKind.STEP]
    zombie = story.zombie.member.counters if story.zombie is not None else {}
    found = Reckoning(
        report=totals_of(report.row),
        direct=direct,
        files=len(story.plan.names),
        completed=sum(isinstance(life.row.record.outcome, Completed) for life in lives),
        steps_recorded=len(steps),
        attempts_retried=sum(entry.kind is EntryKind.ATTEMPT for life in lives for entry in life.entries),
        steps_performed=ledger.lines,
        performed_twice=sum(len(pids) - 1 for pids in ledger.repeated.values()),
        in_flight_at_most=in_flight_at_most(story),
        replayed=sum(member.counters.get("replayed_effects", 0) for member in story.crew.members),
        parked=sum(member.counters.get("parked", 0) for member in story.crew.members),
        takeover_ms=takeover_times(story, [report, *lives]),
        zombie_refused_writes=zombie.get("refused_writes", 0),
        zombie_leases_lost=zombie.get("leases_lost", 0),
        others_leases_lost=sum(leases_lost(item) for item in story.crew.members if item.fate == "serving"),
        checks=[],
    )
    found.checks = checks_of(story, found, [report, *lives], ledger)
    return found


# Reading back ------------------------------------------------------------------------------------------------------


async def children_of(app: Runtime, parent: str) -> list[ProcessRow]:
    rows: list[ProcessRow] = []
    while True:
        after = rows[-1].record.id if rows else None
        page = await app.store.page(ProcessFilter(parent=parent, after=after, limit=PAGE_ROWS_MAX))
        rows += page
        if len(page) < PAGE_ROWS_MAX:
            return rows


async def life_of(app: Runtime, process_id: str) -> Life:
    (row,) = await app.store.get((process_id,))
    if not isinstance(row, ProcessRow):
        raise ProcessUnknown(f"The demo's process {process_id!r} is gone.", process_id=process_id)
    events: list[Event] = []
    while len(events) < row.record.last_event:
        page = await app.store.events(process_id, len(events), PAGE_ROWS_MAX)
        if not page:
            break
        events += page
    return Life(row, events, await app.store.history(row.row, 0))


def totals_of(row: ProcessRow) -> Totals | None:
    outcome = row.record.outcome
    if not isinstance(outcome, Completed):
        return None
    value = object_in(codec.decode(outcome.value)) or {}
    return Totals(**value)  # type: ignore[arg-type]  # what another version wrote shows as a difference


def read_ledger(path: Path) -> Ledger:
    found = Ledger()
    for line in path.read_text().splitlines() if path.exists() else ():
        key, attempt, pid = line.rsplit(" ", 2)
        found.lines += 1
        found.pids.setdefault((key, int(attempt)), []).append(int(pid))
    return found


# Judging -----------------------------------------------------------------------------------------------------------


def in_flight_at_most(story: Story) -> int:
    """Steps that may have been performed and not recorded when a worker was killed, or lost its leases."""
    held = len(story.kill.held) if story.kill else 0
    return (held + sum(leases_lost(member) for member in story.crew.members)) * IN_FLIGHT_MAX


def leases_lost(member: Member) -> int:
    """By being stopped; or on a machine so busy that they could not be renewed in time."""
    return member.counters.get("leases_lost", 0)


def takeover_times(story: Story, lives: Sequence[Life]) -> list[int]:
    """From the kill to the next start of each process the killed worker held."""
    if story.kill is None:
        return []
    held, found = set(story.kill.held), list[int]()
    for life in lives:
        if life.row.record.id in held:
            later = (event for event in life.events if event.type == ev.STARTED and event.at_ms >= story.kill.at_ms)
            for event in later:
                if codec.decode_object(event.payload).get("owner") != story.kill.owner:
                    found.append(event.at_ms - story.kill.at_ms)
                    break
    return sorted(found)


def checks_of(story: Story, found: Reckoning, lives: Sequence[Life], ledger: Ledger) -> list[Held]:
    crashed = {member.pid for member in story.crew.members if leases_lost(member) or member.fate != "serving"}
    by_crash = all(sum(pid not in crashed for pid in pids) <= 1 for pids in ledger.repeated.values())
    recorded = [
        (effect_key(life.row.record.id, entry.ordinal), entry.attempt) for life in lives for entry in steps_of(life)
    ]
    terminal = [sum(event.type in ev.STATUS_OF for event in life.events) for life in lives]
    folded = all(
        fold(life.row.record.spec, life.row.record.created_ms, life.events) == life.row.record for life in lives
    )
    now = [stamp_of(story.plan.folder / name) for name in story.plan.names]
    changed = sum(before != after for before, after in zip(story.plan.stamps, now, strict=True))
    meanwhile = f" ({changed} of the files changed meanwhile)" if changed else ""
    checks = [
        Held(f"the report equals the one computed directly, without lash{meanwhile}", found.report == found.direct),
        Held(
            f"all {found.files:,} files are in it, each process with exactly one outcome", lost_nothing(found, terminal)
        ),
        Held("every recorded step was performed, and none is recorded twice", once_each(recorded, ledger)),
        Held("steps were performed twice only where a worker was killed or lost its leases", by_crash),
        Held("and no more of them than were in flight there", found.performed_twice <= found.in_flight_at_most),
        Held("every record equals the fold of its events", folded),
    ]
    if story.kill is not None:
        every = len(found.takeover_ms) == len(story.kill.held)
        checks.append(Held("every process the killed worker held went on elsewhere", every))
    if story.zombie is not None:
        zombie = story.zombie
        every = zombie.presented == zombie.refused
        checks.append(Held("every write under a token of the zombie was refused", every and zombie.presented > 0))
    return checks


def steps_of(life: Life) -> list[Entry]:
    return [entry for entry in life.entries if entry.kind is EntryKind.STEP]


def lost_nothing(found: Reckoning, terminal: Sequence[int]) -> bool:
    return (
        found.completed == found.files and all(number == 1 for number in terminal) and len(terminal) == found.files + 1
    )


def once_each(recorded: Sequence[tuple[str, int]], ledger: Ledger) -> bool:
    return max(Counter(recorded).values(), default=0) == 1 and all(key in ledger.pids for key in recorded)


def reckoning_document(found: Reckoning, story: Story) -> Document:
    """For ``--json``."""
    kill, zombie = story.kill, story.zombie
    return {
        "ok": found.good,
        "files": found.files,
        "completed": found.completed,
        "steps_recorded": found.steps_recorded,
        "steps_performed": found.steps_performed,
        "attempts_retried": found.attempts_retried,
        "others_leases_lost": found.others_leases_lost,
        "performed_twice": found.performed_twice,
        "in_flight_at_most": found.in_flight_at_most,
        "replayed_effects": found.replayed,
        "parked": found.parked,
        "report": totals_document(found.report),
        "direct": totals_document(found.direct),
        "kill": None
        if kill is None
        else {"pid": kill.member.pid, "held": len(kill.held), "takeover_ms": found.takeover_ms},
        "zombie": None
        if zombie is None
        else {
            "pid": zombie.member.pid,
            "held": len(zombie.held),
            "taken_over": len(zombie.taken_over),
            "stopped_ms": zombie.continued_ms - zombie.at_ms,
            "tokens_presented": zombie.presented,
            "tokens_refused": zombie.refused,
            "refused_writes": found.zombie_refused_writes,
            "leases_lost": found.zombie_leases_lost,
        },
        "checks": [{"words": check.words, "ok": check.good} for check in found.checks],
    }


def totals_document(totals: Totals | None) -> Document | None:
    if totals is None:
        return None
    return {name: getattr(totals, name) for name in ("files", "words", "lines", "longest", "digest")}
