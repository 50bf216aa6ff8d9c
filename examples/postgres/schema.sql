-- Where the next record of each partition is read. Moves only together with what was done because of the records before.
CREATE TABLE IF NOT EXISTS easel_positions (
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);

-- How each request ended, once.
CREATE TABLE IF NOT EXISTS easel_ends (
    event_id uuid PRIMARY KEY,
    tenant text NOT NULL,
    request_id uuid NOT NULL,
    kind text NOT NULL,
    cost_milliunits bigint NOT NULL,
    UNIQUE (tenant, request_id)
);

CREATE TABLE IF NOT EXISTS easel_pictures (
    event_id uuid NOT NULL REFERENCES easel_ends,
    number integer NOT NULL,
    key text NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (event_id, number)
);

-- A sum, which an event that is taken twice would spoil for ever.
CREATE TABLE IF NOT EXISTS easel_spent (
    tenant text PRIMARY KEY,
    requests bigint NOT NULL,
    milliunits bigint NOT NULL
);
