-- write_orders, faster: a fifth off each order (docs/PERFORMANCE.md). It says of the arrays and of the lock what
-- 0002_apply_batch.sql says, and writes the same rows.
--
-- Locks: the sequence of `audit`, for a moment.

-- A number drawn row by row cost as much as the row's index entry. So one draw is a block of numbers: who writes one row
-- uses its first, who writes many uses the rest too. Numbers still only grow within a sale, because whoever draws one
-- holds the sale's row until the row is visible.
ALTER SEQUENCE audit_id_seq INCREMENT BY 8192;

-- Arrays are unnested in the select list: in FROM each of them would be written to a tuplestore and read from there.
CREATE OR REPLACE FUNCTION write_orders(
    p_sale uuid, p_epoch bigint, p_unit_price_minor bigint, p_currency text, p_hold_seconds bigint,
    p_ids uuid[], p_users text[], p_quantities int[], p_reserved_at_ms bigint[], p_statuses text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    c_places CONSTANT int := 4096; -- entries, of two rows each, that a block of numbers is enough for
    v_now    timestamptz := clock_timestamp();
    v_blocks bigint[] := ARRAY(SELECT nextval('audit_id_seq') FROM generate_series(1, cardinality(p_ids), c_places));
BEGIN
    INSERT INTO orders (id, sale_id, epoch, unit_price_minor, reserved_at, created_at, quantity, status, currency,
                        user_id, hold_until)
    SELECT id, p_sale, p_epoch, p_unit_price_minor, to_timestamp(reserved_at_ms / 1000.0::float8), v_now, quantity,
           status, p_currency, user_id, CASE WHEN status = 'HELD' THEN v_now + make_interval(secs => p_hold_seconds) END
    FROM (SELECT unnest(p_ids) AS id, unnest(p_users) AS user_id, unnest(p_quantities) AS quantity,
                 unnest(p_reserved_at_ms) AS reserved_at_ms, unnest(p_statuses) AS status) AS new
    WHERE status IS NOT NULL;

    -- Both rows of an order in one statement, in the order of their numbers: their index only ever grows at its end.
    INSERT INTO audit (sale_id, id, at, event, order_id, user_id) OVERRIDING SYSTEM VALUE
    SELECT p_sale, v_blocks[1 + place / c_places] + place % c_places * 2 + moment,
           CASE moment WHEN 0 THEN to_timestamp(reserved_at_ms / 1000.0::float8) ELSE v_now END,
           CASE moment WHEN 0 THEN 'RESERVED' ELSE status END, id, user_id
    FROM (SELECT unnest(p_ids) AS id, unnest(p_users) AS user_id, unnest(p_reserved_at_ms) AS reserved_at_ms,
                 unnest(p_statuses) AS status, generate_series(0, cardinality(p_ids) - 1) AS place) AS new,
         LATERAL (VALUES (0), (1)) AS two (moment)
    WHERE status IS NOT NULL AND (moment = 0 OR status <> 'HELD');
END $$;
