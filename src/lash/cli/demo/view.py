"""The demo as people see it: live on a terminal, plain lines elsewhere, and a table at the end.

A view only shows; whatever it is told has happened already.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Final, Protocol

from lash.cli import output as out
from lash.cli.demo.crew import Crew
from lash.cli.demo.plan import Plan
from lash.cli.demo.reckoning import Reckoning
from lash.cli.demo.story import Progress, Story
from lash.core.schedule import show_ms

PLAIN_S: Final = 2.0
"""Between two lines of progress where there is no terminal."""
BAR_CHARS: Final = 40
FATE_STYLES: Final = {"serving": "green", "killed": "red", "stopped": "yellow", "zombie": "magenta"}


class View(Protocol):
    """Between ``open`` and ``close`` it may be told and shown things."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def tell(self, text: str) -> None: ...

    def show(self, progress: Progress) -> None: ...


class PlainView:
    """Lines on stderr when JSON is wanted on stdout, else on stdout."""

    def __init__(self, crew: Crew, as_json: bool) -> None:
        self.crew = crew
        self.began = time.monotonic()
        self.shown = 0.0
        self.stream = sys.stderr if as_json else sys.stdout

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def tell(self, text: str) -> None:
        stamp = f"{time.monotonic() - self.began:5.1f}s"
        print(f"{stamp}  {out.clean(text)}", file=self.stream, flush=True)

    def show(self, progress: Progress) -> None:
        if time.monotonic() - self.shown < PLAIN_S:
            return
        self.shown = time.monotonic()
        held = ", ".join(
            f"{member.label} {member.fate.split(' ')[0]} holds {progress.held.get(member.pid, 0)}"
            for member in self.crew.members
            if member.alive
        )
        self.tell(f"{progress.done:,} of {progress.total:,} files done; {held}")


class LiveView:
    """A few lines redrawn in place, and what happened above them."""

    def __init__(self, crew: Crew) -> None:
        from rich.console import Console
        from rich.live import Live

        self.crew = crew
        self.began = time.monotonic()
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.live: Any = Live(console=self.console, refresh_per_second=8, transient=True)

    def open(self) -> None:
        self.live.start()

    def close(self) -> None:
        self.live.stop()

    def tell(self, text: str) -> None:
        from rich.text import Text

        stamp = (f"{time.monotonic() - self.began:5.1f}s  ", "dim")
        self.console.print(Text.assemble(stamp, out.clean(text)))

    def show(self, progress: Progress) -> None:
        from rich.text import Text

        share = progress.done / max(1, progress.total)
        full = int(share * BAR_CHARS)
        lines = Text()
        lines.append("━" * full, "green")
        lines.append("━" * (BAR_CHARS - full), "dim")
        lines.append(f" {progress.done:,} of {progress.total:,} files, {progress.under_way} under way\n")
        for member in self.crew.members:
            style = FATE_STYLES.get(member.fate.split(" ")[0], "")
            held = progress.held.get(member.pid, 0)
            performed = member.counters.get("performed_steps", 0)
            lines.append(f"  {member.label}  pid {member.pid:<8} ", "bold")
            lines.append(f"{member.fate:<32}", style)
            lines.append(f" holds {held:>3}   {performed:>6,} steps performed\n")
        self.live.update(lines)


def view_for(crew: Crew, as_json: bool) -> View:
    return LiveView(crew) if out.on_terminal() and not as_json else PlainView(crew, as_json)


# Before and after --------------------------------------------------------------------------------------------------


def say_plan(plan: Plan, tell: Any) -> None:
    """Which files, and how many were left out."""
    taken = (
        f"{len(plan.names):,} of {plan.found:,} files" if len(plan.names) < plan.found else f"all {plan.found:,} files"
    )
    over = f", {plan.passed_over} passed over as too large, empty or unreadable" if plan.passed_over else ""
    tell(f"{taken} of {plan.folder} are taken{over}.")


def say_reckoning(found: Reckoning, story: Story) -> None:
    """The table of what happened."""
    seconds = time.monotonic() - story.began
    out.heading(f"What happened, in {seconds:.1f} s")
    out.facts(table_of(found, story))
    out.heading("Checks")
    for check in found.checks:
        out.say(f"{'ok  ' if check.good else 'FAIL'}  {check.words}", "green" if check.good else "bold red")
    if found.report is not None:
        totals = found.report
        out.say()
        longest = totals.longest if len(totals.longest) <= 60 else totals.longest[:59] + "…"
        out.say(
            f"Report: {totals.files:,} files, {totals.words:,} words, {totals.lines:,} lines; longest word {longest}"
        )


def table_of(found: Reckoning, story: Story) -> list[tuple[str, out.Cell | None]]:
    twice = f"{found.performed_twice} (at most {found.in_flight_at_most} were in flight where a worker lost its work)"
    return [
        ("processes finished", f"{found.completed:,} of {found.files:,} files, and the report"),
        (
            "steps recorded",
            f"{found.steps_recorded:,}, each once; {found.attempts_retried} attempts failed and were retried",
        ),
        ("steps performed", f"{found.steps_performed:,}, by the ledger outside"),
        ("effects replayed", f"{found.replayed:,} heard again from the journal, not performed again"),
        ("performed twice", twice),
        ("parked and resumed", f"{found.parked:,} times, holding no worker meanwhile"),
        ("lost by lateness", lateness_words(found)),
        ("take-over", takeover_words(found, story)),
        ("the zombie", zombie_words(found, story)),
        ("refused to it", refused_words(found, story)),
    ]


def lateness_words(found: Reckoning) -> str | None:
    if not found.others_leases_lost:
        return None
    return f"{found.others_leases_lost} leases nobody meant to lose: this machine was too busy to renew them in time"


def takeover_words(found: Reckoning, story: Story) -> str:
    if story.kill is None:
        return "nothing was killed: the work was done before"
    held = f"{story.kill.member.label} held {len(story.kill.held)} processes when it was killed"
    if not found.takeover_ms:
        return f"{held}, and none of them needed a new owner"
    first, last = show_ms(found.takeover_ms[0]), show_ms(found.takeover_ms[-1])
    return f"{held}; they went on after {first}" + (f" to {last}" if last != first else "")


def zombie_words(found: Reckoning, story: Story) -> str:
    zombie = story.zombie
    if zombie is None:
        return "nothing was stopped: the work was done before"
    slept = show_ms(zombie.continued_ms - zombie.at_ms)
    return (
        f"{zombie.member.label} held {len(zombie.held)} processes, slept {slept}; {len(zombie.taken_over)} of them "
        f"went on elsewhere; on waking it let go of {found.zombie_leases_lost} and worked on"
    )


def refused_words(found: Reckoning, story: Story) -> str | None:
    zombie = story.zombie
    if zombie is None:
        return None
    own = f"{found.zombie_refused_writes} late writes of its own"
    return f"{own}; and {zombie.refused} of {zombie.presented} writes made with its old tokens"
