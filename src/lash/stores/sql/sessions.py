"""Sessions: what each of their operations does, on pictures of their rows. See ``stores/memory_sessions.py``, the
specification it agrees with; nothing here knows a dialect."""

from __future__ import annotations

from lash.abc import sessions as ops
from lash.abc.sessions import (
    Begun,
    Committed,
    HeadMoved,
    ItemConflict,
    Late,
    NoNode,
    Posted,
    TurnConflict,
    Withdrawn,
)  # fmt: skip
from lash.abc.store import Conflict, Count, Done, Ended, Recorded, Stale, Started, Unknown
from lash.core import event as ev
from lash.core.effect import Entry, EntryKind
from lash.core.outcome import Cancelled, Status
from lash.core.process import ProcessSpec
from lash.core.session import (
    ITEM_OVER,
    Item,
    NewItem,
    TurnRecord,
    item_hash,
    session_id_of,
    taken_payload,
)
from lash.stores import facts
from lash.stores.sql.chats import Chat, NewNodes
from lash.stores.sql.endings import answer_turns, at_rest, cancel_children, end, end_alone, owner_over, rest
from lash.stores.sql.leases import lease
from lash.stores.sql.processes import fresh_row, started_before
from lash.stores.sql.rows import IDLE, LEASED, STATUSES, Hot
from lash.stores.sql.transaction import Transaction
from lash.stores.sql.turns import in_state, item_of, item_of_key, turn_of


def open_session(tx: Transaction, op: ops.Open) -> Started | Conflict | Unknown | NoNode | Ended:
    spec = op.spec
    if (there := tx.there(spec.id)) is not None:
        if there[0]:
            return started_before(tx, spec, *there)
        return Started(0, STATUSES[there[1]], created=False, claimed=None, pruned=True)
    if (over := owner_over(tx, spec)) is not None:
        return over
    base_row = frame = 0
    if op.base is not None:
        base = tx.find_id(op.base)
        chat = None if base is None else tx.chat(base.row)
        if chat is None:
            return Unknown(tx.pruned(op.base))
        if not 0 <= op.base_node <= chat.head:
            return NoNode(chat.head)
        tx.keep_chat(chat)
        base_row = owner_of(tx, chat, op.base_node) if op.base_node else 0
        frame = chat.frame if chat.frame <= op.base_node else tx.frame_before(chat.row, op.base_node)
    hot = fresh_row(tx, spec)
    hot.state, hot.wake_ms = IDLE, None
    tx.add(hot)
    tx.add_chat(Chat(hot.row, session_id_of(spec.id), base_row, op.base_node, op.base_node, frame))
    return Started(hot.row, Status.RUNNING, created=True, claimed=None)


def owner_of(tx: Transaction, chat: Chat, number: int) -> int:
    """The row that wrote node ``number`` of this path."""
    while number <= chat.base_node and (base := tx.chat(chat.base_row)) is not None:
        chat = base
    return chat.row


# The inbox ---------------------------------------------------------------------------------------------------------


def post(tx: Transaction, op: ops.Post) -> Posted | ItemConflict | Ended | Unknown:
    hot = tx.load_id(op.process_id)
    chat = None if hot is None else tx.chat(hot.row)
    if hot is None or chat is None:
        return Unknown(tx.pruned(op.process_id))
    if op.item.key is not None and (known := item_of_key(tx, chat, op.item.key)) is not None:
        same = known[1] == item_hash(op.item.kind, op.item.payload)
        return Posted(known[0], new=False) if same else ItemConflict(known[0])
    if hot.status:
        return Ended(tx.outcome(hot))
    resting = at_rest(tx, hot)
    item = accept(tx, chat, op.item)
    if not resting:
        return Posted(item, new=True)
    spec = None if op.owner is None else spec_of(tx, hot)
    if op.owner is None or spec is None:
        tx.make_due(hot)
        return Posted(item, new=True)
    claimed = lease(tx, hot, spec, op.owner, op.ttl_ms)
    if op.entry is None:
        return Posted(item, new=True, claimed=claimed)
    (entry,) = take_items(tx, hot, chat, op.entry, 0, False, [])
    return Posted(item, new=True, claimed=claimed, begun=Begun(entry, chat.head))


def spec_of(tx: Transaction, hot: Hot) -> ProcessSpec | None:
    if hot.spec is None:
        tx.load_full(hot.row)
    return hot.spec


def accept(tx: Transaction, chat: Chat, new: NewItem) -> Item:
    item = Item(chat.items + 1, new.kind, new.delivery, new.payload, new.key, "pending", 0, tx.now_ms)
    chat.accept(item)
    tx.touch_chat(chat)
    return item


def take(tx: Transaction, op: ops.Take) -> Recorded | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    chat = tx.chat(hot.row)
    if chat is None:
        return Stale(0)
    recorded = take_items(tx, hot, chat, op.entry, op.turn, op.boundary, tx.entries_after(hot, op.seen))
    hot.news = None
    return Recorded(recorded)


