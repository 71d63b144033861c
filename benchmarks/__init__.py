"""Benchmarks: workloads against ourselves, beside the floor that the same disk gives bare SQLite in the same run.

``python -m benchmarks`` from the root of the repository; see docs/performance.md.
"""
