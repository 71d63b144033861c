"""Which file performs which operation. The commonest come first."""

from __future__ import annotations

from typing import assert_never

from lash.abc import store as ops
from lash.abc.sessions import CancelTurn, Commit, Delete, Open, Post, SessionOp, Stream, Take
from lash.abc.store import Op, Verdict
from lash.stores.sql import endings, events, journal, leases, processes, sessions, workers
from lash.stores.sql.transaction import Transaction


def perform(tx: Transaction, op: Op) -> Verdict:
    """One operation within the transaction at hand."""
    match op:
        case ops.Put():
            return journal.put(tx, op)
        case ops.Finish():
            return endings.finish(tx, op)
        case ops.Start():
            return processes.start(tx, op)
        case ops.Claim():
            return leases.claim(tx, op)
        case ops.Park():
            return leases.park(tx, op)
        case ops.Look():
            return journal.look(tx, op)
        case ops.Signal():
            return events.signal(tx, op)
        case ops.Append():
            return events.append(tx, op)
        case ops.Renew():
            return leases.renew(tx, op)
        case ops.Release():
            return leases.release(tx, op)
        case ops.Progress():
            return leases.progress(tx, op)
        case ops.Cancel():
            return processes.cancel(tx, op)
        case ops.Close():
            return endings.close(tx, op)
        case ops.Continue():
            return processes.continue_as_new(tx, op)
        case ops.Forget():
            return journal.forget(tx, op)
        case ops.Retry():
            return processes.retry(tx, op)
        case ops.Unblock():
            return processes.unblock(tx, op)
        case ops.Expire():
            return leases.expire(tx, op)
        case ops.Sweep():
            return endings.sweep(tx, op)
        case ops.Enlist():
            return workers.enlist(tx, op)
        case ops.Discharge():
            return workers.discharge(tx, op)
        case ops.Prune():
            return endings.prune(tx, op)
        case _:
            return perform_session(tx, op)


def perform_session(tx: Transaction, op: SessionOp) -> Verdict:
    match op:
        case Take():
            return sessions.take(tx, op)
        case Commit():
            return sessions.commit(tx, op)
        case Post():
            return sessions.post(tx, op)
        case Stream():
            return sessions.stream(tx, op)
        case Open():
            return sessions.open_session(tx, op)
        case CancelTurn():
            return sessions.cancel_turn(tx, op)
        case Delete():
            return sessions.delete(tx, op)
        case _:
            assert_never(op)
