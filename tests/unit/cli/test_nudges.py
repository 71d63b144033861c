"""Promise: a Ctrl-C that the main thread does not notice while it waits for input ends that wait all the same."""

from __future__ import annotations

import os
import select
import signal
import threading
import time

from lash.cli.chat_thread import nudged


def waited(seconds: float) -> float:
    """How long the main thread waited for input that does not come, with a Ctrl-C that another thread takes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    quiet, loud = os.pipe()
    ending = threading.Event()
    other = threading.Thread(target=ending.wait)
    other.start()  # hears signals, as the main thread does not from now on
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    began = time.monotonic()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        select.select([quiet], [], [], seconds)
        return seconds
    except KeyboardInterrupt:
        return time.monotonic() - began
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
        ending.set()
        other.join()
        os.close(quiet)
        os.close(loud)


def test_a_signal_that_another_thread_took_ends_the_wait_of_the_main_thread() -> None:
    with nudged():
        assert waited(20) < 10


def test_what_was_there_before_is_there_again() -> None:
    with nudged():
        pass
    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_in_another_thread_nothing_is_changed() -> None:
    seen: list[object] = []

    def run() -> None:
        with nudged():
            seen.append(signal.getsignal(signal.SIGURG))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
