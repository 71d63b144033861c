"""An async generator is finalised on the loop it was first iterated on: a body's on the body's, any other as before.

The interpreter has one pair of hooks a thread. Setting them for each activation would cost more than the rest of it,
since every set is an audited event. So they are set once in a run of the outer loop, and see whose a generator is.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeAlias

Generator: TypeAlias = "AsyncGenerator[Any, Any]"
Hook: TypeAlias = "Callable[[Generator], None] | None"


class GeneratorOwner(ABC):
    """A loop that looks after its async generators itself."""

    def __init__(self) -> None:
        self._generators: dict[int, weakref.ref[Generator]] = {}
        self._generators_swept = 64

    @abstractmethod
    def finalize(self, generator: Generator) -> None:
        """It was dropped half-way: have its clean-up run."""

    def adopt(self, generator: Generator) -> None:
        owners[id(generator)] = self
        self._generators[id(generator)] = weakref.ref(generator)
        if len(self._generators) > self._generators_swept:
            self.forget_generators()
            self._generators_swept = max(64, 2 * len(self._generators))

    def forget_generators(self) -> None:
        """Those that ran to their end are gone without a word; the others stay ours."""
        for number, generator in list(self._generators.items()):
            if generator() is None:
                del self._generators[number]
                if owners.get(number) is self:
                    del owners[number]


owners: dict[int, GeneratorOwner] = {}
"""By the identity of a generator."""
finalizers: dict[int, Hook] = {}
"""The hook that is set in a thread while its hooks are ours."""


class Hooks:
    """What stood there before serves everybody else's generators."""

    def __init__(self, first: Hook, final: Hook) -> None:
        self._first = first
        self._final = final

    def first(self, generator: Generator) -> None:
        loop: object = asyncio._get_running_loop()
        if isinstance(loop, GeneratorOwner):
            loop.adopt(generator)
            return
        owners.pop(id(generator), None)  # of another one, which stood in the same place
        if self._first is not None:
            self._first(generator)

    def final(self, generator: Generator) -> None:
        owner = owners.pop(id(generator), None)
        if owner is not None:
            owner.finalize(generator)
        elif self._final is not None:
            self._final(generator)


def install(thread: int) -> None:
    """In the running thread, over whatever its outer loop has set. That loop sets them back when its run ends."""
    outer = sys.get_asyncgen_hooks()
    hooks = Hooks(outer.firstiter, outer.finalizer)
    finalizers[thread] = final = hooks.final
    sys.set_asyncgen_hooks(hooks.first, final)
