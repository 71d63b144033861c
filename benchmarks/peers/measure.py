"""One measurement of one contender: a fresh child in its own environment, with a fresh database, in time or not at all.

The child is the head of a process group, so that what it started ends with it, whatever happens.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from benchmarks.child import ANSWER, ROOT, MeasurementFailed, environment
from benchmarks.peers.contenders import Contender
from benchmarks.peers.environments import Installed, last_line

SECONDS_MAX: Final = 900

Values: TypeAlias = dict[str, list[float]]
Sizes: TypeAlias = Mapping[str, int]


@contextmanager
def url_for(contender: Contender, cluster_url: str, folder: Path, name: str) -> Iterator[str]:
    """Of an empty database; empty for a contender that brings its own store."""
    if contender.store == "Postgres":
        from benchmarks.peers import databases  # its driver may be missing where nobody asks for Postgres

        with databases.database(cluster_url, name) as url:
            yield url
    elif contender.store == "SQLite":
        yield f"sqlite:///{folder / 'peer.db'}"
    else:
        yield ""


def measure(
    contender: Contender, workload: str, installed: Installed, cluster_url: str, folder: Path, sizes: Sizes
) -> Values:
    """What the contender's program found. Raises ``MeasurementFailed``, with one line for the table."""
    name = f"{contender.name}-{workload}".lower().replace("-", "_")
    home = folder / name
    home.mkdir(parents=True)
    try:
        with url_for(contender, cluster_url, home, name) as url:
            asked = {**sizes, "url": url, "folder": str(home), "variant": contender.variant}
            command = [installed.python, "-m", contender.module, workload, json.dumps(asked)]
            return answer_of(command, {**environment(), **installed.variables})
    finally:
        shutil.rmtree(home, ignore_errors=True)


def answer_of(command: list[str], variables: Mapping[str, str], seconds_max: float = SECONDS_MAX) -> Values:
    """Files and no pipes take the output: a pipe stays open for as long as anything that the child started lives."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
    ):
        child = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=output, stderr=errors, start_new_session=True)
        try:
            child.wait(seconds_max)
        except subprocess.TimeoutExpired as error:
            raise MeasurementFailed(f"took longer than {seconds_max:g} s") from error
        finally:
            end_group(child)
        output.seek(0)
        errors.seek(0)
        told = [line.removeprefix(ANSWER) for line in output if line.startswith(ANSWER)]
        if child.returncode != 0 or not told:
            raise MeasurementFailed(f"ended with {child.returncode}: {last_line(errors.read())}")
    found: dict[str, float | list[float]] = json.loads(told[-1])
    return {key: value if isinstance(value, list) else [value] for key, value in found.items()}


def end_group(child: subprocess.Popen[bytes]) -> None:
    """End what is left of the child and of what it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nothing is left
    child.wait()
