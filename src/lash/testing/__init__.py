"""Kits for users and implementers: a context for unit tests, virtual time, crash points, checkers, conformance."""

from __future__ import annotations

from lash.testing.clock import Clock
from lash.testing.context import Continued, TestContext, context

__all__ = ["Clock", "Continued", "TestContext", "context"]