def take_items(
    tx: Transaction, hot: Hot, chat: Chat, entry: Entry, at_turn: int, boundary: bool, recorded: list[Entry]
) -> list[Entry]:
    """``recorded``, with the entry that takes items, unless it is among them."""
    if facts.identity(entry) in {facts.identity(known) for known in recorded}:
        return recorded
    pending = in_state(tx, chat, "pending")
    chosen = [item for item in pending if item.delivery == "earliest_boundary"]
    if at_turn and not any(item.turn == at_turn for item in in_state(tx, chat, "taken")):
        chosen = []  # no such turn is at work
    if not at_turn and (taken := in_state(tx, chat, "taken")):
        chosen = taken  # by an earlier try of this turn, whose journal was cut
    elif not boundary and pending and pending[0].delivery == "next_turn":
        chosen = pending[:1]
    turn = at_turn or (chosen[0].turn or chosen[0].number if chosen else 0)
    chosen = tx.whole(chat, chosen)
    for item in chosen:
        chat.put(item._replace(state="taken", turn=turn))
    if chosen:
        tx.touch_chat(chat)
    return [*recorded, tx.note(hot, entry._replace(payload=taken_payload(chosen)))]


def cancel_turn(tx: Transaction, op: ops.CancelTurn) -> Done | Withdrawn | Late | Ended | Unknown:
    hot = tx.load_id(op.process_id)
    chat = None if hot is None else tx.chat(hot.row)
    if hot is None or chat is None:
        return Unknown(tx.pruned(op.process_id))
    item: Item | None
    if op.item is None:
        taken = in_state(tx, chat, "taken")
        item = taken[0] if taken else None
        if item is None:
            return Ended(tx.outcome(hot)) if hot.status else Late(None)
    else:
        item = item_of(tx, chat, op.item)
        if item is None:
            return Late(None)
    if item.state in ITEM_OVER:
        return Late(turn_of(tx, chat, item.turn))
    if hot.status:
        return Ended(tx.outcome(hot))
    if item.state == "taken":
        if not any(entry.kind is EntryKind.CANCEL for entry in tx.entries_after(hot, 0)):
            tx.deliver(hot, Entry(EntryKind.CANCEL, 0, payload=facts.cancel(op.reason)))
        return Done()
    record = TurnRecord(item.number, "", chat.head + 1, chat.head, op.receipt, tx.now_ms)
    chat.records[item.number] = record
    chat.put(item._replace(state="cancelled", turn=item.number, payload=b""))
    tx.touch_chat(chat)
    tx.stirred = True
    answer_turns(tx, hot, [item.number], op.receipt)
    if hot.state != LEASED and hot.waiting_on is None and not tx.undone(chat):
        rest(tx, hot)
    return Withdrawn(record)


# Turns -------------------------------------------------------------------------------------------------------------


def commit(tx: Transaction, op: ops.Commit) -> Committed | Stale | HeadMoved | TurnConflict:
    chat = None if tx.find(op.fence.row) is None else tx.chat(op.fence.row)
    if chat is None:
        return Stale(0)
    if (known := turn_of(tx, chat, op.turn)) is not None:
        return Committed(known, new=False) if known.witness == op.witness else TurnConflict(known)
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    done = [item for item in in_state(tx, chat, "taken") if item.turn == op.turn]
    if not done:
        return Stale(hot.token)
    if chat.head != op.base:
        return HeadMoved(chat.head)
    at_ms = tx.at_ms(hot)
    record = TurnRecord(op.turn, op.witness, chat.head + 1, chat.head + len(op.nodes), op.receipt, at_ms)
    if op.nodes:
        chat.nodes.append(NewNodes(chat.head + 1, list(op.nodes), op.turn, at_ms))
    frames = [number for number, node in enumerate(op.nodes, chat.head + 1) if node.kind == "frame"]
    chat.frame = frames[-1] if frames else chat.frame
    chat.head = record.last_node
    chat.records[op.turn] = record
    chat.turns += 1
    chat.usage = op.usage
    chat.refs = dict.fromkeys(op.refs, record.first_node) | chat.refs
    chat.pieces, chat.cleared = [], True
    for item in done:
        chat.put(item._replace(state="done", payload=b""))
    tx.touch_chat(chat)
    for new in op.follow:
        if new.key is None or item_of_key(tx, chat, new.key) is None:
            accept(tx, chat, new)
    told = tx.tell(hot, ev.COMMITTED, facts.committed(op.turn, chat.head))
    hot.began_ms, hot.news, hot.attempts, hot.faults = told.at_ms, None, 0, 0
    hot.generation += 1
    hot.block_no_more()
    tx.cut_all(hot)
    hot = tx.load(op.fence.row) or hot
    if hot.cancel_ms is not None:
        end(tx, hot, Cancelled(hot.cancel_reason or ""))
    else:
        tx.give_back(hot, tx.now_ms if in_state(tx, chat, "pending") else None)
    tx.stirred = True
    answer_turns(tx, hot, [item.number for item in done], op.receipt)
    return Committed(record, new=True)


def stream(tx: Transaction, op: ops.Stream) -> Done | Stale:
    hot = tx.holder(op.fence)
    if isinstance(hot, Stale):
        return hot
    chat = tx.chat(hot.row)
    if chat is None:
        return Stale(0)
    chat.pieces.append((hot.token, op.number, op.payload))
    tx.touch_chat(chat)
    tx.stirred = True
    return Done()


# Ends --------------------------------------------------------------------------------------------------------------


def delete(tx: Transaction, op: ops.Delete) -> Count | Unknown:
    hot = tx.load_id(op.process_id)
    if hot is None or tx.chat(hot.row) is None:
        return Unknown(tx.pruned(op.process_id))
    row, reason = hot.row, facts.DELETED
    asked = cancel_children(tx, hot.id, reason, ev.cancel_key(reason))
    hot = tx.load(row)
    if hot is not None and not hot.status:
        end_alone(tx, hot, Cancelled(reason))
    tx.bury_one(row)
    tx.stirred = True
    return Count(asked)
