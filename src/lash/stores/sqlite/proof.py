"""A proof of life: a file locked for as long as the worker's Python process lives, whatever ends it.

Whoever can take the lock knows that the owner is dead. It is a hint that saves waiting for the lease to run out; the
token stays the guarantee. Where locks do not exist (no ``fcntl``), nothing is proven and the ttl decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import weakref

if sys.platform != "win32":
    import fcntl

SUFFIX = ".alive"


class Proofs:
    """Own proofs held, and those of the dead taken, in one folder."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        self._taken: dict[str, int] = {}
        """Locked by us, and not yet acted upon: kept, so that a crash of ours leaves them to the next sweeper."""
        guarded.add(self)

    def path_of(self, owner: str) -> str:
        name = hashlib.blake2b(owner.encode(), digest_size=12).hexdigest()
        return os.path.join(self._folder, name + SUFFIX)

    def hold(self, owner: str) -> None:
        """Locked under another name first: nobody may ever see an unlocked proof of a living worker."""
        if sys.platform == "win32" or owner in self._held:
            return
        path = self.path_of(owner)
        fresh = f"{path}.{os.getpid()}.new"
        descriptor = os.open(fresh, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(descriptor, owner.encode())
            os.rename(fresh, path)
        except OSError:
            os.close(descriptor)
            raise
        self._held[owner] = descriptor
        close_in_children()

    def take_dead(self) -> list[str]:
        """Owners whose proof is ours now, until :meth:`acted_upon`; the same ones again when called again."""
        if sys.platform != "win32":
            own = {os.path.basename(self.path_of(owner)) for owner in (*self._held, *self._taken)}
            with contextlib.suppress(OSError):
                for name in os.listdir(self._folder):
                    if name.endswith(SUFFIX) and name not in own:
                        self._take(os.path.join(self._folder, name))
        return sorted(self._taken)

    def _take(self, path: str) -> None:
        if sys.platform == "win32":
            return
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return  # removed meanwhile
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:  # else another sweeper removed it before we had it
                self._taken[os.read(descriptor, 4_096).decode()] = descriptor
                return
        except (OSError, UnicodeDecodeError):
            pass  # held by a living worker, or gone
        os.close(descriptor)

    def acted_upon(self, owner: str) -> None:
        """The leases of a dead owner were expired: its proof may go, and nobody will find it again."""
        descriptor = self._taken.pop(owner, None)
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.path_of(owner))
            os.close(descriptor)

    def close(self) -> None:
        """Own proofs end; those taken but not acted upon are left to another sweeper."""
        for owner in list(self._held):
            with contextlib.suppress(OSError):
                os.unlink(self.path_of(owner))
        self.drop()

    def drop(self) -> None:
        """Close every descriptor and leave the files, as the death of the Python process does."""
        for descriptor in (*self._held.values(), *self._taken.values()):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._held.clear()
        self._taken.clear()


guarded: weakref.WeakSet[Proofs] = weakref.WeakSet()
"""All proofs of this Python process: a forked child shares their locks, and must not keep them beyond our death."""
hooked: list[bool] = []


def close_in_children() -> None:
    """Once a proof is held, forked children close their copies of it."""
    if not hooked and hasattr(os, "register_at_fork"):
        hooked.append(True)
        os.register_at_fork(after_in_child=drop_all)


def drop_all() -> None:
    for proofs in list(guarded):
        proofs.drop()
