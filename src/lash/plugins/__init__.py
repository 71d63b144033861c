"""Plugins that come with lash, and those that other packages bring: nothing is imported before it is asked for.

``lash.plugins.files.Files``, ``.search.Search``, ``.patch.Patch`` and ``.shell.Shell`` are tools on one folder, which
docs/tools.md describes; ``.output_budget.OutputBudget``, ``.rolling.RollingContext``,
``.process_tools.ProcessTools``, ``.plan_mode.PlanMode`` and ``.mcp.Mcp`` are in docs/plugins.md. Each stands on the
interfaces alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from lash.abc.plugin import Plugin

GROUP: Final = "lash.plugins"
"""The group of entry points under which a package makes its plugins known."""


def discovered(failed: Callable[[str, Exception], None] | None = None) -> dict[str, type[Plugin]]:
    """Plugin classes by the names under which the installed packages make them known, in the order of the names.

    Calling it imports them. One that cannot be used (its import fails, it is no plugin, its name is another's too) is
    left out, and ``failed`` is told its name and why; without ``failed`` that is a warning in the log.
    """
    from importlib.metadata import entry_points

    found: dict[str, type[Plugin]] = {}
    places: dict[str, str] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda item: (item.name, item.value)):
        if places.get(entry.name) == entry.value:
            continue  # one package, found twice on the path
        try:
            if entry.name in places:
                raise ImportError(f"{entry.value} has the name that {places[entry.name]} has")
            places[entry.name] = entry.value
            found[entry.name] = loaded(entry)
        except Exception as error:  # noqa: BLE001  # whatever a foreign module raises while it is imported
            (failed or warn)(entry.name, error)
    return found


def loaded(entry: EntryPoint) -> type[Plugin]:
    """Raises ``TypeError`` for what is no plugin class, and whatever its module raises."""
    from lash.abc.plugin import Plugin

    made: object = entry.load()
    if not isinstance(made, type) or not issubclass(made, Plugin):
        raise TypeError(f"{entry.value} is no subclass of lash.Plugin")
    return made


def warn(name: str, error: Exception) -> None:
    import logging

    logging.getLogger(GROUP).warning("plugin %s cannot be used: %s: %s", name, type(error).__name__, error)
