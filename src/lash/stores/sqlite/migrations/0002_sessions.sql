-- Sessions: their paths of nodes, items, turns, streamed pieces.
--
-- Rules this schema keeps (docs/adr/0010):
--   * Node n of a path is its n-th node in every session that shares it, so no parent is stored and nothing is rewritten.
--   * A deleted session stays as a skeleton (gone) for as long as a fork shares its nodes.
--   * What an item said goes when a turn has it: from then on it stands in a node.

CREATE TABLE lash_session (
    row       INTEGER PRIMARY KEY,
    name      TEXT NOT NULL,
    gone      INTEGER,                  -- 1: deleted, and shared by forks
    base_row  INTEGER,                  -- the session that wrote the last node it shares
    base_node INTEGER NOT NULL,
    head      INTEGER NOT NULL,
    frame     INTEGER NOT NULL,
    turns     INTEGER NOT NULL,
    items     INTEGER NOT NULL,
    usage     BLOB
);
CREATE INDEX lash_session_base ON lash_session (base_row, base_node) WHERE base_row IS NOT NULL;

-- kind: NULL message, 1 frame, 2 state, 3 note.
CREATE TABLE lash_node (
    session INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    kind    INTEGER,
    name    TEXT,
    turn    INTEGER NOT NULL,
    at_ms   INTEGER NOT NULL,
    body    BLOB NOT NULL
);
CREATE UNIQUE INDEX lash_node_number ON lash_node (session, number);
CREATE INDEX lash_node_frame ON lash_node (session, number) WHERE kind = 1;
CREATE INDEX lash_node_state ON lash_node (session, name, number, kind) WHERE kind = 2;  -- kind: so that it covers

-- kind: 0 input, 1 wake, 2 command. delivery: 0 next turn, 1 earliest boundary. state: 0 pending, 1 taken, 2 done,
-- 3 cancelled.
CREATE TABLE lash_item (
    session  INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    delivery INTEGER NOT NULL,
    state    INTEGER NOT NULL,
    turn     INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL,
    key      TEXT,
    hash     BLOB,                      -- of what it said, where it has a key
    payload  BLOB
);
CREATE UNIQUE INDEX lash_item_number ON lash_item (session, number);
CREATE UNIQUE INDEX lash_item_key ON lash_item (session, key) WHERE key IS NOT NULL;
CREATE INDEX lash_item_undone ON lash_item (session, number) WHERE state < 2;

CREATE TABLE lash_turn (
    session    INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    witness    BLOB NOT NULL,
    first_node INTEGER NOT NULL,
    last_node  INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    receipt    BLOB NOT NULL,
    PRIMARY KEY (session, number)
) WITHOUT ROWID;

CREATE TABLE lash_piece (
    session INTEGER NOT NULL,
    token   INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    payload BLOB NOT NULL
);
CREATE UNIQUE INDEX lash_piece_number ON lash_piece (session, token, number);

-- Which sessions speak of a blob; of a deleted one, those of the nodes that forks share.
CREATE TABLE lash_ref (
    hash    BLOB NOT NULL,
    session INTEGER NOT NULL,
    node    INTEGER NOT NULL,           -- the first one that may
    PRIMARY KEY (hash, session)
) WITHOUT ROWID;
CREATE INDEX lash_ref_session ON lash_ref (session, node);
