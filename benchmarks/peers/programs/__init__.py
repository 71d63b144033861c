"""One program per contender, the same work in each: it runs in that peer's own environment and prints one JSON line.

A program imports its peer, the standard library and ``measuring``; nothing of lash, but for lash's own.
"""
