-- The trail, a row for a batch: a third off each order (docs/PERFORMANCE.md; ADR 28 says why nothing is lost by it).
--
-- Locks: `audit` wholly (ACCESS EXCLUSIVE), for a moment. No row is rewritten: a new column is NULL in the old ones.

-- The orders of a batch, the last one first. When each was reserved, and by whom, the order says itself, which is there
-- for as long as the trail is; `event` is the status that all of them were written with, `at` when.
ALTER TABLE audit ADD COLUMN order_ids uuid[];
-- Ids are as good as random: an attempt to compress them takes time and saves nothing.
ALTER TABLE audit ALTER COLUMN order_ids SET STORAGE EXTERNAL;
-- Nor does any plan depend on which ids there are: ANALYZE would read and count them all.
ALTER TABLE audit ALTER COLUMN order_ids SET STATISTICS 0;

-- trail: the audit trail, moment by moment, whether they share a row or not. The moments of a row have the row's own
-- number and those before it, 8192 at most, and those of other rows have other numbers. So who pages through it names
-- `row_id`, which the index knows, and `id`, and sorts by both.
CREATE VIEW trail AS
SELECT a.sale_id, a.id AS row_id, m.id, m.at, m.event, m.order_id, m.user_id, a.actor, a.detail
FROM audit a
CROSS JOIN LATERAL (
    SELECT a.id, a.at, a.event, a.order_id, a.user_id WHERE a.order_ids IS NULL
    UNION ALL
    -- Held orders have one moment. The last one of a row has the row's own number, whatever it is.
    SELECT a.id - 2 * (new.place - 1) - two.to_come, CASE moment WHEN 'RESERVED' THEN o.reserved_at ELSE a.at END,
           moment, o.id, o.user_id
    FROM unnest(a.order_ids) WITH ORDINALITY AS new (id, place)
    JOIN orders o ON o.id = new.id
    CROSS JOIN LATERAL (
        SELECT 'RESERVED', CASE a.event WHEN 'HELD' THEN 0 ELSE 1 END
        UNION ALL
        SELECT a.event, 0 WHERE a.event <> 'HELD'
    ) AS two (moment, to_come)
) AS m;

-- trail_page: the newest `p_most` moments of a sale before the moment `p_before`, the newest first.
--
-- Without `enable_sort` the rows come by the index and in its order, and only the first of them are taken apart. With
-- it, where a sale has grown faster than the statistics, the planner takes all of it apart and sorts it. What its absence
-- does to the costs of a plan looks to `jit` like a query worth half a second of compiling.
CREATE FUNCTION trail_page(p_sale uuid, p_before bigint, p_most bigint) RETURNS SETOF trail
LANGUAGE sql STABLE SET enable_sort = off SET jit = off AS $$
    SELECT * FROM trail
    WHERE sale_id = p_sale AND id < p_before AND row_id < p_before + 8192
    ORDER BY row_id DESC, id DESC LIMIT p_most
$$;

-- write_orders: as before, but for the trail.
CREATE OR REPLACE FUNCTION write_orders(
    p_sale uuid, p_epoch bigint, p_unit_price_minor bigint, p_currency text, p_hold_seconds bigint,
    p_ids uuid[], p_users text[], p_quantities int[], p_reserved_at_ms bigint[], p_statuses text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c_orders CONSTANT int := 4096; -- of a row of the trail at most: a draw is 8192 numbers, an order has two moments
    v_now    timestamptz := clock_timestamp();
BEGIN
    INSERT INTO orders (id, sale_id, epoch, unit_price_minor, reserved_at, created_at, quantity, status, currency,
                        user_id, hold_until)
    SELECT id, p_sale, p_epoch, p_unit_price_minor, to_timestamp(reserved_at_ms / 1000.0::float8), v_now, quantity,
           status, p_currency, user_id, CASE WHEN status = 'HELD' THEN v_now + make_interval(secs => p_hold_seconds) END
    FROM (SELECT unnest(p_ids) AS id, unnest(p_users) AS user_id, unnest(p_quantities) AS quantity,
                 unnest(p_reserved_at_ms) AS reserved_at_ms, unnest(p_statuses) AS status) AS new
    WHERE status IS NOT NULL;

    INSERT INTO audit (sale_id, id, at, event, order_ids) OVERRIDING SYSTEM VALUE
    SELECT p_sale, nextval('audit_id_seq') + 2 * c_orders - 1, v_now, status, array_agg(id ORDER BY place DESC)
    FROM (SELECT unnest(p_ids) AS id, unnest(p_statuses) AS status,
                 generate_series(0, cardinality(p_ids) - 1) AS place) AS new
    WHERE status IS NOT NULL
    GROUP BY status, place / c_orders ORDER BY min(place);
END $$;

-- collect_webhooks_of: as before, but of the trail's moments: it passes the next `p_rows` of them, and may stop in the
-- midst of a row.
--
-- Without `enable_sort` and `jit` for the reasons above.
CREATE OR REPLACE FUNCTION collect_webhooks_of(p_sale uuid, p_rows int) RETURNS int
LANGUAGE plpgsql SET enable_sort = off SET jit = off AS $$
DECLARE
    v_position bigint := (SELECT position FROM webhook_cursors WHERE sale_id = p_sale);
    v_passed   int;
    v_last     bigint;
    v_over     boolean;
BEGIN
    WITH passed AS MATERIALIZED (
        SELECT t.* FROM trail t
        WHERE t.sale_id = p_sale AND t.row_id > v_position AND t.id > v_position
        ORDER BY t.row_id, t.id LIMIT p_rows
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
