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
SHOWN_CHARS_MAX: Final = 120
"""Of a value that an error message shows: what it is, not all of it."""

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
SUPERVISED_MAX: Final = 256
"""Workers under one supervisor: far beyond the cores of any machine."""
PRUNE_PAGE: Final = 500
"""Processes deleted in one transaction."""
PRUNE_BLOBS_PAGE: Final = 32
"""Attachments deleted in one transaction: at their largest they are a gigabyte."""

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

# Sessions and turns ------------------------------------------------------------------------------------------------
MODEL_CALLS_MAX: Final = 50
"""Default bound on model calls of one turn: a model that goes in circles must not spend for ever."""
TOOL_CALLS_MAX: Final = 200
"""Default bound on tool calls of one turn."""
TOOLS_AT_ONCE_MAX: Final = 32
"""Parallel tool calls of one turn that are at work at the same time; the others queue."""
RESULTS_BYTES_MAX: Final = VALUE_BYTES_MAX - 64 * 1024
"""What models read of the results of one answer's calls: they are one message, together with the ids of the calls."""
TOOL_CANCEL_GRACE_MS: Final = 50
"""How long a cancelled tool may take to stop before the turn ends without it."""
OUTPUT_TRIES_MAX: Final = 3
"""Times a model may hand in a final answer that does not fit the agent's output type."""
WINDOW_NODES: Final = 1_000
"""Nodes read back of a session to go on with it: enough for any model's context, too few to make reopening slow."""
INPUT_BYTES_MAX: Final = 1024 * 1024
"""One input of a session: what is longer belongs into an attachment."""
ATTACHMENT_BYTES_MAX: Final = 32 * 1024 * 1024
"""One attachment: what providers take at most, and what fits into memory several times."""
ATTACHMENT_GRACE_MS: Final = 24 * 3_600 * 1_000
"""An attachment of which no session speaks stays this long after it was stored last: time to send it."""
EVENTS_KEPT_MAX: Final = 2_048
"""Words of plugins and retries of one turn, kept for observers that are behind; those further behind miss them."""
STREAM_PAUSE_MS: Final = 10
"""Between two pieces of streamed text that are kept for observers in other OS processes, for each turn that has some
to keep: a worker keeps some hundred a second, whatever it streams, until the longest pause is reached."""
STREAM_PAUSE_MAX_MS: Final = 100
"""The longest such pause; the pieces of more turns share commits."""
STREAM_SHARE: Final = 5
"""Such a pause is as many times as long as the write of a piece took: a slow store is left to those who must write."""
RETRY_AFTER_MAX_MS: Final = 120_000
"""The longest pause a provider may ask for before its model is asked again; a longer one is cut to this."""

# Model providers ---------------------------------------------------------------------------------------------------
MODEL_ANSWER_MS: Final = 300_000
"""How long a model may go without saying anything while its connection is kept alive by pings."""
MODEL_QUIET_MS: Final = 120_000
"""How long nothing at all may come from a provider, the first byte included: it is gone."""
MODEL_CONNECT_MS: Final = 10_000
"""How long a connection to a provider may take to open."""
STREAM_LINGER_MS: Final = 250
"""Waited after a provider's end marker for the end of the body, so that the connection can be used again."""
BUDGET_OUTPUT_TOKENS: Final = 32_768
"""Output asked of a provider that wants a number, where the caller named none: beyond it answers take minutes."""

# Tools on files and commands ---------------------------------------------------------------------------------------
PATH_CHARS_MAX: Final = 4_096
"""A path that a model names: no system takes longer ones."""
PATH_LINKS_MAX: Final = 40
"""Symbolic links followed on the way to one file: more is a circle."""
WALK_DEPTH_MAX: Final = 64
"""Folders within folders that a search goes down: each is held open meanwhile."""
READ_FILE_LINES_MAX: Final = 2_000
READ_FILE_BYTES_MAX: Final = 50 * 1024
"""Text of a file shown at once: some 15,000 tokens, which the model pays for again with every later call."""
READ_FILE_LINE_CHARS_MAX: Final = 2_000
"""Shown of one line: what is longer was written by a program."""
EDIT_FILE_BYTES_MAX: Final = 8 * 1024 * 1024
"""A file that is written or patched: it is held in memory a few times over."""
LIST_DEPTH_MAX: Final = 3
LIST_ENTRIES_MAX: Final = 500
"""Names in one listing of a folder: an overview, not an inventory."""
GLOB_RESULTS_MAX: Final = 100
GLOB_MS_MAX: Final = 5_000
"""How long names are looked for."""
GREP_RESULTS: Final = 20
"""Lines found by default; a model may ask for up to ``GREP_RESULTS_MAX``."""
GREP_RESULTS_MAX: Final = 200
GREP_CONTEXT_MAX: Final = 10
"""Lines shown around each line that was found."""
GREP_LINE_CHARS_MAX: Final = 400
"""Shown of one line that was found."""
GREP_MS_MAX: Final = 5_000
"""How long text is searched; a pattern that takes for ever costs a core no longer than this."""
SHELL_MS: Final = 120_000
"""How long a command may take by default."""
SHELL_OUTPUT_BYTES_MAX: Final = 32 * 1024
"""Output of a command shown to the model: half of it from the beginning, half from the end."""
SHELL_KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Output of a command kept in a file; one that writes more is stopped before it fills the disk."""
SHELL_KEPT_FILES_MAX: Final = 32
"""Files with the output of commands in one folder; the oldest goes first."""

# Plugins -----------------------------------------------------------------------------------------------------------
OUTPUT_BUDGET_BYTES: Final = 16 * 1024
"""What a model reads of one tool result by default: some 4,000 tokens."""
OUTPUT_BUDGET_LINES: Final = 400
"""The same in lines."""
ROLLING_TAIL_TOKENS: Final = 20_000
"""What is kept of a conversation that has outgrown its model."""
ROLLING_MARGIN_TOKENS: Final = 20_000
"""Room left for the answer and for what tools say in the turn at hand."""
PROCESS_WAIT_S_MAX: Final = 3_600
"""A model asks again after so long, and may be stopped there."""
MCP_SERVER_NAME_CHARS_MAX: Final = 24
"""Of the 64 characters providers allow a tool's name; the rest is for the tool."""
MCP_STARTUP_MS: Final = 10_000
"""How long an MCP server may take to start and list its tools."""
MCP_CALL_MS: Final = 60_000
"""How long an MCP server may take for one call."""
MCP_CONNECT_MS: Final = 10_000
"""How long a connection to an MCP server on the network may take to open."""
MCP_QUIET_MS: Final = 300_000
"""How long nothing may come over a connection to an MCP server on the network: it is gone."""
MCP_CLOSE_MS: Final = 8_000
"""How long an MCP server may take to end: the SDK's own steps (ask, terminate, kill) take at most 6.5 s."""
MCP_RECONNECT_INITIAL_MS: Final = 500
MCP_RECONNECT_MAX_MS: Final = 30_000
"""Longest pause between two tries to reach an MCP server nobody asks for; a call tries at once."""
MCP_LIST_AGE_MS: Final = 60_000
"""When a turn begins, an older list of tools is asked for again if the server does not tell of changes."""
MCP_TOOLS_MAX: Final = 1_000
"""Tools of one MCP server: beyond it a list that never ends."""
MCP_STDERR_LINES: Final = 5
"""Of what an MCP server said before it ended, told with the failure."""
MCP_STDERR_LINE_CHARS_MAX: Final = 500
TOOL_NAME_CHARS_MAX: Final = 64
"""A tool's name: what providers take."""
