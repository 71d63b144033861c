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

-- Which sessions speak of a blob; of a deleted one, those of the nodes that forks share.
CREATE TABLE lash_ref (
    hash    bytea NOT NULL,
    session bigint NOT NULL,
    node    bigint NOT NULL,            -- the first one that may
    PRIMARY KEY (hash, session)
);
CREATE INDEX lash_ref_session ON lash_ref (session, node);

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
        INSERT INTO lash_loose AS l SELECT r.hash, 0 FROM lash_ref r JOIN lash_blob b ON b.hash = r.hash
            WHERE r.session = here AND r.node > coalesce(shared, 0) ORDER BY r.hash
            ON CONFLICT (hash) DO UPDATE SET at_ms = l.at_ms;  -- DO NOTHING would not wait for its lock
        DELETE FROM lash_ref WHERE session = here AND node > coalesce(shared, 0);
        IF shared IS NOT NULL AND shared > 0 THEN
            RETURN;
        END IF;
        DELETE FROM lash_session WHERE row = here;
        here := next;
    END LOOP;
END $$;

-- Those that are not there. Where all are, the session speaks of them from its next node on.
CREATE FUNCTION lash_keep_blobs(wanted bytea[], speaker bigint, now_ms bigint) RETURNS SETOF bytea
LANGUAGE plpgsql AS $$
DECLARE
    place bigint;
BEGIN
    SELECT head + 1 INTO place FROM lash_session WHERE row = speaker AND gone IS NULL FOR SHARE;
    INSERT INTO lash_loose AS l SELECT b.hash, now_ms FROM lash_blob b WHERE b.hash = ANY(wanted) ORDER BY b.hash
        ON CONFLICT (hash) DO UPDATE SET at_ms = greatest(l.at_ms, excluded.at_ms);
    RETURN QUERY SELECT w FROM unnest(wanted) AS w WHERE NOT EXISTS (SELECT FROM lash_blob b WHERE b.hash = w);
    IF NOT FOUND AND place IS NOT NULL THEN
        INSERT INTO lash_ref SELECT w, speaker, place FROM unnest(wanted) AS w ORDER BY w ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- What was looked at, and whether it is gone. The locks come first, then a new look at who speaks of them.
CREATE FUNCTION lash_prune_blobs(before_ms bigint, most bigint) RETURNS TABLE (looked bytea, gone boolean)
LANGUAGE plpgsql AS $$
DECLARE
    old bytea[];
BEGIN
    SELECT array_agg(l.hash) INTO old FROM (
        SELECT hash FROM lash_loose WHERE at_ms < before_ms ORDER BY at_ms, hash LIMIT most FOR UPDATE SKIP LOCKED
    ) l;
    DELETE FROM lash_blob b WHERE b.hash = ANY(old) AND NOT EXISTS (SELECT FROM lash_ref r WHERE r.hash = b.hash);
    DELETE FROM lash_loose l WHERE l.hash = ANY(old);
    RETURN QUERY SELECT u.hash, NOT EXISTS (SELECT FROM lash_blob b WHERE b.hash = u.hash)
        FROM unnest(old) WITH ORDINALITY AS u(hash, place) ORDER BY u.place;
END $$;
