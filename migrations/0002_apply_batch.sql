-- The persist step: reservations become orders. These two functions are the only writers of new orders.

-- write_orders: the rows of new orders, and their audit rows with them. The caller holds the sale's row.
--
-- One entry per order in arrays of equal length; an entry whose status is NULL is skipped. Both inserts are plain: at
-- this rate ON CONFLICT and RETURNING would cost a fifth of the throughput.
CREATE FUNCTION write_orders(
    p_sale uuid, p_epoch bigint, p_unit_price_minor bigint, p_currency text, p_hold_seconds bigint,
    p_ids uuid[], p_users text[], p_quantities int[], p_reserved_at_ms bigint[], p_statuses text[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
BEGIN
    INSERT INTO orders (id, sale_id, epoch, unit_price_minor, reserved_at, created_at, quantity, status, currency,
                        user_id, hold_until)
    SELECT id, p_sale, p_epoch, p_unit_price_minor, to_timestamp(reserved_at_ms / 1000.0::float8), v_now, quantity,
           status, p_currency, user_id, CASE WHEN status = 'HELD' THEN v_now + make_interval(secs => p_hold_seconds) END
    FROM unnest(p_ids, p_users, p_quantities, p_reserved_at_ms, p_statuses)
         AS new (id, user_id, quantity, reserved_at_ms, status)
    WHERE status IS NOT NULL;

    INSERT INTO audit (sale_id, at, event, order_id, user_id)
    SELECT p_sale, to_timestamp(reserved_at_ms / 1000.0::float8), 'RESERVED', id, user_id
    FROM unnest(p_ids, p_users, p_reserved_at_ms, p_statuses) AS new (id, user_id, reserved_at_ms, status)
    WHERE status IS NOT NULL
    UNION ALL
    SELECT p_sale, v_now, status, id, user_id
    FROM unnest(p_ids, p_users, p_statuses) AS new (id, user_id, status)
    WHERE status <> 'HELD';
END $$;

-- apply_batch: applies reservations of one sale, one epoch and one set of terms.
--
-- Arguments   arrays of equal length, one entry per reservation, in the order the gate decided them. `p_token` is a
--             draining reconciler's; workers pass NULL.
-- Answer      one outcome per reservation, in the same order:
--   inserted        a new order
--   duplicate       the order was here already (a redelivery)
--   user_has_order  the buyer has another order of this sale; the units go back by an adjustment
--   no_stock        no unit was left: a REFUSED tombstone, so that the answer stays the same for ever
--   stale           from before a reset; nothing was written
--   fenced          a reconciler is draining and is not the caller, or the caller's drain is over; nothing was written
-- Errors      FS001 unknown sale; 22xxx and 23xxx a reservation that no table accepts (the caller bisects).
--
-- Runs at READ COMMITTED, where each statement of a function sees all that was committed before that statement. What
-- is read after step 1 is therefore current, and stays so until we commit: nobody else writes orders of this sale. No
-- outcome is ever "try again".
CREATE FUNCTION apply_batch(
    p_sale uuid, p_epoch bigint, p_token uuid, p_unit_price_minor bigint, p_currency text, p_hold_seconds bigint,
    p_ids uuid[], p_users text[], p_quantities int[], p_reserved_at_ms bigint[]
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    v_sale     sales%ROWTYPE;
    v_size     int := cardinality(p_ids);
    v_granted  text := CASE WHEN p_hold_seconds = 0 THEN 'CONFIRMED' ELSE 'HELD' END;
    v_room     int;
    v_units    bigint;
    v_late     boolean;  -- the batch is of an older epoch, and no drain is collecting it
    v_outcomes text[];
BEGIN
    -- 1. One writer per sale at a time. NO KEY: foreign key checks and refusal counts need not wait for us.
    SELECT * INTO v_sale FROM sales WHERE id = p_sale FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown sale %', p_sale USING ERRCODE = 'FS001';
    END IF;

    -- 2. Who may write. A worker and a sale that is not draining both have a NULL token. A reconciler that was
    --    overtaken is fenced too, even once its successor has opened the sale: it would not book its late orders.
    IF p_epoch < v_sale.valid_from_epoch THEN
        RETURN array_fill('stale'::text, ARRAY[v_size]);
    ELSIF p_token IS DISTINCT FROM v_sale.drain_token THEN
        RETURN array_fill('fenced'::text, ARRAY[v_size]);
    END IF;

    -- 3. The ordinary batch: everything fits and nothing is known yet. It is written without a question; a unique
    --    key that says otherwise takes the attempt back as a whole.
    v_room := v_sale.total_stock - v_sale.sold;
    v_late := p_epoch < v_sale.epoch AND p_token IS NULL;
    SELECT sum(quantity) INTO v_units FROM unnest(p_quantities) AS quantity;
    IF v_units <= v_room AND NOT v_late THEN
        BEGIN
            PERFORM write_orders(p_sale, p_epoch, p_unit_price_minor, p_currency, p_hold_seconds, p_ids, p_users,
                                 p_quantities, p_reserved_at_ms, array_fill(v_granted, ARRAY[v_size]));
            v_outcomes := array_fill('inserted'::text, ARRAY[v_size]);
        EXCEPTION WHEN unique_violation THEN
            v_outcomes := NULL;
        END;
    END IF;

    -- 4. Any other batch: decide each reservation first, then write. Those that come first are served until one does
    --    not fit; duplicates and second orders need no room, and within the batch the first of an id or a buyer counts.
    IF v_outcomes IS NULL THEN
        SELECT array_agg(CASE WHEN obstacle IS NOT NULL THEN obstacle
                              WHEN needed <= v_room THEN 'inserted' ELSE 'no_stock' END ORDER BY place)
        INTO v_outcomes
        FROM (
            SELECT *, sum(quantity) FILTER (WHERE obstacle IS NULL) OVER (ORDER BY place) AS needed
            FROM (
                SELECT place, a.quantity,
                       CASE WHEN own.id IS NOT NULL
                              OR row_number() OVER (PARTITION BY a.id ORDER BY place) > 1 THEN 'duplicate'
                            WHEN other.id IS NOT NULL
                              OR row_number() OVER (PARTITION BY a.user_id ORDER BY place) > 1 THEN 'user_has_order'
                       END AS obstacle
                FROM unnest(p_ids, p_users, p_quantities) WITH ORDINALITY AS a (id, user_id, quantity, place)
                LEFT JOIN orders own ON own.id = a.id
                LEFT JOIN orders other ON other.sale_id = p_sale AND other.user_id = a.user_id
            ) AS known
        ) AS counted;
        PERFORM write_orders(p_sale, p_epoch, p_unit_price_minor, p_currency, p_hold_seconds, p_ids, p_users,
                             p_quantities, p_reserved_at_ms,
                             (SELECT array_agg(CASE outcome WHEN 'inserted' THEN v_granted
                                                            WHEN 'no_stock' THEN 'REFUSED' END ORDER BY place)
                              FROM unnest(v_outcomes) WITH ORDINALITY AS o (outcome, place)));
        SELECT sum(quantity) INTO v_units
        FROM unnest(p_quantities, v_outcomes) AS a (quantity, outcome) WHERE outcome = 'inserted';

        -- 5. Units the gate does not know of. A late order was not foreseen when the present gate was filled: take
        --    its units off, unless they were withheld with its dead letter. A second order of a buyer took units from
        --    the present gate that nobody will have: give them back.
        INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason)
        SELECT p_sale, v_sale.epoch, a.id, -a.quantity, 'late_epoch'
        FROM unnest(p_ids, p_quantities, v_outcomes) AS a (id, quantity, outcome)
        WHERE v_late AND a.outcome = 'inserted'
          AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.reservation_id = a.id)
        UNION ALL
        SELECT p_sale, v_sale.epoch, a.id, a.quantity, 'second_order'
        FROM unnest(p_ids, p_quantities, v_outcomes) AS a (id, quantity, outcome)
        WHERE p_epoch = v_sale.epoch AND a.outcome = 'user_has_order'
        ON CONFLICT DO NOTHING;
    END IF;

    -- 6. The units. Should the steps before ever err, the sale's CHECK refuses the whole batch here.
    UPDATE sales SET sold = sold + v_units WHERE id = p_sale AND v_units > 0;
    RETURN v_outcomes;
END $$;
