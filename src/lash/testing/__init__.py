"""Kits for users and implementers: a context for unit tests, a scripted model, virtual time, crash points, checkers,
conformance."""

from __future__ import annotations

from lash.testing.clock import Clock
from lash.testing.context import Continued, TestContext, context
from lash.testing.model import Say, ScriptedModel
from lash.testing.tools import tool_context

__all__ = ["Clock", "Continued", "Say", "ScriptedModel", "TestContext", "context", "tool_context"]
