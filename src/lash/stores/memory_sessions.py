"""The specification of sessions: what each operation of :mod:`lash.abc.sessions` does, over plain dicts.

What belongs to the row (lease, journal, events, due time) is moved by :class:`Tables`, as for every process.
"""

from __future__ import annotations

from collections.abc import Sequence

from lash.abc import sessions as ops
from lash.abc.sessions import (
    Begun,
    Committed,
    HeadMoved,
    ItemConflict,
    Late,
    NoNode,
    Piece,
    Posted,
    SessionOp,
    SessionVerdict,
    TurnConflict,
    Withdrawn,
)  # fmt: skip
from lash.abc.store import Conflict, Count, Done, Ended, Recorded, Stale, Started, Unknown
from lash.core import event as ev
from lash.core.effect import Entry, EntryKind
from lash.core.outcome import Cancelled
from lash.core.process import ProcessSpec, Tombstone, lane_of, new_record
from lash.core.session import (
    ID_PREFIX,
    ITEM_OVER,
    Item,
    NewItem,
    Node,
    SessionRow,
    TurnRecord,
    item_hash,
    item_of_turn_key,
    session_id_of,
    taken_payload,
    turn_key,
)
from lash.stores import facts
from lash.stores.memory_chats import Chat
from lash.stores.memory_tables import Held, Tables


def perform_session(t: Tables, op: SessionOp) -> SessionVerdict | Started | Conflict | Unknown | Ended | Recorded | (
    Stale | Done | Count
):  # fmt: skip
    """One session operation within the transaction at hand."""
    match op:
        case ops.Open():
            return open_session(t, op)
        case ops.Post():
            return post(t, op)
        case ops.Commit():
            return commit(t, op)
        case ops.CancelTurn():
            return cancel_turn(t, op)
        case ops.Delete():
            return delete(t, op)
        case ops.Take() | ops.Stream():
            held = t.holder(op.fence)
            if held is None or held.row not in t.sessions.chats:
                return Stale(t.token_of(op.fence) if held is None else 0)
            return take(t, held, op) if isinstance(op, ops.Take) else stream(t, held, op)


def owner_over(t: Tables, spec: ProcessSpec) -> Ended | Unknown | None:
    """Why nothing may be started any more for the session that would own it."""
    if spec.detached or spec.parent is None or not spec.parent.startswith(ID_PREFIX):
        return None
    held = t.processes.get(spec.parent)
    if held is None:
        return Unknown(True) if spec.parent in t.tombstones else None
    return None if held.record.outcome is None else Ended(held.record.outcome)


def open_session(t: Tables, op: ops.Open) -> Started | Conflict | Unknown | NoNode | Ended:
    spec = op.spec
    if (held := t.processes.get(spec.id)) is not None:
        there = held.record.spec
        if there.definition != spec.definition:
            return Conflict(there.definition, there.kind, there.name)
        return Started(held.row, held.record.status, created=False, claimed=None)
    if (tombstone := t.tombstones.get(spec.id)) is not None:
        return Started(0, tombstone.status, created=False, claimed=None, pruned=True)
    if (over := owner_over(t, spec)) is not None:
        return over
    base_row = frame = 0
    if op.base is not None:
        base = t.processes.get(op.base)
        if base is None or base.row not in t.sessions.chats:
            return Unknown(op.base in t.tombstones)
        head = t.sessions.chats[base.row].head
        if not 0 <= op.base_node <= head:
            return NoNode(head)
        base_row = t.sessions.owner_of(base.row, op.base_node) if op.base_node else 0
        shared = t.sessions.path(base.row, 0, op.base_node)
        frame = max((node.number for node in shared if node.kind == "frame"), default=0)
    t.last_row += 1
    held = Held(t.last_row, new_record(spec, t.now_ms), lane_of(spec))
    t.processes[spec.id] = t.rows[held.row] = held
    if spec.parent is not None:
        t.children.setdefault(spec.parent, []).append(held)
    t.sessions.chats[held.row] = Chat(held.row, op.base_node, frame)
    t.sessions.bases[held.row] = (base_row, op.base_node)
    t.sessions.nodes[held.row] = []
    t.sessions.ids[held.row] = spec.id
    return Started(held.row, held.record.status, created=True, claimed=None)


# The inbox ---------------------------------------------------------------------------------------------------------


