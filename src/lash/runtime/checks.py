"""What a worker checks about a claimed row before any body, in one fixed order (DESIGN section 4).

The record is re-read (a final one is released) · a stable id · the host profile · durable facets · the runner and its
code version. All of it is infrastructure: the row stays claimable. Only what can never succeed fails the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from lash.core.process import ProcessRecord, ProcessSpec
from lash.errors import DurableStoreRequired, InfrastructureError, LashError, VersionMissing
from lash.runtime.registry import Process

if TYPE_CHECKING:
    from lash.runtime.agents import Running

Code: TypeAlias = "Process[..., Any] | Running"


class AlreadyEnded(InfrastructureError):
    code = "already_ended"


class MissingId(InfrastructureError):
    code = "missing_process_execution_id"


class WrongProfile(InfrastructureError):
    code = "wrong_host_profile"


def check_facets(durable_engine: bool, facets: Mapping[str, bool]) -> None:
    """A durable engine wants every facet durable; an inline one imposes nothing. The first that fails is named."""
    if not durable_engine:
        return
    for facet, durable in facets.items():
        if not durable:
            raise DurableStoreRequired(facet)


def check_row(
    record: ProcessRecord,
    *,
    host_profile: str,
    durable_engine: bool,
    facets: Mapping[str, bool],
    code_of: Callable[[ProcessSpec], Code | None],
) -> Code:
    """The code to run for a claimed row. Raises the first failing check as a ``LashError``."""
    spec = record.spec
    if record.status.final:
        raise AlreadyEnded(f"Process {spec.id!r} has ended: {record.status}.")
    if not spec.id.strip():
        raise MissingId("A row without an id cannot be run: its effects would have no stable identity.")
    if spec.host_profile and spec.host_profile != host_profile:
        raise WrongProfile(
            f"Process {spec.id!r} belongs to host profile {spec.host_profile!r}; this worker is {host_profile!r}."
        )
    check_facets(durable_engine, facets)
    code = code_of(spec)
    if code is None:
        raise VersionMissing(
            f"This worker has no code for {spec.kind} process {spec.name!r} version {spec.version!r}. "
            "Deploy a worker that registers it."
        )
    return code


def reason_of(error: BaseException) -> str:
    """The stable code under which a row is shown as blocked."""
    if isinstance(error, DurableStoreRequired):
        return f"{error.code}:{error.facet}"
    return error.code if isinstance(error, LashError) else type(error).__name__
