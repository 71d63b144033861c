-- Processes, their events and journals, blobs, workers.
--
-- Rules this schema keeps (docs/adr):
--   * Whoever writes anything of a process bumps the version of its row, and decides on nothing but a version that it
--     has checked under the row's lock (ADR 9). Leases are columns of the row: a table of their own deadlocks.
--   * Ranks count within a process, given out under that lock: identity columns commit out of order.
--   * A row that waits for a reply without a timer is in no scheduling index, so it costs a worker nothing.
--   * An index on every row's status would cost a tenth of a short process; each status is reached through a few rows.
--   * What is long (arguments, the rest of the spec) stands apart from what changes often.

CREATE TABLE lash_lane (
    lane         integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host_profile text NOT NULL,
    kind         text NOT NULL,
    name         text NOT NULL,
    version      text NOT NULL,
    UNIQUE (host_profile, kind, name, version)
);

CREATE SEQUENCE lash_row AS bigint;

CREATE TABLE lash_process (
    row            bigint PRIMARY KEY,
    id               text COLLATE "C" NOT NULL,
    lane             integer NOT NULL,
    status           smallint NOT NULL,  -- 0 running, 1 completed, 2 failed, 3 cancelled, 4 abandoned
    state            smallint NOT NULL,  -- 0 not scheduled, 1 ready, 2 timed, 3 leased
    wake_ms          bigint,             -- ready, timed: when it is due; leased: when the lease ends
    priority         bigint NOT NULL,
    owner            text COLLATE "C",
    token            bigint NOT NULL,
    news             smallint,           -- 1: somebody else wrote a delivered entry while it was leased
    lost             smallint,           -- 1: its worker was lost; the next claim is another attempt
    faults           bigint NOT NULL,
    attempts         bigint NOT NULL,
    created_ms       bigint NOT NULL,
    updated_ms       bigint NOT NULL,
    last_event       bigint NOT NULL,
    generation       bigint NOT NULL,    -- how often continue_as_new has cut the journal
    external         smallint NOT NULL,  -- 1: never claimed, never swept
    began_ms         bigint,
    first_owner      text,
    first_token      bigint,
    first_ms         bigint,
    waiting_on       text,
    waiting_key      text,
    waiting_until_ms bigint,
    cancel_reason    text,
    cancel_ms        bigint,
    blocked_reason   text,
    blocked_detail   text,
    blocked_hash     text,
    parent           text COLLATE "C",
    detached         smallint NOT NULL,
    definition       text NOT NULL,
    last_rank        bigint NOT NULL,    -- of the newest journal entry; it stays when the journal is cut
    last_ms          bigint NOT NULL,    -- store time of that entry
    awaited          smallint NOT NULL,  -- 1: somebody has opened a wait on its end
    version          bigint NOT NULL     -- grows with everything that is written of this process
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE UNIQUE INDEX lash_process_id ON lash_process (id);
CREATE INDEX lash_process_ready ON lash_process (lane, priority DESC, wake_ms) WHERE state = 1;
CREATE INDEX lash_process_timed ON lash_process (lane, wake_ms) WHERE state IN (2, 3);
CREATE INDEX lash_process_owner ON lash_process (owner) WHERE owner IS NOT NULL;
CREATE INDEX lash_process_parent ON lash_process (parent) WHERE parent IS NOT NULL;
CREATE INDEX lash_process_cancel ON lash_process (cancel_ms) WHERE cancel_ms IS NOT NULL AND status = 0 AND external = 0;
CREATE INDEX lash_process_blocked ON lash_process (lane) WHERE blocked_reason IS NOT NULL;
CREATE INDEX lash_process_ended ON lash_process (updated_ms) WHERE status > 0;
CREATE INDEX lash_process_idle ON lash_process (row) WHERE state = 0 AND status = 0;
CREATE INDEX lash_process_unhappy ON lash_process (row) WHERE status > 1;

CREATE TABLE lash_spec (
    row bigint PRIMARY KEY,
    args  bytea NOT NULL,
    more  bytea                          -- JSON object of the spec's other fields; NULL: all defaults
);

CREATE TABLE lash_tag (
    tag   text COLLATE "C" NOT NULL,
    row bigint NOT NULL,
    PRIMARY KEY (tag, row)
);
CREATE INDEX lash_tag_row ON lash_tag (row);

CREATE TABLE lash_event (
    process  bigint NOT NULL,
    sequence bigint NOT NULL,
    type     text NOT NULL,
    payload  bytea NOT NULL,
    key      text COLLATE "C",
    at_ms    bigint NOT NULL,
    PRIMARY KEY (process, sequence)
);
CREATE UNIQUE INDEX lash_event_key ON lash_event (process, key) WHERE key IS NOT NULL;

-- kind: 1 step, 2 command, 3 sleep, 4 wait, 5 reply, 6 close, 7 attempt, 8 cancel, 9 mail. Defaults are NULL.
CREATE TABLE lash_journal (
    process  bigint NOT NULL,
    rank     bigint NOT NULL,
    kind     smallint NOT NULL,
    ordinal  bigint NOT NULL,
    name     text,
    witness  text,
    payload  bytea,
    failed   smallint,
    attempt  bigint,
    began_ms bigint,
    due_ms   bigint,
    at_ms    bigint NOT NULL,
    open_key text COLLATE "C",           -- of a wait without a reply or of mail nobody took; the one column updated
    PRIMARY KEY (process, rank)
);
CREATE INDEX lash_journal_open ON lash_journal (open_key, process) WHERE open_key IS NOT NULL;
CREATE INDEX lash_journal_mine ON lash_journal (process) WHERE open_key IS NOT NULL;
CREATE INDEX lash_journal_wait ON lash_journal (process, ordinal) WHERE kind BETWEEN 4 AND 6;

CREATE TABLE lash_tombstone (
    id         text COLLATE "C" PRIMARY KEY,
    definition text NOT NULL,
    status     smallint NOT NULL,
    ended_ms   bigint NOT NULL,
    pruned_ms  bigint NOT NULL
);

CREATE TABLE lash_worker (
    owner    text COLLATE "C" PRIMARY KEY,
    lanes    bytea NOT NULL,
    about    bytea NOT NULL,
    until_ms bigint NOT NULL
);

-- Workers that hold the advisory lock of this number for as long as they live.
CREATE TABLE lash_proof (
    owner text COLLATE "C" PRIMARY KEY,
    lock  bigint NOT NULL
);

CREATE TABLE lash_blob (
    hash bytea PRIMARY KEY,
    data bytea NOT NULL
);

-- Blobs that pruning is to look at, and since when: they were put or kept then; 0: a session no longer speaks of them.
-- Whoever deletes a blob, or makes that somebody may, holds the lock of its row here first.
CREATE TABLE lash_loose (
    hash  bytea PRIMARY KEY,
    at_ms bigint NOT NULL
);
CREATE INDEX lash_loose_at ON lash_loose (at_ms);

CREATE FUNCTION lash_put_blob(its_hash bytea, its_data bytea, now_ms bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO lash_loose AS l VALUES (its_hash, now_ms)
        ON CONFLICT (hash) DO UPDATE SET at_ms = greatest(l.at_ms, excluded.at_ms);
    INSERT INTO lash_blob VALUES (its_hash, its_data) ON CONFLICT DO NOTHING;
END $$;