def post(t: Tables, op: ops.Post) -> Posted | ItemConflict | Ended | Unknown:
    held = t.processes.get(op.process_id)
    chat = None if held is None else t.sessions.chats.get(held.row)
    if held is None or chat is None:
        return Unknown(op.process_id in t.tombstones)
    if op.item.key is not None and (known := chat.keyed.get(op.item.key)) is not None:
        item = chat.items[known[0] - 1]
        same = known[1] == item_hash(op.item.kind, op.item.payload)
        return Posted(item, new=False) if same else ItemConflict(item)
    if held.record.outcome is not None:
        return Ended(held.record.outcome)
    item = accept(t, chat, op.item)
    if not t.at_rest(held):
        return Posted(item, new=True)
    if op.owner is None:
        t.make_due(held)
        return Posted(item, new=True)
    claimed = t.lease(held, op.owner, op.ttl_ms)
    if op.entry is None:
        return Posted(item, new=True, claimed=claimed)
    (entry,) = take(t, held, ops.Take(claimed.lease.fence, 0, op.entry, 0, False)).entries
    return Posted(item, new=True, claimed=claimed, begun=Begun(entry, chat.head))


def accept(t: Tables, chat: Chat, new: NewItem) -> Item:
    number = len(chat.items) + 1
    item = Item(number, new.kind, new.delivery, new.payload, new.key, "pending", 0, t.now_ms)
    chat.items.append(item)
    if new.key is not None:
        chat.keyed[new.key] = (number, item_hash(new.kind, new.payload))
    return item


def take(t: Tables, held: Held, op: ops.Take) -> Recorded:
    chat = t.sessions.chats[held.row]
    if facts.identity(op.entry) not in {facts.identity(entry) for entry in held.after(op.seen)}:
        pending = chat.in_state("pending")
        chosen = [item for item in pending if item.delivery == "earliest_boundary"]
        if op.turn and not any(item.turn == op.turn for item in chat.in_state("taken")):
            chosen = []  # no such turn is at work
        if not op.turn and (taken := chat.in_state("taken")):
            chosen = taken  # by an earlier try of this turn, whose journal was cut
        elif not op.boundary and pending and pending[0].delivery == "next_turn":
            chosen = pending[:1]
        turn = op.turn or (chosen[0].turn or chosen[0].number if chosen else 0)
        for item in chosen:
            chat.items[item.number - 1] = item._replace(state="taken", turn=turn)
        t.note(held, op.entry._replace(payload=taken_payload(chosen)))
    held.news = False
    return Recorded(held.after(op.seen))


def is_quiet(t: Tables, held: Held) -> bool:
    """Whether nothing waits for the earliest boundary."""
    chat = t.sessions.chats.get(held.row)
    return chat is not None and not any(item.delivery == "earliest_boundary" for item in chat.in_state("pending"))


def cancel_turn(t: Tables, op: ops.CancelTurn) -> Done | Withdrawn | Late | Ended | Unknown:
    held = t.processes.get(op.process_id)
    chat = None if held is None else t.sessions.chats.get(held.row)
    if held is None or chat is None:
        return Unknown(op.process_id in t.tombstones)
    if op.item is None:
        taken = chat.in_state("taken")
        if not taken:
            return Ended(held.record.outcome) if held.record.outcome is not None else Late(None)
        item = taken[0]
    elif 1 <= op.item <= len(chat.items):
        item = chat.items[op.item - 1]
    else:
        return Late(None)
    if item.state in ITEM_OVER:
        return Late(chat.turns[item.turn])
    if held.record.outcome is not None:
        return Ended(held.record.outcome)
    if item.state == "taken":
        if not any(entry.kind is EntryKind.CANCEL for entry in held.entries):
            t.deliver(held, Entry(EntryKind.CANCEL, 0, payload=facts.cancel(op.reason)))
        return Done()
    record = TurnRecord(item.number, "", chat.head + 1, chat.head, op.receipt, t.now_ms)
    chat.turns[item.number] = record
    chat.items[item.number - 1] = item._replace(state="cancelled", turn=item.number, payload=b"")
    t.stirred = True
    answer(t, held, [item.number], op.receipt)
    if held.owner is None and held.record.waiting is None and not chat.in_state("pending", "taken"):
        rest(t, held)
    return Withdrawn(record)


def rest(t: Tables, held: Held) -> None:
    """Nothing is left to do: idle, or ended where that was asked for."""
    request = held.record.cancel_requested
    if request is not None:
        t.end(held, Cancelled(request.reason))
    elif held.owner is not None:
        t.give_back(held, None)
    else:
        t.place(held)


