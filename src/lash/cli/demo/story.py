"""What happens in the demo, in order: two workers begin, one is killed, another is stopped past its lease.

Every number told at the end is measured here or read from the store afterwards (``reckoning.py``). The story waits for
facts, never for a guess: a worker is killed while it holds work, the zombie is continued once its work has been taken
over, and the whole ends when the report has its outcome, or at a hard deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from lash.abc.store import Append, ProcessFilter, Stale
from lash.cli.demo.app import Setting, build_app
from lash.cli.demo.crew import Crew, Member
from lash.cli.demo.plan import Plan
from lash.core import codec
from lash.core.lease import Fence
from lash.core.outcome import Status
from lash.core.process import ProcessRow
from lash.core.schedule import show_ms
from lash.errors import LashError
from lash.limits import PAGE_ROWS_MAX
from lash.runtime.runtime import Runtime

TICK_S: Final = 0.2
KILL_AT: Final = 0.22
"""Share of the files done when the first worker is killed."""
STOP_AT: Final = 0.5
"""Share of the files done when another one is stopped."""
LOCK_FREE_S: Final = 0.5
"""A stopped worker that holds the write lock would stop everybody: another moment is looked for then."""
STOP_TRIES: Final = 25
PAST_S: Final = 0.5
"""Beyond its lease, the least a zombie sleeps."""
GIVE_UP_S: Final = 5.0
"""Beyond the lease, the longest it sleeps when not all of its work is taken over (there was less work than workers)."""
WHOLE: Final = 2.0
"""A share that is never reached: until the report has ended."""


class DemoFailed(LashError):
    """The demo could not be brought to its end; what it started is gone."""

    code = "demo_failed"


@dataclass(slots=True)
class Kill:
    """A worker killed while it held work."""

    member: Member
    owner: str
    at_ms: int
    held: list[str]


@dataclass(slots=True)
class Zombie:
    """A worker stopped past its lease while it held work, and continued."""

    member: Member
    owner: str
    at_ms: int
    held: dict[str, Fence]
    taken_over: dict[str, int] = field(default_factory=dict[str, int])
    """Process → milliseconds after the stop at which somebody else was seen to have it, or to have ended it."""
    continued_ms: int = 0
    presented: int = 0
    """Writes tried with its tokens after the take-over."""
    refused: int = 0


@dataclass(slots=True)
class Progress:
    """What a view shows."""

    done: int = 0
    total: int = 0
    under_way: int = 0
    held: dict[int, int] = field(default_factory=dict[int, int])
    """Processes by pid of the worker that holds them."""


class Story:
    """``tell`` is called with each thing that happens, ``show`` a few times a second."""

    def __init__(
        self, plan: Plan, setting: Setting, crew: Crew, tell: Callable[[str], None], show: Callable[[Progress], None]
    ):
        self.plan = plan
        self.crew = crew
        self.tell = tell
        self.show = show
        self.app: Runtime = build_app(setting, worker=False)
        self.report_id = setting.profile
        self.progress = Progress(total=len(plan.names))
        self.kill: Kill | None = None
        self.zombie: Zombie | None = None
        self.ended_before = 0
        self.over = asyncio.Event()
        """The report has its outcome."""
        self.began = time.monotonic()

    async def run(self) -> None:
        """Until the report has its outcome and every worker has drained. Raises ``DemoFailed``."""
        try:
            async with asyncio.timeout(self.plan.deadline_s):
                await self._run()
        except TimeoutError:
            done = f"{self.progress.done} of {self.progress.total} files were done"
            raise DemoFailed(
                f"The demo was given up after {self.plan.deadline_s:.0f} s; {done}. Look into the database and the "
                "workers' log named above."
            ) from None
        finally:
            self.crew.destroy()

    async def _run(self) -> None:
        process = next(item for item in self.app.registered if item.name == "report")
        self.ended_before = await self._ended()
        call = process.call(self.plan.names, self.plan.nap_ms, self.plan.window).options(id=self.report_id)
        await self.app.start_many([call])
        self.tell("The report is started: one row on disk, and no worker yet.")
        first, second = self.crew.start(), self.crew.start()
        self.tell(f"{first.label} (pid {first.pid}) and {second.label} (pid {second.pid}) begin.")
        report = asyncio.create_task(self._await_report())
        try:
            await self._until(KILL_AT)
            await self._kill_one()
            await self._until(STOP_AT)
            await self._stop_one()
            await self._until(WHOLE)
            await report
        finally:
            report.cancel()
        self.tell("The report is finished; the workers drain.")
        for member in await self.crew.dismiss():
            self.tell(f"{member.label} did not drain and was killed.")
            member.fate += ", did not drain"

    async def _await_report(self) -> None:
        try:
            await self.app.hub.outcome(self.report_id)
        finally:
            self.over.set()

    async def _pause(self, seconds: float) -> None:
        """Shorter when the report ends meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            pass

    # Looking -----------------------------------------------------------------------------------------------------

    async def _until(self, share: float) -> None:
        """Until that share of the files is done, or the report has ended."""
        while not self.over.is_set() and self.progress.done < share * self.progress.total:
            self._check_crew()
            await self._pause(TICK_S)
            await self._look()

    def _check_crew(self) -> None:
        for member in self.crew.members:
            if not member.alive and not member.fate.startswith("killed"):
                raise DemoFailed(f"{member.label} ended by itself with exit code {member.process.returncode}.")

    async def _look(self) -> None:
        """Count what is done and who holds what."""
        rows = await self._running()
        pids = await self._pids()
        progress = self.progress
        progress.held = {}
        for row in rows:
            if row.owner in pids:
                pid = pids[row.owner]
                progress.held[pid] = progress.held.get(pid, 0) + 1
        ids = {row.record.id for row in rows}
        progress.under_way = len(ids - {self.report_id})
        progress.done = max(progress.done, await self._ended() - self.ended_before - (self.report_id not in ids))
        self.crew.read_counters()
        self.show(progress)

    async def _running(self) -> list[ProcessRow]:
        """The report and those of its children that have not ended."""
        page = ProcessFilter(Status.RUNNING, parent=self.report_id, limit=PAGE_ROWS_MAX)
        rows = await self.app.store.page(page)
        (report,) = await self.app.store.get((self.report_id,))
        if isinstance(report, ProcessRow) and not report.record.status.final:
            rows.append(report)
        return rows

    async def _ended(self) -> int:
        """Processes of this database that have an outcome, ours and others."""
        counts = await self.app.store.counts()
        return sum(number for status, number in counts.items() if status != Status.RUNNING.value)

    async def _pids(self) -> dict[str, int]:
        """Pid by owner, of the live workers."""
        found: dict[str, int] = {}
        for worker in await self.app.store.workers():
            pid = codec.decode_object(worker.about).get("pid")
            if isinstance(pid, int):
                found[worker.owner] = pid
        return found

    async def _busiest(self) -> tuple[Member, str] | None:
        """The worker that holds most, with its owner id."""
        pids = await self._pids()
        held: dict[str, int] = {}
        for row in await self._running():
            if row.owner in pids:
                held[row.owner] = held.get(row.owner, 0) + 1
        for owner in sorted(held, key=lambda name: -held[name]):
            member = self.crew.of_pid(pids[owner])
            if member is not None and member.alive:
                return member, owner
        return None

    # The first crash ---------------------------------------------------------------------------------------------

    async def _kill_one(self) -> None:
        found = None
        while found is None:
            if self.over.is_set():
                return
            await self._pause(TICK_S / 4)
            found = await self._busiest()
        member, owner = found
        at_ms = self.app.store.now_ms()
        self.crew.kill(member)
        held = [row.record.id for row in await self._running() if row.owner == owner]
        self.kill = Kill(member, owner, at_ms, held)
        self.tell(f"{member.label} is killed with SIGKILL; it held {len(held)} processes.")
        other = self.crew.start()
        self.tell(f"{other.label} (pid {other.pid}) begins in its place.")

    # The zombie --------------------------------------------------------------------------------------------------

    async def _stop_one(self) -> None:
        zombie = await self._stop_with_work()
        if zombie is None:
            return
        self.zombie = zombie
        ttl = show_ms(self.plan.ttl_ms)
        self.tell(
            f"{zombie.member.label} is stopped with SIGSTOP; it holds {len(zombie.held)} processes for {ttl} more."
        )
        began = time.monotonic()
        ttl_s = self.plan.ttl_ms / 1_000
        while time.monotonic() - began < ttl_s + (PAST_S if len(zombie.taken_over) == len(zombie.held) else GIVE_UP_S):
            await asyncio.sleep(TICK_S / 2)
            await self._note_taken_over(zombie)
            await self._look()
        await self._present_tokens(zombie)
        self.crew.cont(zombie.member)
        zombie.continued_ms = self.app.store.now_ms()
        slept = show_ms(zombie.continued_ms - zombie.at_ms)
        self.tell(
            f"{zombie.member.label} is continued after {slept}: a zombie. {len(zombie.taken_over)} of its processes "
            "have gone on elsewhere."
        )

    async def _stop_with_work(self) -> Zombie | None:
        """Stop a worker that holds work and does not hold the write lock; None when the work is done before."""
        for _ in range(STOP_TRIES):
            found = await self._busiest()
            if self.over.is_set():
                return None
            if found is None:
                await self._pause(TICK_S / 4)
                continue
            member, owner = found
            at_ms = self.app.store.now_ms()
            self.crew.stop(member)
            held = {row.record.id: Fence(row.row, row.token) for row in await self._running() if row.owner == owner}
            if held and await self._others_can_write():
                return Zombie(member, owner, at_ms, held)
            self.crew.cont(member)
            member.fate = "serving"
            await asyncio.sleep(0.03)
        return None

    async def _others_can_write(self) -> bool:
        """A write that changes nothing: the report is held by a worker, or due anyway."""
        try:
            async with asyncio.timeout(LOCK_FREE_S):
                await self.app.retry(self.report_id)
        except TimeoutError:
            return False
        return True

    async def _note_taken_over(self, zombie: Zombie) -> None:
        now_ms = self.app.store.now_ms()
        for row in await self.app.store.get(list(zombie.held)):
            if isinstance(row, ProcessRow) and row.owner != zombie.owner and row.record.id not in zombie.taken_over:
                zombie.taken_over[row.record.id] = now_ms - zombie.at_ms

    async def _present_tokens(self, zombie: Zombie) -> None:
        """What the zombie would write: an event under the token it still believes in. Each must be refused."""
        for process_id in zombie.taken_over:
            verdict = await self.app.write(Append(zombie.held[process_id], "demo.late", b"{}", None))
            zombie.presented += 1
            zombie.refused += isinstance(verdict, Stale)
