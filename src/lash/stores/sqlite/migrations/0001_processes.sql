-- Processes, their events and journals, blobs, workers.
--
-- Rules this schema keeps (docs/adr):
--   * The journal is append only under an integer rank: a clustered (process, ordinal) key halves the write rate.
--   * A row that waits for a reply without a timer is in no scheduling index, so it costs a worker nothing.
--   * What is long (arguments, the rest of the spec) stands apart from what changes often.

CREATE TABLE lash_lane (
    lane         INTEGER PRIMARY KEY,
    host_profile TEXT NOT NULL,
    kind         TEXT NOT NULL,
    name         TEXT NOT NULL,
    version      TEXT NOT NULL,
    UNIQUE (host_profile, kind, name, version)
);

-- Numbers that must not be used again after the row that had them was deleted: 'rank' and 'row'.
CREATE TABLE lash_floor (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO lash_floor (name, value) VALUES ('rank', 0), ('row', 0);

CREATE TABLE lash_process (
    row              INTEGER PRIMARY KEY,
    id               TEXT NOT NULL,
    lane             INTEGER NOT NULL,
    status           INTEGER NOT NULL,  -- 0 running, 1 completed, 2 failed, 3 cancelled, 4 abandoned
    state            INTEGER NOT NULL,  -- 0 not scheduled, 1 ready, 2 timed, 3 leased
    wake_ms          INTEGER,           -- ready, timed: when it is due; leased: when the lease ends
    priority         INTEGER NOT NULL,
    owner            TEXT,
    token            INTEGER NOT NULL,
    news             INTEGER,           -- 1: somebody else wrote a delivered entry while it was leased
    lost             INTEGER,           -- 1: its worker was lost; the next claim is another attempt
    faults           INTEGER NOT NULL,
    attempts         INTEGER NOT NULL,
    created_ms       INTEGER NOT NULL,
    updated_ms       INTEGER NOT NULL,
    last_event       INTEGER NOT NULL,
    generation       INTEGER NOT NULL,  -- how often continue_as_new has cut the journal
    external         INTEGER NOT NULL,  -- 1: never claimed, never swept
    began_ms         INTEGER,
    first_owner      TEXT,
    first_token      INTEGER,
    first_ms         INTEGER,
    waiting_on       TEXT,
    waiting_key      TEXT,
    waiting_until_ms INTEGER,
    cancel_reason    TEXT,
    cancel_ms        INTEGER,
    blocked_reason   TEXT,
    blocked_detail   TEXT,
    blocked_hash     TEXT,
    parent           TEXT,
    detached         INTEGER NOT NULL,
    definition       BLOB NOT NULL
);
CREATE UNIQUE INDEX lash_process_id ON lash_process (id);
CREATE INDEX lash_process_ready ON lash_process (lane, priority DESC, wake_ms) WHERE state = 1;
CREATE INDEX lash_process_timed ON lash_process (lane, wake_ms) WHERE state IN (2, 3);
CREATE INDEX lash_process_owner ON lash_process (owner) WHERE owner IS NOT NULL;
CREATE INDEX lash_process_news ON lash_process (owner) WHERE news = 1;
CREATE INDEX lash_process_parent ON lash_process (parent) WHERE parent IS NOT NULL;
CREATE INDEX lash_process_cancel ON lash_process (cancel_ms) WHERE cancel_ms IS NOT NULL AND status = 0 AND external = 0;
CREATE INDEX lash_process_blocked ON lash_process (lane) WHERE blocked_reason IS NOT NULL;
CREATE INDEX lash_process_ended ON lash_process (updated_ms) WHERE status > 0;
CREATE INDEX lash_process_status ON lash_process (status);

CREATE TABLE lash_spec (
    row  INTEGER PRIMARY KEY,
    args BLOB NOT NULL,
    more BLOB                           -- JSON object of the spec's other fields; NULL: all defaults
);

CREATE TABLE lash_tag (
    tag TEXT NOT NULL,
    row INTEGER NOT NULL,
    PRIMARY KEY (tag, row)
) WITHOUT ROWID;

CREATE TABLE lash_event (
    process  INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    type     TEXT NOT NULL,
    payload  BLOB NOT NULL,
    key      TEXT,
    at_ms    INTEGER NOT NULL
);
CREATE UNIQUE INDEX lash_event_sequence ON lash_event (process, sequence);
CREATE UNIQUE INDEX lash_event_key ON lash_event (process, key) WHERE key IS NOT NULL;

-- kind: 1 step, 2 command, 3 sleep, 4 wait, 5 reply, 6 close, 7 attempt, 8 cancel, 9 mail. Defaults are NULL.
CREATE TABLE lash_journal (
    rank     INTEGER PRIMARY KEY,
    process  INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    ordinal  INTEGER NOT NULL,
    name     TEXT,
    witness  BLOB,
    payload  BLOB,
    failed   INTEGER,
    attempt  INTEGER,
    began_ms INTEGER,
    due_ms   INTEGER,
    at_ms    INTEGER NOT NULL,
    open_key TEXT                       -- of a wait without a reply or of mail nobody took; the one column updated
);
CREATE INDEX lash_journal_process ON lash_journal (process);
CREATE INDEX lash_journal_open ON lash_journal (open_key, process, kind, ordinal) WHERE open_key IS NOT NULL;
CREATE INDEX lash_journal_wait ON lash_journal (process, ordinal) WHERE kind BETWEEN 4 AND 6;

CREATE TABLE lash_tombstone (
    id         TEXT PRIMARY KEY,
    definition BLOB NOT NULL,
    status     INTEGER NOT NULL,
    ended_ms   INTEGER NOT NULL,
    pruned_ms  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE lash_worker (
    owner    TEXT PRIMARY KEY,
    lanes    BLOB NOT NULL,
    about    BLOB NOT NULL,
    until_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE lash_blob (
    hash BLOB PRIMARY KEY,
    data BLOB NOT NULL
);

-- Blobs that pruning is to look at, and since when: they were put or kept then; 0: a session no longer speaks of them.
CREATE TABLE lash_loose (
    hash  BLOB PRIMARY KEY,
    at_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX lash_loose_at ON lash_loose (at_ms);
