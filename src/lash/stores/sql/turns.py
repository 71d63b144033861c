"""What is known of one item and of the turn that consumed it, and what a wait for that turn is told."""

from __future__ import annotations

from lash.core.session import ITEM_OVER, Item, ItemState, TurnRecord, item_of_turn_key
from lash.stores.sql.chats import Chat
from lash.stores.sql.rows import Hot
from lash.stores.sql.transaction import Transaction


def item_of(tx: Transaction, chat: Chat, number: int) -> Item | None:
    return chat.known(number) or (tx.item(chat, number) if 1 <= number <= chat.items else None)


def in_state(tx: Transaction, chat: Chat, state: ItemState) -> list[Item]:
    return [item for item in tx.undone(chat).values() if item.state == state]


def is_quiet(tx: Transaction, hot: Hot) -> bool:
    """Whether nothing waits for the earliest boundary of this session."""
    chat = tx.chat(hot.row)
    return chat is not None and not any(
        item.state == "pending" and item.delivery == "earliest_boundary" for item in tx.undone(chat).values()
    )


def item_of_key(tx: Transaction, chat: Chat, key: str) -> tuple[Item, str] | None:
    """The item that has this key, and the hash of what it said."""
    return chat.keyed(key) or tx.item_of_key(chat, key)


def turn_of(tx: Transaction, chat: Chat, number: int) -> TurnRecord | None:
    item = tx.undone(chat).get(number)
    if item is not None and item.state == "taken" and item.turn == number:
        return None  # at work
    return chat.records.get(number) or tx.turn(chat, number)


def reply_of_turn(tx: Transaction, key: str) -> bytes | None:
    """What a wait for this turn gets at once: its receipt, null where it can never be; None while it is to come."""
    process_id, number = item_of_turn_key(key)
    hot = tx.find_id(process_id)
    chat = None if hot is None else tx.chat(hot.row)
    item = None if chat is None else item_of(tx, chat, number)
    if hot is None or chat is None or item is None:
        return b"null"
    if item.state in ITEM_OVER:
        record = turn_of(tx, chat, item.turn)
        return b"null" if record is None else record.receipt
    if hot.status:
        return b"null"
    tx.awaits(hot)
    return None
