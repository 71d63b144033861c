"""What a doctor makes of a PostgreSQL server: each finding says what it does to the work, and what to type now."""

from __future__ import annotations

import re
from typing import Final

from lash.cli import output as out
from lash.cli.doctor import Check, Verdict
from lash.cli.documents import object_in
from lash.core.schedule import show_ms
from lash.limits import SAFETY_POLL_MS

OLDEST_TESTED: Final = 14
NEWEST_TESTED: Final = 17
SKEW_MS_WARN: Final = 1_000
"""Beyond what a synchronised clock is off by."""
FULL_WARN: Final = 0.8
"""Share of the server's connections: the next rolling restart needs the double of what one worker has."""
TRANSACTION_S_WARN: Final = 300


def postgres_checks(about: dict[str, object]) -> list[Check]:
    """A fact that is not in ``about`` is not judged."""
    found = [
        server(about),
        durability(about),
        isolation(about),
        clock(about),
        connections(about),
        notices(about),
        indexes(about),
        dead_rows(about),
        leases(about),
        transactions(about),
    ]
    return [check for check in found if check is not None]


def server(about: dict[str, object]) -> Check | None:
    version = str(about.get("server_version") or "")
    major = re.match(r"\d+", version)
    if major is None:
        return None
    if about.get("standby"):
        return Check("server", "fail", "this server is a standby and takes no writes: name the primary in the URL")
    if about.get("encoding") not in (None, "UTF8"):
        words = f"the database's encoding is {about['encoding']}: texts may not fit. Make one with ENCODING 'UTF8'"
        return Check("server", "fail", words)
    number = int(major[0])
    if number < OLDEST_TESTED:
        words = f"PostgreSQL {version} is too old: {OLDEST_TESTED} to {NEWEST_TESTED} are supported. Upgrade it"
        return Check("server", "fail", words)
    newer = f", newer than those this release was tested on ({OLDEST_TESTED} to {NEWEST_TESTED})"
    return Check("server", "ok", f"PostgreSQL {version}{newer if number > NEWEST_TESTED else ''}")


def durability(about: dict[str, object]) -> Check | None:
    if "fsync" not in about:
        return None
    if about["fsync"] == "off":
        words = "fsync is off: a power failure may destroy the whole database. Set fsync = on and reload the server"
        return Check("durability", "warn", words)
    if about.get("synchronous_commit") == "off":
        words = (
            "synchronous_commit is off for this role: when the server crashes, the last commits are lost, and with "
            "them the record of steps that were performed. ALTER ROLE … SET synchronous_commit = on"
        )
        return Check("durability", "warn", words)
    if about.get("autovacuum") == "off":
        return Check("durability", "warn", "autovacuum is off: tables grow without end. Set autovacuum = on")
    return Check("durability", "ok", "what is committed is on the server's disk")


def isolation(about: dict[str, object]) -> Check | None:
    level = about.get("isolation")
    if not level:
        return None
    if level == "read committed":
        return Check("isolation", "ok", "read committed")
    words = (
        f"the default of this role is {level}: right, but more transactions are repeated under load. "
        "ALTER ROLE … SET default_transaction_isolation = 'read committed'"
    )
    return Check("isolation", "warn", words)


def clock(about: dict[str, object]) -> Check | None:
    ahead_ms, trip_ms = about.get("clock_ahead_ms"), about.get("round_trip_ms")
    if not isinstance(ahead_ms, (int, float)) or not isinstance(trip_ms, (int, float)):
        return None
    trip = f"an answer takes {trip_ms:.1f} ms"
    if abs(ahead_ms) <= SKEW_MS_WARN + trip_ms:
        return Check("clock", "ok", f"this machine and the server agree on the time; {trip}")
    where = "ahead of" if ahead_ms > 0 else "behind"
    words = (
        f"this machine's clock is {show_ms(abs(ahead_ms))} {where} the server's: work goes by the server's, but "
        "logs written here, and a SQLite file on this machine, do not. Synchronise both (NTP)"
    )
    return Check("clock", "warn", f"{words}; {trip}")


def connections(about: dict[str, object]) -> Check | None:
    counts = object_in(about.get("connections"))
    if counts is None:
        return None
    ours, used, most = (int(str(counts.get(name, 0))) for name in ("lash", "all", "max"))
    pool = object_in(about.get("pool")) or {}
    each = sum(int(str(number)) for number in pool.values())
    words = f"{used} of {most} are in use, {ours} of them by lash; one worker process needs up to {each}"
    if most and used >= FULL_WARN * most:
        return Check("connections", "warn", f"{words}. Raise max_connections, or run fewer workers")
    return Check("connections", "ok", words)


def notices(about: dict[str, object]) -> Check | None:
    poll = show_ms(SAFETY_POLL_MS)
    known: dict[object, tuple[Verdict, str]] = {
        "heard": ("ok", "a notice came back over LISTEN and NOTIFY"),
        "off": ("ok", f"off behind a transaction pooler: workers look by themselves, at least every {poll}"),
        "away": ("warn", f"the listening connection cannot be had: until it can, workers look every {poll}"),
        "lost": (
            "warn",
            f"a notice did not come back within a second, so work starts up to {poll} late. Is there a pooler on the "
            "way? Then add pooler=transaction to the URL, or name the server itself",
        ),
    }
    found = known.get(about.get("notices"))
    return None if found is None else Check("notices", *found)


def indexes(about: dict[str, object]) -> Check | None:
    missing = object_in(about.get("missing_indexes"))
    if missing is None:
        return None
    if not missing:
        return Check("indexes", "ok", "all are there and valid")
    statements = " ".join(str(statement) for statement in missing.values())
    words = f"missing or invalid: {', '.join(missing)}. Every claim may read whole tables. Run: {statements}"
    return Check("indexes", "fail", words)


def dead_rows(about: dict[str, object]) -> Check | None:
    dead = object_in(about.get("dead_rows"))
    if dead is None:
        return None
    if not dead:
        return Check("dead rows", "ok", "vacuum keeps up")
    tables = ", ".join(f"{name} ({int(str(number)):,})" for name, number in dead.items())
    vacuum = ", ".join(f"{about.get('schema')}.{name}" for name in dead)
    words = (
        f"more dead rows than live ones in {tables}: vacuum does not keep up, and claims get slower. An old "
        f"transaction is the usual cause (see below); then run: VACUUM (ANALYZE) {vacuum}"
    )
    return Check("dead rows", "warn", words)


def leases(about: dict[str, object]) -> Check | None:
    stuck = about.get("leases_stuck")
    if not isinstance(stuck, int):
        return None
    if not stuck:
        return Check("leases", "ok", f"{about.get('leases_live', 0)} live, none left behind")
    count = out.count_of(stuck, "lease")
    words = f"{count} ran out over a minute ago and nobody took over: is a worker with that code alive? lash worker"
    return Check("leases", "warn", words)


def transactions(about: dict[str, object]) -> Check | None:
    oldest = object_in(about.get("oldest_transaction"))
    if oldest is None:
        return None
    seconds = int(str(oldest.get("seconds") or 0))
    if seconds < TRANSACTION_S_WARN:
        return Check("transactions", "ok", "none is old")
    pid = oldest.get("pid")
    words = (
        f"one is open for {show_ms(seconds * 1_000)} (pid {pid}, {oldest.get('application') or 'no name'}, "
        f"{oldest.get('state')}): vacuum can remove nothing that is younger. End it: SELECT pg_terminate_backend({pid})"
    )
    return Check("transactions", "warn", words)
