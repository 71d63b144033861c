"""A start request becomes a spec here, checked whole before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lash.core.ids import check_name
from lash.core.process import EXTERNAL, PYTHON, ProcessSpec, definition_of
from lash.core.schedule import Duration, duration_ms
from lash.errors import InvalidArguments, InvalidName
from lash.limits import TAGS_MAX
from lash.runtime.registry import Process


def process_spec(
    process: Process[..., Any],
    args: bytes,
    process_id: str,
    *,
    delay: Duration | None = None,
    tags: Sequence[str] | None = None,
    priority: int = 0,
    host_profile: str,
) -> ProcessSpec:
    """The spec of one start. Raises ``InvalidName`` and ``InvalidArguments``."""
    if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > 1_000_000:
        raise InvalidArguments(f"priority must be a whole number within a million of 0, not {priority!r}.")
    return ProcessSpec(
        check_name(process_id, "process id"),
        PYTHON,
        process.name,
        process.version,
        args,
        definition_of(PYTHON, process.name, args),
        process.recovery,
        process.attempts_max,
        process.timeout_ms,
        0 if delay is None else duration_ms(delay, "delay"),
        priority,
        checked_tags(tags),
        host_profile,
    )


def child_spec(process: Process[..., Any], args: bytes, parent: ProcessSpec, options: dict[str, Any]) -> ProcessSpec:
    """The spec of a child without its id, which depends on the effect that starts it."""
    detached = options.pop("detached")
    spec = process_spec(process, args, "child", host_profile=parent.host_profile, **options)
    return replace(
        spec,
        parent=parent.id,
        detached=detached,
        originator=parent.originator,
        wake_target=parent.wake_target,
        observers=parent.observers,
    )


def external_spec(name: str, metadata: bytes, process_id: str, host_profile: str) -> ProcessSpec:
    """The spec of work that runs elsewhere."""
    return ProcessSpec(
        check_name(process_id, "process id"),
        EXTERNAL,
        check_name(name, "process name"),
        "",
        metadata,
        definition_of(EXTERNAL, name, metadata),
        "external",
        host_profile=host_profile,
    )


def checked_tags(tags: Sequence[str] | None) -> tuple[str, ...]:
    if not tags:
        return ()
    if isinstance(tags, str):
        raise InvalidName(f"tags must be a list of strings, not the string {tags!r}.")
    if len(tags) > TAGS_MAX:
        raise InvalidName(f"A process may have {TAGS_MAX} tags, not {len(tags)}.")
    return tuple(dict.fromkeys(check_name(tag, "tag") for tag in tags))
