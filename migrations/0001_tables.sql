-- The tables of the ledger.
--
-- PostgreSQL is the only authority over who bought what: two constraints, `never_oversell` and `one_order_per_user`,
-- hold whatever Redis and RabbitMQ forget. Everything else here serves to get the other two back in step with it.
--
-- The lock order of every writer is the sale's row first. Whoever writes orders takes it FOR NO KEY UPDATE, which
-- excludes its like but not the FOR KEY SHARE of foreign keys and of refusal counts; whoever rebuilds or reads the
-- books takes it FOR UPDATE, which excludes all of them.

CREATE TABLE sales (
    id               uuid        PRIMARY KEY,
    name             text        NOT NULL,
    total_stock      int         NOT NULL CHECK (total_stock >= 0),
    -- Units of active orders. Kept here and not counted, so that one row lock guards it and one CHECK holds it.
    sold             int         NOT NULL DEFAULT 0,
    -- What a buyer agrees to. The gate copies these into each reservation, so an edit changes no order on its way.
    unit_price_minor bigint      NOT NULL DEFAULT 0 CHECK (unit_price_minor >= 0),
    currency         text        NOT NULL DEFAULT 'EUR' CHECK (currency ~ '^[A-Z]{3}$'),
    hold_seconds     int         NOT NULL DEFAULT 0 CHECK (hold_seconds >= 0), -- 0: no payment step
    per_user_limit   int         NOT NULL DEFAULT 1 CHECK (per_user_limit BETWEEN 1 AND 10000),
    starts_at        timestamptz NOT NULL,
    ends_at          timestamptz NOT NULL,
    -- The incarnation of the sale's gate, outbox and queue. Raising it makes every older one dead.
    epoch            bigint      NOT NULL DEFAULT 0,
    -- Messages of an older epoch were reset away: they are acknowledged and never become orders.
    valid_from_epoch bigint      NOT NULL DEFAULT 0,
    -- The queue of this epoch and of every older one has been drained and deleted.
    drained_through  bigint      NOT NULL DEFAULT 0,
    state            text        NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'draining', 'open', 'ended')),
    -- Names the one reconciler that may write while the sale is draining.
    drain_token      uuid,
    -- The scripts and the Redis server of the open gate: a keeper compares them with what it finds there.
    installation     jsonb,
    ended_at         timestamptz,
    -- Since when the ended sale's queue, keys and scripts are gone.
    cleaned_at       timestamptz,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT never_oversell      CHECK (sold BETWEEN 0 AND total_stock),
    CONSTRAINT window_has_a_length CHECK (starts_at < ends_at),
    CONSTRAINT drained_by_one      CHECK ((state = 'draining') = (drain_token IS NOT NULL)),
    CONSTRAINT open_gate_is_known  CHECK (state <> 'open' OR installation IS NOT NULL)
);

-- One row per reservation that reached PostgreSQL. Its id is the reservation's, so the buyer knew it at once and a
-- redelivered message finds its own row. A row that left the active states stays as a tombstone, so that a
-- redelivery cannot resurrect it and the buyer cannot buy twice.
--
-- Columns stand from the widest alignment to the narrowest: at a hundred thousand rows a second padding is I/O.
-- `currency` is not checked again: only a sale can introduce one.
CREATE TABLE orders (
    id               uuid        PRIMARY KEY,
    sale_id          uuid        NOT NULL REFERENCES sales,
    epoch            bigint      NOT NULL,
    unit_price_minor bigint      NOT NULL CHECK (unit_price_minor >= 0),
    reserved_at      timestamptz NOT NULL,                              -- by Redis's clock
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),    -- by this server's, like hold_until
    quantity         int         NOT NULL CHECK (quantity > 0),
    status           text        NOT NULL
                     CHECK (status IN ('HELD', 'PAYING', 'CONFIRMED', 'EXPIRED', 'CANCELLED', 'REFUSED')),
    currency         text        NOT NULL,
    user_id          text        NOT NULL,
    hold_until       timestamptz,

    CONSTRAINT one_order_per_user UNIQUE (sale_id, user_id)
);

-- The outbox from PostgreSQL to Redis: units to add to (or take off) the gate's stock. Written in the transaction
-- that moved the units, applied by a keeper, idempotent by id.
--
-- `epoch` is the sale's at the time of writing, and an adjustment belongs to the gate of that epoch alone: a rebuild
-- computes the next gate's stock from the orders themselves, and marks everything written before as applied.
CREATE TABLE stock_adjustments (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sale_id    uuid        NOT NULL REFERENCES sales,
    epoch      bigint      NOT NULL,
    order_id   uuid,
    delta      int         NOT NULL,
    reason     text        NOT NULL,
    applied_at timestamptz,
    -- A redelivered message books its units once.
    UNIQUE (order_id, reason)
);

CREATE INDEX pending_adjustments ON stock_adjustments (sale_id, id) WHERE applied_at IS NULL;

-- Messages that can never become an order, kept with the reason for an operator to redrive or discard. `sale_id` may
-- name no sale at all (that may be the very reason), hence no foreign key; of an unreadable body only `body` is known.
CREATE TABLE dead_letters (
    id             uuid        PRIMARY KEY,
    sale_id        uuid,
    epoch          bigint,
    reservation_id uuid,
    user_id        text,
    quantity       int,
    reason         text        NOT NULL,
    body           bytea       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    resolved_at    timestamptz,
    resolution     text
);

-- However often its message is redelivered, a reservation is buried once.
CREATE UNIQUE INDEX one_grave_per_reservation ON dead_letters (reservation_id) WHERE reservation_id IS NOT NULL;
CREATE INDEX unresolved_dead_letters_of_sale ON dead_letters (sale_id) WHERE resolved_at IS NULL;

-- What happened to a sale and its orders, row by row, each written in the transaction it tells of.
-- Two rows per order on the hot path: no foreign key, and no index but the one an operator pages through.
CREATE TABLE audit (
    sale_id  uuid        NOT NULL,
    id       bigint      GENERATED ALWAYS AS IDENTITY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    event    text        NOT NULL,
    order_id uuid,
    user_id  text,
    actor    text,
    detail   jsonb,

    PRIMARY KEY (sale_id, id)
);

-- Attempts that did not win, counted per second: ten thousand clicks on a hundred units must not be rows.
CREATE TABLE refusals (
    sale_id   uuid        NOT NULL REFERENCES sales,
    reason    text        NOT NULL,
    at_second timestamptz NOT NULL,
    count     bigint      NOT NULL CHECK (count >= 0),

    PRIMARY KEY (sale_id, reason, at_second)
);

-- How far each counting process has flushed: a flush whose answer was lost is sent again and counts once.
CREATE TABLE refusal_flushes (
    process uuid        PRIMARY KEY,
    seq     bigint      NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
