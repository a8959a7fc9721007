-- Webhooks: what the shop's back end is told, taken from the audit trail.
--
-- A sale pays nothing for them. Its orders are written as before, and a keeper moves one cursor per sale over the trail
-- and writes the events that are to be sent, in the statement that moves the cursor: each row becomes an event once.
--
-- What a cursor has passed it never sees again, so no row of a trail may become visible with a lower id than one that
-- is visible already. None does: whoever writes a row of a sale's trail holds the sale's row (FOR NO KEY UPDATE or
-- stronger) when its id is drawn, and lets go of it when the row is visible; the row of a sale that is being created is
-- its creator's alone. Hence the cursor needs no lock on the sale. A test holds the writers to it.

-- Whether events are written, and which: what the settings of the keeper that started last say. Where events are sent
-- is not kept here.
CREATE TABLE webhook_subscription (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    recording boolean NOT NULL DEFAULT false,
    -- Empty: all.
    types     text[]  NOT NULL DEFAULT '{}'
);
INSERT INTO webhook_subscription DEFAULT VALUES;

-- Up to which row of its trail a sale's events are written. No foreign keys in this file: their checks take a lock that
-- a rebuild of the sale would wait for, and no sale is ever deleted.
CREATE TABLE webhook_cursors (
    sale_id  uuid        PRIMARY KEY,
    position bigint      NOT NULL DEFAULT 0,
    -- Whether the last word about the sale was that it sells.
    opened   boolean     NOT NULL DEFAULT false,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The outbox: one row per event, each with the very bytes that are signed and sent.
CREATE TABLE webhook_events (
    seq             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The receiver's key against duplicates: the same at each attempt.
    id              uuid        NOT NULL UNIQUE,
    sale_id         uuid        NOT NULL,
    order_id        uuid,
    type            text        NOT NULL,
    payload         text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- delivered: a 2xx came back. failed: given up after too many attempts, until an operator says otherwise.
    state           text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed')),
    -- Attempts begun since the event was written or last asked for again.
    attempts        int         NOT NULL DEFAULT 0,
    -- When the next attempt is due. Whoever takes the event puts this off before sending: a lease, with no transaction
    -- open while somebody else's server thinks.
    due_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_attempt_at timestamptz,
    delivered_at    timestamptz,
    -- The last answer's status; NULL where none came.
    response_status int,
    last_error      text
);

CREATE INDEX webhook_events_due     ON webhook_events (due_at) WHERE state = 'pending';
CREATE INDEX webhook_events_failed  ON webhook_events (seq) WHERE state = 'failed';
CREATE INDEX webhook_events_of_sale ON webhook_events (sale_id, seq);

-- webhook_type: the type of event that a row of the trail is; NULL: nobody is told.
--
-- A reservation that PostgreSQL refused was never somebody's. A dead letter that was given up is an order that was
-- promised and cancelled, where its tombstone stands.
CREATE FUNCTION webhook_type(p_event text, p_detail jsonb, p_order_status text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_event
        WHEN 'RESERVED'  THEN CASE WHEN p_order_status IS DISTINCT FROM 'REFUSED' THEN 'order.reserved' END
        WHEN 'CONFIRMED' THEN 'order.confirmed'
        WHEN 'EXPIRED'   THEN 'order.expired'
        WHEN 'CANCELLED' THEN 'order.cancelled'
        WHEN 'REFUNDED'  THEN 'order.refunded'
        WHEN 'DEAD_LETTER_DISCARDED' THEN
            CASE WHEN p_order_status = 'CANCELLED' AND p_detail->>'unitsReturned' <> '0' THEN 'order.cancelled' END
        WHEN 'PAUSED'    THEN 'sale.paused'
        WHEN 'RESUMED'   THEN 'sale.resumed'
        WHEN 'SOLD_OUT'  THEN 'sale.sold_out'
        WHEN 'ENDED'     THEN 'sale.ended'
        WHEN 'RESET'     THEN 'sale.reset'
    END
$$;

-- webhook_time: an instant as RFC 3339 writes it, in UTC and milliseconds.
CREATE FUNCTION webhook_time(p_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- webhook_payload: the body of an event.
CREATE FUNCTION webhook_payload(p_id uuid, p_type text, p_at timestamptz, p_data json) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT json_build_object('id', p_id, 'type', p_type, 'createdAt', webhook_time(p_at),
                             'data', json_strip_nulls(p_data))::text
$$;

-- collect_webhooks_of: writes the events of the next `p_rows` rows of a sale's trail and moves the cursor behind them.
-- Returns the number of rows it has passed. The caller holds the cursor's row.
--
-- An event of an order carries the order's own terms and the state that the event brought it to; one of a sale carries
-- the counts of the moment it is written here.
--
-- Read by the index and in its order, whatever the statistics say: where a backlog has grown faster than they have, the
-- planner would fetch and sort all of it for each step.
CREATE FUNCTION collect_webhooks_of(p_sale uuid, p_rows int) RETURNS int LANGUAGE plpgsql SET enable_bitmapscan = off
AS $$
DECLARE
    v_passed int;
    v_last   bigint;
    v_over   boolean;
BEGIN
    WITH passed AS MATERIALIZED (
        SELECT a.* FROM audit a
        WHERE a.sale_id = p_sale AND a.id > (SELECT c.position FROM webhook_cursors c WHERE c.sale_id = p_sale)
        ORDER BY a.id LIMIT p_rows
    ),
    event AS MATERIALIZED (
        SELECT gen_random_uuid() AS id, webhook_type(a.event, a.detail, o.status) AS type, a.id AS audit_id, a.at,
               a.order_id,
               CASE WHEN a.order_id IS NULL
                    THEN json_build_object('saleId', p_sale, 'name', s.name, 'totalStock', s.total_stock,
                                           'totalSold', s.sold, 'actor', a.actor, 'reason', a.detail->>'reason')
                    ELSE json_build_object('saleId', p_sale, 'orderId', a.order_id, 'userId', a.user_id,
                                           'status', CASE a.event
                                                         WHEN 'RESERVED' THEN CASE WHEN o.hold_until IS NULL
                                                                                   THEN 'CONFIRMED' ELSE 'HELD' END
                                                         WHEN 'CONFIRMED' THEN 'CONFIRMED'
                                                         WHEN 'EXPIRED' THEN 'EXPIRED'
                                                         WHEN 'REFUNDED' THEN o.status ELSE 'CANCELLED' END,
                                           'quantity', o.quantity, 'unitPriceMinor', o.unit_price_minor,
                                           'currency', coalesce(o.currency, a.detail->>'currency'),
                                           'amountMinor', a.detail->'amountMinor',
                                           'holdUntil', CASE a.event WHEN 'RESERVED'
                                                        THEN webhook_time(o.hold_until) END,
                                           'actor', a.actor, 'reason', a.detail->>'reason')
               END AS data
        FROM passed a
        JOIN sales s ON s.id = p_sale
        LEFT JOIN orders o ON o.id = a.order_id
    ),
    written AS (
        INSERT INTO webhook_events (id, sale_id, order_id, type, payload)
        SELECT e.id, p_sale, e.order_id, e.type, webhook_payload(e.id, e.type, e.at, e.data)
        FROM event e CROSS JOIN webhook_subscription w
        WHERE e.type IS NOT NULL AND (w.types = '{}' OR e.type = ANY (w.types))
        ORDER BY e.audit_id
    )
    SELECT count(*), max(id), bool_or(event IN ('ENDED', 'RESET')) INTO v_passed, v_last, v_over FROM passed;

    UPDATE webhook_cursors
    SET position = v_last, opened = opened AND NOT v_over, moved_at = clock_timestamp()
    WHERE sale_id = p_sale AND v_passed > 0;
    RETURN v_passed;
END $$;

-- collect_webhooks: one step, for a keeper, over at most `p_sales` sales that have something to tell. Returns the
-- number of rows passed: above 0 there may be more. Any number of keepers may call it at once, none waits for another
-- or for a sale: a cursor that is being moved is left to whoever moves it.
CREATE FUNCTION collect_webhooks(p_rows int, p_sales int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_sale   uuid;
    v_passed int := 0;
BEGIN
    IF NOT (SELECT recording FROM webhook_subscription) THEN
        RETURN 0;
    END IF;
    INSERT INTO webhook_cursors (sale_id)
    SELECT s.id FROM sales s WHERE NOT EXISTS (SELECT FROM webhook_cursors c WHERE c.sale_id = s.id)
    ON CONFLICT DO NOTHING;

    -- 1. What the trail says. Locked first and read by a later statement, which sees what was committed until then.
    FOR v_sale IN
        SELECT c.sale_id FROM webhook_cursors c
        WHERE EXISTS (SELECT FROM audit a WHERE a.sale_id = c.sale_id AND a.id > c.position)
        ORDER BY c.moved_at LIMIT p_sales FOR UPDATE SKIP LOCKED
    LOOP
        v_passed := v_passed + collect_webhooks_of(v_sale, p_rows);
    END LOOP;

    -- 2. What only the clock says: the sale has begun.
    WITH begun AS (
        UPDATE webhook_cursors SET opened = true WHERE sale_id IN (
            SELECT c.sale_id FROM webhook_cursors c JOIN sales s ON s.id = c.sale_id
            WHERE NOT c.opened AND s.state = 'open' AND s.halted IS NULL
              AND s.starts_at <= clock_timestamp() AND s.ends_at > clock_timestamp()
            FOR UPDATE OF c SKIP LOCKED)
        RETURNING sale_id, gen_random_uuid() AS id
    )
    INSERT INTO webhook_events (id, sale_id, type, payload)
    SELECT b.id, s.id, 'sale.opened', webhook_payload(b.id, 'sale.opened', clock_timestamp(), json_build_object(
               'saleId', s.id, 'name', s.name, 'totalStock', s.total_stock, 'totalSold', s.sold))
    FROM begun b JOIN sales s ON s.id = b.sale_id CROSS JOIN webhook_subscription w
    WHERE w.types = '{}' OR 'sale.opened' = ANY (w.types);
    RETURN v_passed;
END $$;

-- subscribe_webhooks: switches events on, for these types (none: all), or off (NULL). What happens while they are off
-- is never told: switching on begins with the present.
CREATE FUNCTION subscribe_webhooks(p_types text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_was_recording boolean;
BEGIN
    SELECT recording INTO v_was_recording FROM webhook_subscription FOR UPDATE;
    UPDATE webhook_subscription SET recording = p_types IS NOT NULL, types = coalesce(p_types, '{}');
    IF p_types IS NOT NULL AND NOT v_was_recording THEN
        INSERT INTO webhook_cursors (sale_id, position, opened)
        SELECT s.id, coalesce((SELECT max(a.id) FROM audit a WHERE a.sale_id = s.id), 0),
               s.state IN ('open', 'draining') AND s.starts_at <= clock_timestamp()
        FROM sales s
        ON CONFLICT (sale_id) DO UPDATE SET position = EXCLUDED.position, opened = EXCLUDED.opened;
    END IF;
END $$;

-- reset_sale: as before, after what the sale's trail still had to tell is written as events.
ALTER FUNCTION reset_sale(uuid, bigint, uuid, text) RENAME TO forget_sale;

CREATE FUNCTION reset_sale(p_sale uuid, p_epoch bigint, p_token uuid, p_actor text)
RETURNS TABLE (stock bigint, buyers bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM sales WHERE id = p_sale AND epoch = p_epoch AND drain_token = p_token FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;

    IF (SELECT recording FROM webhook_subscription) THEN
        INSERT INTO webhook_cursors (sale_id) VALUES (p_sale) ON CONFLICT DO NOTHING;
        PERFORM FROM webhook_cursors WHERE sale_id = p_sale FOR UPDATE;
        WHILE collect_webhooks_of(p_sale, 10000) > 0 LOOP END LOOP;
    END IF;
    RETURN QUERY SELECT f.stock, f.buyers FROM forget_sale(p_sale, p_epoch, p_token, p_actor) f;
END $$;
