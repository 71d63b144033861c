"""Interfaces and their obligations. Implementers read these files and run ``lash.testing.conformance``."""
