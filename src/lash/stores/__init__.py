"""Where durable state lives. ``memory`` is the specification; the others are checked against it.

Nothing is imported here: a store's module is loaded by the URL that names it, so that start-up pays for one only.
"""
