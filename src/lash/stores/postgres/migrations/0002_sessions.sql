-- Sessions: their paths of nodes, items, turns, streamed pieces.
--
-- Rules this schema keeps (docs/adr/0010):
--   * Node n of a path is its n-th node in every session that shares it, so no parent is stored and nothing is rewritten.
--   * A deleted session stays as a skeleton (gone) for as long as a fork shares its nodes.
--   * What an item said goes when a turn has it: from then on it stands in a node.
--   * Whoever writes any of it bumps the version of the session's row in lash_process, under its lock (ADR 9).

CREATE TABLE lash_session (
    row       bigint PRIMARY KEY,
    name      text NOT NULL,
    gone      smallint,                 -- 1: deleted, and shared by forks
    base_row  bigint,                   -- the session that wrote the last node it shares
    base_node bigint NOT NULL,
    head      bigint NOT NULL,
    frame     bigint NOT NULL,
    turns     bigint NOT NULL,
    items     bigint NOT NULL,
    usage     bytea
) WITH (fillfactor = 70);
CREATE INDEX lash_session_base ON lash_session (base_row) WHERE base_row IS NOT NULL;

-- kind: NULL message, 1 frame, 2 state, 3 note.
CREATE TABLE lash_node (
    session bigint NOT NULL,
    number  bigint NOT NULL,
    kind    smallint,
    name    text,
    turn    bigint NOT NULL,
    at_ms   bigint NOT NULL,
    body    bytea NOT NULL,
    PRIMARY KEY (session, number)
);
CREATE INDEX lash_node_frame ON lash_node (session, number) WHERE kind = 1;
CREATE INDEX lash_node_state ON lash_node (session, number) WHERE kind = 2;

-- kind: 0 input, 1 wake, 2 command. delivery: 0 next turn, 1 earliest boundary. state: 0 pending, 1 taken, 2 done,
-- 3 cancelled.
CREATE TABLE lash_item (
    session  bigint NOT NULL,
    number   bigint NOT NULL,
    kind     smallint NOT NULL,
    delivery smallint NOT NULL,
    state    smallint NOT NULL,
    turn     bigint NOT NULL,
    at_ms    bigint NOT NULL,
    key      text COLLATE "C",
    hash     text,                      -- of what it said, where it has a key
    payload  bytea,
    PRIMARY KEY (session, number)
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX lash_item_key ON lash_item (session, key) WHERE key IS NOT NULL;
CREATE INDEX lash_item_undone ON lash_item (session, number) WHERE state < 2;

CREATE TABLE lash_turn (
    session    bigint NOT NULL,
    number     bigint NOT NULL,
    witness    text NOT NULL,
    first_node bigint NOT NULL,
    last_node  bigint NOT NULL,
    at_ms      bigint NOT NULL,
    receipt    bytea NOT NULL,
    PRIMARY KEY (session, number)
);

CREATE TABLE lash_piece (
    session bigint NOT NULL,
    token   bigint NOT NULL,
    number  bigint NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (session, token, number)
);

-- Which sessions speak of a blob.
CREATE TABLE lash_ref (
    hash    text COLLATE "C" NOT NULL,
    session bigint NOT NULL,
    PRIMARY KEY (hash, session)
);
CREATE INDEX lash_ref_session ON lash_ref (session);

-- Drops what no session and no fork of a deleted one can reach any more, beginning with a deleted session.
CREATE FUNCTION lash_collect(first bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    here bigint := first;
    next bigint;
    shared bigint;
BEGIN
    WHILE here IS NOT NULL LOOP
        SELECT base_row INTO next FROM lash_session WHERE row = here AND gone = 1 FOR UPDATE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        SELECT max(base_node) INTO shared FROM lash_session WHERE base_row = here;
        DELETE FROM lash_node WHERE session = here AND number > coalesce(shared, 0);
        IF shared IS NOT NULL AND shared > 0 THEN
            RETURN;
        END IF;
        DELETE FROM lash_session WHERE row = here;
        here := next;
    END LOOP;
END $$;
