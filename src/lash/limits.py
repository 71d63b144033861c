"""A bound on everything, with its unit and its reason. No other file holds a bare limit."""

from __future__ import annotations

from typing import Final

# Values ------------------------------------------------------------------------------------------------------------
VALUE_BYTES_MAX: Final = 4 * 1024 * 1024
"""One JSON value: larger ones belong in a file or an attachment; a journal must stay quick to replay."""
DEPTH_MAX: Final = 150
"""Nesting of one JSON value: below the recursion bound of the decoder (200), so that what is written can be read."""
ID_CHARS_MAX: Final = 256
"""An id, name, key or tag: it is an index key in every store."""
TAGS_MAX: Final = 32
"""Tags on one process."""
RAW_BYTES_MAX: Final = VALUE_BYTES_MAX // 2
"""Details kept with a failure, which must fit into one value together with everything around them."""
FAILURE_MESSAGE_CHARS_MAX: Final = 4_000
"""Kept of an exception's text: enough to read, too little to fill a disk in a crash loop."""

# Processes ---------------------------------------------------------------------------------------------------------
EFFECTS_MAX: Final = 50_000
"""Recorded effects in one scope (warned about at half): replay time grows with them; use ``continue_as_new``."""
ATTEMPTS_MAX: Final = 100
"""Default bound on how often a process may lose its worker before it fails as ``attempts_exhausted``."""
ACTIVATION_CALLBACKS_MAX: Final = 1_000_000
"""Callbacks a body may run without waiting for anything recorded: a loop that never blocks is stopped here."""
STEP_THREADS_MAX: Final = 32
"""Threads for sync steps of one worker."""
STEPS_IN_FLIGHT_MAX: Final = 1_000
"""Steps of one process performed at the same time; the others queue in the order they were asked for."""
CANCEL_GRACE_MS: Final = 30_000
"""How long a cancelled body may clean up before it is closed."""
RETRY_ATTEMPTS_MAX: Final = 1_000
"""Attempts of one step."""

# Back-off ----------------------------------------------------------------------------------------------------------
BACKOFF_FREE_ATTEMPTS: Final = 2
"""Lost workers after which a take-over is still immediate: the first crash must not cost the user a pause."""
BACKOFF_INITIAL_MS: Final = 500
BACKOFF_MAX_MS: Final = 300_000
"""Longest pause between two tries of a row in trouble (doubling from the initial)."""

# Leases and the worker ---------------------------------------------------------------------------------------------
LEASE_TTL_MIN_MS: Final = 100
"""Shorter leases would be lost to ordinary garbage collection and disk pauses."""
CLAIM_PAGE_MAX: Final = 256
"""Rows claimed in one statement: bounds the transaction."""
SWEEP_MS: Final = 250
"""How often a worker looks for peers whose proof of life is gone (take-over within 1 s)."""
SAFETY_POLL_MS: Final = 5_000
"""The slow look that stands behind every notice, in case one is lost."""
REPLAY_SLICE: Final = 500
"""Replies delivered to one body before the worker's loop gets a turn."""
PRUNE_PAGE: Final = 500
"""Processes deleted in one transaction."""

# Stores ------------------------------------------------------------------------------------------------------------
BATCH_OPS_MAX: Final = 2_000
"""Operations in one transaction: beyond this a commit grows without any gain per row."""
BUSY_DEADLINE_MS: Final = 60_000
"""How long a write may wait for another process's lock before it is ``StoreUnavailable``."""
RECONNECT_DEADLINE_MS: Final = 5_000
"""How long a call waits for a database server that does not answer before it is ``StoreUnavailable``: half a lease."""
READ_LINES_MAX: Final = 4
"""Connections that read, of one store on a database server."""
INLINE_COMMIT_US_MAX: Final = 1_500
"""Commit on the event loop while a commit takes no longer than this; a slower disk gets a writer thread."""
PAGE_ROWS_MAX: Final = 1_000
"""Rows returned by one listing call."""
