"""Plugins that come with lash. Each stands on the interfaces alone, and imports nothing heavy before it is used.

``lash.plugins.files.Files``, ``.search.Search``, ``.patch.Patch`` and ``.shell.Shell`` are tools on one folder, which
docs/tools.md describes; ``.output_budget.OutputBudget``, ``.rolling.RollingContext`` and
``.process_tools.ProcessTools`` are in docs/plugins.md.
"""
