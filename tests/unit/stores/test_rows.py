"""Columns and values are inverse to each other, for every value."""

from __future__ import annotations

import sqlite3

from hypothesis import given, settings, strategies as st

from lash.core.effect import Entry, EntryKind
from lash.stores.sql.rows import ENTRY_SQL, pack_hash, unpack_entry, unpack_hash
from lash.stores.sqlite import migration_sql
from lash.stores.sqlite.tables import ENTRY_INSERT, STEP_INSERT, pack_entry, pack_step

numbers = st.integers(0, 2**53)
hashes = st.one_of(st.text("0123456789abcdefABCDEF ", min_size=30, max_size=33), st.text(max_size=40))
entries = st.builds(
    Entry,
    st.sampled_from(EntryKind),
    numbers,
    st.text(max_size=20),
    hashes,
    st.binary(max_size=50),
    st.booleans(),
    st.integers(0, 5),
    numbers,
    numbers,
    st.integers(1, 2**40),
    numbers,
)
connection = sqlite3.connect(":memory:")
for _, script in migration_sql():
    connection.executescript(script)


@given(hashes)
def test_hashes_come_back(text: str) -> None:
    safe = text.encode("utf-8", "replace").decode()
    assert unpack_hash(pack_hash(safe)) == safe


@settings(deadline=None)
@given(entries)
def test_entries_come_back(entry: Entry) -> None:
    step = pack_step(7, entry)
    for insert, columns in ((STEP_INSERT, step), (ENTRY_INSERT, pack_entry(7, entry, None))):
        if columns is not None:
            connection.execute(insert, columns)
            found = connection.execute(f"SELECT {ENTRY_SQL} FROM lash_journal").fetchall()
            connection.execute("DELETE FROM lash_journal")
            assert [unpack_entry(row) for row in found] == [entry]