# Turns -------------------------------------------------------------------------------------------------------------


def commit(t: Tables, op: ops.Commit) -> Committed | Stale | HeadMoved | TurnConflict:
    chat = t.sessions.chats.get(op.fence.row)
    if chat is None:
        return Stale(0)
    if (known := chat.turns.get(op.turn)) is not None:
        return Committed(known, new=False) if known.witness == op.witness else TurnConflict(known)
    held = t.holder(op.fence)
    if held is None:
        return Stale(t.token_of(op.fence))
    done = [item for item in chat.in_state("taken") if item.turn == op.turn]
    if not done:
        return Stale(held.token)
    if chat.head != op.base:
        return HeadMoved(chat.head)
    at_ms = t.at_ms(held)
    session_id = session_id_of(held.record.id)
    for number, (kind, name, body) in enumerate(op.nodes, chat.head + 1):
        t.sessions.nodes[chat.row].append(Node(number, kind, name, body, session_id, op.turn, at_ms))
        if kind == "frame":
            chat.frame = number
    record = TurnRecord(op.turn, op.witness, chat.head + 1, chat.head + len(op.nodes), op.receipt, at_ms)
    chat.head += len(op.nodes)
    chat.turns[op.turn] = record
    chat.committed += 1
    chat.usage = op.usage
    t.sessions.speak(chat.row, op.refs, record.first_node)
    chat.pieces.clear()
    for item in done:
        chat.items[item.number - 1] = item._replace(state="done", payload=b"")
    for new in op.follow:
        if new.key is None or new.key not in chat.keyed:
            accept(t, chat, new)
    t.tell(held, ev.COMMITTED, facts.committed(op.turn, chat.head))
    held.entries, held.open, held.faults = [], {}, 0
    give_back(t, held, chat)
    t.stirred = True
    answer(t, held, [item.number for item in done], op.receipt)
    return Committed(record, new=True)


def give_back(t: Tables, held: Held, chat: Chat) -> None:
    """After a commit: ended where that was asked for, ready where more is to be done, else idle."""
    request = held.record.cancel_requested
    if request is not None:
        t.end(held, Cancelled(request.reason))
    else:
        t.give_back(held, t.now_ms if chat.in_state("pending") else None)


def stream(t: Tables, held: Held, op: ops.Stream) -> Done:
    chat = t.sessions.chats[held.row]
    if not any(piece.token == held.token and piece.number == op.number for piece in chat.pieces):
        chat.pieces.append(Piece(held.token, op.number, op.payload))
        t.stirred = True
    return Done()


# Waits on turns ----------------------------------------------------------------------------------------------------


def reply_of_turn(t: Tables, key: str) -> bytes | None:
    """What a wait for this turn gets at once: its receipt, null where it can never be; None while it is to come."""
    process_id, number = item_of_turn_key(key)
    held = t.processes.get(process_id)
    chat = None if held is None else t.sessions.chats.get(held.row)
    if held is None or chat is None or not 1 <= number <= len(chat.items):
        return b"null"
    item = chat.items[number - 1]
    if item.state in ITEM_OVER:
        return chat.turns[item.turn].receipt
    return b"null" if held.record.status.final else None


def answer(t: Tables, held: Held, numbers: Sequence[int], reply: bytes) -> None:
    for number in numbers:
        t.answer(turn_key(held.record.id, number), reply)


# Ends --------------------------------------------------------------------------------------------------------------


def delete(t: Tables, op: ops.Delete) -> Count | Unknown:
    held = t.processes.get(op.process_id)
    if held is None or held.row not in t.sessions.chats:
        return Unknown(op.process_id in t.tombstones)
    reason = facts.DELETED
    asked = t.cancel_children(held, reason, ev.cancel_key(reason))
    if not held.record.status.final:
        t.end_alone(held, Cancelled(reason))
    t.bury(held)
    t.stirred = True
    return Count(asked)


# Reads -------------------------------------------------------------------------------------------------------------


def session_row(t: Tables, process_id: str) -> SessionRow | Tombstone | None:
    held = t.processes.get(process_id)
    if held is None:
        return t.tombstones.get(process_id)
    chat = t.sessions.chats.get(held.row)
    if chat is None:
        return None
    base_row, base_node = t.sessions.bases[held.row]
    return SessionRow(
        held.as_row(),
        chat.head,
        chat.frame,
        t.sessions.ids.get(base_row),
        base_node,
        chat.committed,
        len(chat.items),
        chat.usage,
    )
