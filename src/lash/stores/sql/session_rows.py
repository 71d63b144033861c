"""What a transaction knows of sessions: each as one picture, read at its first mention; rare look-ups beside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lash.core.session import Item, TurnRecord
from lash.stores.sql.chats import Chat
from lash.stores.sql.rows import Hot


class SessionRows(ABC):
    """The part of a ``Transaction`` that a dialect fills in for sessions."""

    @abstractmethod
    def chat(self, row: int) -> Chat | None:
        """The session of this row, also of one that was deleted and is shared by forks; always the same object within
        the transaction. None: the row is no session."""

    @abstractmethod
    def add_chat(self, chat: Chat) -> None:
        """A session that is new."""

    @abstractmethod
    def touch_chat(self, chat: Chat) -> None:
        """It was changed."""

    @abstractmethod
    def keep_chat(self, chat: Chat) -> None:
        """It must still be there, as it is now, when the transaction is written."""

    def undone(self, chat: Chat) -> dict[int, Item]:
        """Its pending and taken items by number, in order; perhaps without what they say. A dialect that does not read
        them together with the session reads them here."""
        return chat.undone

    def whole(self, chat: Chat, items: Sequence[Item]) -> list[Item]:
        """These unfinished items, with what they say."""
        return list(items)

    @abstractmethod
    def item(self, chat: Chat, number: int) -> Item | None:
        """An item in the table, which nothing has changed since."""

    @abstractmethod
    def item_of_key(self, chat: Chat, key: str) -> tuple[Item, str] | None:
        """An item in the table, with what it says, and the hash of what it said; in the state it has by now."""

    @abstractmethod
    def turn(self, chat: Chat, number: int) -> TurnRecord | None:
        """A record in the table."""

    @abstractmethod
    def frame_before(self, row: int, number: int) -> int:
        """The newest frame node among the first ``number`` nodes of a path; 0 for none."""

    @abstractmethod
    def cut_all(self, hot: Hot) -> None:
        """Drop the whole journal of a row. It must be got again before it is changed."""

    @abstractmethod
    def bury_one(self, row: int) -> None:
        """Leave a tombstone of this ended session; everything else goes, but for nodes that forks share."""
