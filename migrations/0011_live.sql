-- What operators watch: who is at work, and how clicks are answered. Nothing decides by these rows (ADR 23): they say
-- what processes tell of themselves, and whoever is right about a sale are its own tables.
--
-- Both are UNLOGGED: written each second or two by each process, read while people look on, and of no use an hour later.
-- A crash of PostgreSQL empties them, and the processes go on writing.
--
-- Locks: new tables that nothing refers to.

-- One row for each process that runs. One that stops on purpose deletes its own; one that dies leaves it, which is how it
-- is noticed, and others delete it ten minutes later.
CREATE UNLOGGED TABLE processes (
    id         uuid             PRIMARY KEY,
    role       text             NOT NULL CHECK (role IN ('api', 'persister', 'keeper')),
    host       text             NOT NULL,
    pid        int              NOT NULL,
    version    text             NOT NULL,
    -- Attempts to purchase that an API has answered, reservations that a persister has written, rounds of a keeper.
    handled    bigint           NOT NULL,
    -- Of them, between the last two times that it was seen.
    per_second double precision NOT NULL DEFAULT 0,
    started_at timestamptz      NOT NULL DEFAULT clock_timestamp(),
    seen_at    timestamptz      NOT NULL DEFAULT clock_timestamp()
);

-- How an API has answered attempts to purchase, second by second, for ten minutes.
CREATE UNLOGGED TABLE traffic (
    at_second timestamptz NOT NULL,     -- by Redis's clock
    process   uuid        NOT NULL,
    successes bigint      NOT NULL,
    refusals  bigint      NOT NULL,
    -- Told to try again under an order's id: it may have won.
    unknown   bigint      NOT NULL,
    -- How long they waited for the answer, in microseconds: an HdrHistogram (V2).
    latencies bytea       NOT NULL,

    PRIMARY KEY (at_second, process)
);
