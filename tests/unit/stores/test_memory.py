"""One memory store for several Runtimes: also on several event loops, and each listener on its own."""

from __future__ import annotations

import asyncio
import threading

from lash.abc.store import Start, Started
from lash.stores.memory import MemoryStore
from tests.unit.stores.stage import spec


def test_a_listener_is_called_on_its_own_loop() -> None:
    store = MemoryStore()
    ready, done = threading.Event(), threading.Event()
    threads: list[int] = []

    async def listen() -> None:
        heard = asyncio.Event()

        def changed() -> None:
            threads.append(threading.get_ident())
            heard.set()

        store.listen(changed)
        ready.set()
        await asyncio.wait_for(heard.wait(), 10)
        done.set()

    listener = threading.Thread(target=lambda: asyncio.run(listen()))
    listener.start()
    assert ready.wait(10)
    asyncio.run(store.write([Start(spec("p"))]))
    assert done.wait(10)
    assert threads == [listener.ident]
    listener.join(10)
    asyncio.run(store.write([Start(spec("q"))]))  # its loop is closed: it drops out


def test_writes_from_many_threads_are_transactions() -> None:
    store = MemoryStore()
    created: list[bool] = []

    def work() -> None:
        async def main() -> None:
            for number in range(200):
                verdict = (await store.write([Start(spec(f"p{number}"))]))[0]
                assert isinstance(verdict, Started)
                created.append(verdict.created)

        asyncio.run(main())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(created), sum(created)) == (800, 200)


def test_it_says_that_it_forgets() -> None:
    store = MemoryStore()
    assert (store.journal_durable, set(store.facets.values()), store.blobs.durable) == (False, {False}, False)
