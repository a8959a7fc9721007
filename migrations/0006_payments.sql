-- Hold, pay, confirm: what becomes of an order after it is written, and of the money for it.
--
-- PostgreSQL decides, the provider carries out. Every function here is one transaction that locks the sale's row first
-- and then moves the order, its units and its payment together, so the pairs below are the only ones there are:
--
--   order       payment                      units   what comes next
--   ---------   --------------------------   -----   -------------------------------------------------------------
--   HELD        none                         sold    the buyer pays or cancels; at hold_until it expires
--   PAYING      starting                     sold    ask the provider to start it (the API; a keeper if that died)
--   PAYING      pending                      sold    the buyer; look it up now and then; at pay_until it expires
--   PAYING      authorized                   sold    capture, and nothing else: it never expires
--   CONFIRMED   captured, or none            sold    nothing (none: there was nothing to pay)
--   EXPIRED     none                         back    nothing
--   EXPIRED     late                         back    look it up; after a grace give it up
--   EXPIRED     claiming                     back    the gate says whether the units are to be had
--   EXPIRED     releasing, released, failed  back    release it at the provider; nothing; (failed:) cancel it there
--   CANCELLED   none, releasing, ...         back    the same
--   (gone)      releasing, released, failed   -      the same: a reset forgets orders, never money
--
--   event                    at                   becomes
--   ----------------------   ------------------   ---------------------------------------------------------------
--   pay                      HELD                 PAYING starting; CONFIRMED where there is nothing to pay;
--                                                 EXPIRED where hold_until has passed
--   started                  starting             pending
--   authorized               starting, pending    authorized
--   authorized               late                 claiming
--   claim granted, refused   claiming             PAYING authorized; releasing
--   captured                 starting, pending,   CONFIRMED captured
--                            authorized
--   captured                 late                 releasing
--   authorized, captured     released, failed     releasing: a success after a failure is never a silent charge
--   failed, cancelled        starting, pending    CANCELLED failed
--   failed, cancelled        late                 failed
--   start refused            starting             CANCELLED failed
--   capture refused          authorized           CANCELLED releasing: whatever the provider may hold goes back
--   hold_until, pay_until    HELD; starting,      EXPIRED; late
--                            pending
--   cancel by the buyer      HELD, starting,      CANCELLED releasing
--                            pending
--   cancel by an operator    any that has units   CANCELLED releasing
--   reset                    any                  (gone) releasing
--   released                 releasing            released
--   anything else                                 changes nothing
--
-- Three rules make every order of events, doubled and reordered, come out right:
--   - `releasing` is never taken back. A keeper that was frozen before it called the provider may release a payment at
--     any time later: by then nobody may have begun to rely on it again.
--   - CONFIRMED is written only after the provider said that the money was taken.
--   - A payment without a provider_ref cannot have been paid: the buyer is told how to pay only after it is written. So
--     where one is to be let go, there is nothing to release; should its ref come later, that one is released.
-- Each call to the provider is idempotent by the order's id, so a keeper that dies between the provider's answer and
-- ours repeats it.
--
-- Locks: two indexes on existing tables. Building them reads the table once and keeps orders from being written
-- meanwhile; on a large live database run this before, by hand, which keeps nobody waiting:
--     CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_held ON orders (hold_until, sale_id) WHERE status = 'HELD';
--     CREATE INDEX CONCURRENTLY IF NOT EXISTS moves_of_order ON audit (order_id)
--         WHERE order_id IS NOT NULL AND actor IS NOT NULL;

-- One per order that was to be paid for. No foreign key to the order: a reset deletes orders and must not forget money.
CREATE TABLE payments (
    order_id     uuid        PRIMARY KEY,
    sale_id      uuid        NOT NULL REFERENCES sales,
    provider     text        NOT NULL,
    -- The provider's name for it.
    provider_ref text        UNIQUE,
    amount_minor bigint      NOT NULL CHECK (amount_minor > 0),
    currency     text        NOT NULL,
    state        text        NOT NULL CHECK (state IN ('starting', 'pending', 'late', 'claiming', 'authorized',
                                                       'captured', 'releasing', 'released', 'failed')),
    -- Until when it holds its units.
    pay_until    timestamptz NOT NULL,
    -- When a keeper has the next step to do. Whoever takes it puts this off first: a lease, with no transaction open
    -- while the provider thinks.
    due_at       timestamptz,
    -- How often the present step was put off, and why the last time.
    attempts     int         NOT NULL DEFAULT 0,
    last_error   text,
    -- When money was first known to be taken, and last known to be let go.
    captured_at  timestamptz,
    released_at  timestamptz,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT nothing_to_release_without_a_ref
        CHECK (provider_ref IS NOT NULL OR state IN ('starting', 'released', 'failed'))
);

CREATE INDEX payments_due        ON payments (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payments_unfinished ON payments (pay_until, sale_id) WHERE state IN ('starting', 'pending');
CREATE INDEX payments_of_sale    ON payments (sale_id);

-- Which words of a provider were heard: each counts once.
CREATE TABLE payment_events (
    id          text        PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    provider    text        NOT NULL,
    order_id    uuid        NOT NULL,
    news        text        NOT NULL,
    -- What it came to: 'applied' or 'ignored'.
    verdict     text        NOT NULL
);

-- What is to expire, and nothing else.
CREATE INDEX IF NOT EXISTS orders_held ON orders (hold_until, sale_id) WHERE status = 'HELD';
-- The timeline of an order. The rows of the hot path have no actor and are not in it.
CREATE INDEX IF NOT EXISTS moves_of_order ON audit (order_id) WHERE order_id IS NOT NULL AND actor IS NOT NULL;

-- hold_sale_of: locks the sale of an order, or of a payment whose order is gone. What is read after it stays as it is.
CREATE FUNCTION hold_sale_of(p_order uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM sales
    WHERE id = coalesce((SELECT o.sale_id FROM orders o WHERE o.id = p_order),
                        (SELECT p.sale_id FROM payments p WHERE p.order_id = p_order))
    FOR NO KEY UPDATE;
END $$;

-- move_order: changes an order's state and writes so into the trail. The caller holds the sale's row, and knows where
-- the order stands: anything else is a fault of this file, and takes the transaction back.
CREATE FUNCTION move_order(p_order orders, p_to text, p_event text, p_actor text, p_detail jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE orders SET status = p_to WHERE id = p_order.id AND status = p_order.status;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'order % is not % any more', p_order.id, p_order.status;
    END IF;
    INSERT INTO audit (sale_id, event, order_id, user_id, actor, detail)
    VALUES (p_order.sale_id, p_event, p_order.id, p_order.user_id, p_actor, p_detail);
END $$;

-- give_back: the units of an order that holds them no longer. They are for the present gate; a settle_stock that is
-- still to come drops the row and counts them itself. The caller holds the sale's row.
CREATE FUNCTION give_back(p_order orders, p_reason text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sales SET sold = sold - p_order.quantity WHERE id = p_order.sale_id;
    INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason)
    SELECT s.id, s.epoch, p_order.id, p_order.quantity, p_reason FROM sales s WHERE s.id = p_order.sale_id;
END $$;

-- move_payment: changes a payment's state and says when its next step is due (NULL: there is none). The caller holds
-- the sale's row.
CREATE FUNCTION move_payment(p_order uuid, p_from text, p_to text, p_due timestamptz)
RETURNS payments LANGUAGE plpgsql AS $$
DECLARE
    p payments%ROWTYPE;
BEGIN
    UPDATE payments
    SET state = p_to, due_at = p_due, attempts = 0, last_error = NULL, updated_at = clock_timestamp()
    WHERE order_id = p_order AND state = p_from RETURNING * INTO p;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the payment of order % is not % any more', p_order, p_from;
    END IF;
    RETURN p;
END $$;

-- let_go: no money may be kept any more. What the provider has never had there is nothing to release of.
CREATE FUNCTION let_go(p payments) RETURNS payments LANGUAGE sql AS $$
    SELECT CASE WHEN p.provider_ref IS NULL THEN move_payment(p.order_id, p.state, 'released', NULL)
                ELSE move_payment(p.order_id, p.state, 'releasing', clock_timestamp()) END
$$;

-- expire: gives up orders whose time is over, and books their units back. Returns how many. The caller holds the sale's
-- row, and knows each to be HELD, or PAYING with a payment that is not finished.
CREATE FUNCTION expire(p_sale uuid, p_orders uuid[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_orders bigint;
    v_units  bigint;
BEGIN
    WITH expired AS (
        UPDATE orders SET status = 'EXPIRED' WHERE id = ANY (p_orders) AND status IN ('HELD', 'PAYING')
        RETURNING id, user_id, quantity
    ),
    given_back AS (
        INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason)
        SELECT p_sale, s.epoch, e.id, e.quantity, 'expired' FROM expired e JOIN sales s ON s.id = p_sale
    ),
    told AS (
        INSERT INTO audit (sale_id, event, order_id, user_id, actor, detail)
        SELECT p_sale, 'EXPIRED', e.id, e.user_id, 'clock', jsonb_build_object('units', e.quantity) FROM expired e
    ),
    late AS (
        UPDATE payments p
        SET state = CASE WHEN p.provider_ref IS NULL THEN 'released' ELSE 'late' END,
            due_at = CASE WHEN p.provider_ref IS NOT NULL THEN clock_timestamp() END,
            attempts = 0, last_error = NULL, updated_at = clock_timestamp()
        FROM expired e WHERE p.order_id = e.id AND p.state IN ('starting', 'pending')
    )
    SELECT count(*), coalesce(sum(quantity), 0) INTO v_orders, v_units FROM expired;

    IF v_orders <> cardinality(p_orders) THEN
        RAISE EXCEPTION '% of % orders of sale % could expire', v_orders, cardinality(p_orders), p_sale;
    END IF;
    UPDATE sales SET sold = sold - v_units WHERE id = p_sale AND v_units > 0;
    RETURN v_orders;
END $$;

-- expire_orders: expires up to `p_limit` orders of a sale whose time is over, those first that are over for longest.
-- Returns how many.
CREATE FUNCTION expire_orders(p_sale uuid, p_limit bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_now    timestamptz := clock_timestamp();
    v_orders uuid[];
BEGIN
    PERFORM FROM sales WHERE id = p_sale FOR NO KEY UPDATE;
    SELECT array_agg(id) INTO v_orders
    FROM (
        SELECT id, hold_until AS over_at FROM orders
        WHERE sale_id = p_sale AND status = 'HELD' AND hold_until <= v_now
        UNION ALL
        SELECT order_id, pay_until FROM payments
        WHERE sale_id = p_sale AND state IN ('starting', 'pending') AND pay_until <= v_now
        ORDER BY over_at LIMIT p_limit
    ) AS over;
    RETURN CASE WHEN v_orders IS NULL THEN 0 ELSE expire(p_sale, v_orders) END;
END $$;

-- The functions from here on are what the API and the keeper call about one order. Each answers
--   verdict   what it has come to
--   status    where the order stands now; NULL: there is none, or none any more
--   tell      the sale, where its gate has something to learn by this: units that come back or are claimed
--   p         the payment as it stands now, if there is one

-- start_payment: the buyer of a held order wants to pay, within `p_limit_seconds`.
--
-- Verdict  started    it is being paid for, by this call or an earlier one
--          confirmed  there was nothing to pay, by this call or an earlier one
--          paid       the money is reserved or taken already
--          expired    its time was over and nobody had noticed: it expires here
--          closed     as its status says
--          not_found
CREATE FUNCTION start_payment(
    p_order uuid, p_provider text, p_limit_seconds bigint,
    OUT verdict text, OUT status text, OUT tell uuid, OUT p payments
) LANGUAGE plpgsql AS $$
DECLARE
    v_order orders%ROWTYPE;
    v_now   timestamptz;
BEGIN
    PERFORM hold_sale_of(p_order);
    SELECT * INTO v_order FROM orders WHERE id = p_order;
    SELECT * INTO p FROM payments WHERE order_id = p_order;
    v_now := clock_timestamp();
    status := v_order.status;

    IF v_order.id IS NULL THEN
        verdict := 'not_found';
    ELSIF status = 'HELD' AND v_order.hold_until <= v_now
          OR p.state IN ('starting', 'pending') AND p.pay_until <= v_now THEN
        PERFORM expire(v_order.sale_id, ARRAY[p_order]);
        SELECT * INTO p FROM payments WHERE order_id = p_order;
        verdict := 'expired';
        status := 'EXPIRED';
        tell := v_order.sale_id;
    ELSIF status = 'HELD' AND v_order.unit_price_minor = 0 THEN
        PERFORM move_order(v_order, 'CONFIRMED', 'CONFIRMED', 'buyer', jsonb_build_object('amountMinor', 0));
        verdict := 'confirmed';
        status := 'CONFIRMED';
    ELSIF status = 'HELD' THEN
        INSERT INTO payments (order_id, sale_id, provider, amount_minor, currency, state, pay_until, due_at)
        VALUES (p_order, v_order.sale_id, p_provider, v_order.unit_price_minor * v_order.quantity, v_order.currency,
                'starting', v_now + make_interval(secs => p_limit_seconds), v_now + interval '10 seconds')
        RETURNING * INTO p;
        PERFORM move_order(v_order, 'PAYING', 'PAYING', 'buyer',
                           jsonb_build_object('provider', p_provider, 'amountMinor', p.amount_minor,
                                              'currency', p.currency, 'payUntil', p.pay_until));
        verdict := 'started';
        status := 'PAYING';
    ELSIF status = 'PAYING' THEN
        verdict := CASE p.state WHEN 'authorized' THEN 'paid' ELSE 'started' END;
    ELSIF status = 'CONFIRMED' THEN
        verdict := CASE WHEN p.order_id IS NULL THEN 'confirmed' ELSE 'paid' END;
    ELSE
        verdict := 'closed';
    END IF;
END $$;

-- payment_started: the provider knows the payment as `p_ref`. The first one told counts.
--
-- Verdict  applied   it waits for the buyer
--          ignored   it does not, any more: the buyer must not be told how to pay. Where it was let go, `p_ref` is now
--                    to be released
--          unknown   there is no such payment
CREATE FUNCTION payment_started(
    p_order uuid, p_ref text, OUT verdict text, OUT status text, OUT tell uuid, OUT p payments
) LANGUAGE plpgsql AS $$
DECLARE
    v_is_news boolean;
BEGIN
    PERFORM hold_sale_of(p_order);
    SELECT o.status INTO status FROM orders o WHERE o.id = p_order;
    SELECT * INTO p FROM payments WHERE order_id = p_order;
    v_is_news := p.provider_ref IS NULL;
    UPDATE payments SET provider_ref = coalesce(provider_ref, p_ref) WHERE order_id = p_order RETURNING * INTO p;
    IF p.state = 'starting' THEN
        p := move_payment(p_order, 'starting', 'pending', least(clock_timestamp() + interval '1 second', p.pay_until));
    ELSIF v_is_news AND p.state IN ('released', 'failed') THEN
        p := let_go(p);
    END IF;
    verdict := CASE WHEN p.order_id IS NULL THEN 'unknown' WHEN p.state = 'pending' THEN 'applied' ELSE 'ignored' END;
END $$;

-- payment_news: what the provider says about a payment: 'authorized', 'captured', 'failed' or 'cancelled'.
--
-- Verdict  applied   it stands where that says, or what follows from it is under way
--          ignored   it changes nothing any more
--          unknown   there is no such payment
CREATE FUNCTION payment_news(
    p_order uuid, p_news text, OUT verdict text, OUT status text, OUT tell uuid, OUT p payments
) LANGUAGE plpgsql AS $$
DECLARE
    v_order orders%ROWTYPE;
BEGIN
    PERFORM hold_sale_of(p_order);
    SELECT * INTO v_order FROM orders WHERE id = p_order;
    SELECT * INTO p FROM payments WHERE order_id = p_order;
    verdict := 'applied';

    IF p.provider_ref IS NULL THEN
        -- What the provider was not heard to have, it can tell nothing about.
        verdict := CASE WHEN p.order_id IS NULL THEN 'unknown' ELSE 'ignored' END;
        status := v_order.status;
        RETURN;
    END IF;
    -- 1. Whatever becomes of it: that money was taken is known from here on.
    IF p_news = 'captured' THEN
        UPDATE payments SET captured_at = coalesce(captured_at, clock_timestamp()) WHERE order_id = p_order;
    END IF;
    -- 2. In time.
    IF p_news = 'captured' AND p.state IN ('starting', 'pending', 'authorized') THEN
        p := move_payment(p_order, p.state, 'captured', NULL);
        PERFORM move_order(v_order, 'CONFIRMED', 'CONFIRMED', 'provider',
                           jsonb_build_object('amountMinor', p.amount_minor, 'currency', p.currency));
    ELSIF p_news = 'authorized' AND p.state IN ('starting', 'pending') THEN
        p := move_payment(p_order, p.state, 'authorized', clock_timestamp());
    ELSIF p_news IN ('failed', 'cancelled') AND p.state IN ('starting', 'pending') THEN
        -- At Stripe a buyer whose card was declined might try another: what has failed is cancelled there too.
        p := move_payment(p_order, p.state, 'failed', CASE WHEN p_news = 'failed' THEN clock_timestamp() END);
        PERFORM move_order(v_order, 'CANCELLED', 'CANCELLED', 'provider',
                           jsonb_build_object('reason', 'the payment has ' || CASE p_news WHEN 'failed' THEN 'failed'
                                              ELSE 'been cancelled' END, 'units', v_order.quantity));
        PERFORM give_back(v_order, 'payment_failed');
        tell := v_order.sale_id;
    -- 3. Late: the units are somebody else's by now, unless the gate still has as many. Its answer comes to
    --    revive_order, at once where no gate need be asked.
    ELSIF p_news = 'authorized' AND p.state = 'late' THEN
        p := move_payment(p_order, 'late', 'claiming', NULL);
        PERFORM claim_units(v_order.sale_id, p_order, v_order.quantity, 'late_payment');
        tell := v_order.sale_id;
    ELSIF p_news IN ('failed', 'cancelled') AND p.state = 'late' THEN
        p := move_payment(p_order, 'late', 'failed', CASE WHEN p_news = 'failed' THEN clock_timestamp() END);
    -- 4. Money that nobody may keep.
    ELSIF p_news = 'captured' AND p.state = 'late'
          OR p_news IN ('authorized', 'captured') AND p.state IN ('released', 'failed') THEN
        p := let_go(p);
    ELSIF p_news <> p.state THEN
        verdict := 'ignored';
    END IF;
    SELECT o.status INTO status FROM orders o WHERE o.id = p_order;
    SELECT * INTO p FROM payments WHERE order_id = p_order;
END $$;

-- payment_event: payment_news from a webhook, applied once. The payment is found by the order that the event names, or
-- by the provider's ref, and must be known by that very ref, if by any.
--
-- Verdict  as payment_news, and
--          duplicate  this event was here before
CREATE FUNCTION payment_event(
    p_event text, p_provider text, p_ref text, p_order uuid, p_news text,
    OUT verdict text, OUT status text, OUT tell uuid, OUT p payments
) LANGUAGE plpgsql AS $$
DECLARE
    v_order uuid;
BEGIN
    verdict := 'unknown';
    SELECT order_id INTO v_order FROM payments
    WHERE provider = p_provider AND (order_id = p_order OR provider_ref = p_ref)
    ORDER BY order_id IS NOT DISTINCT FROM p_order DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM hold_sale_of(v_order);
    UPDATE payments SET provider_ref = p_ref WHERE order_id = v_order AND provider_ref IS NULL;
    SELECT * INTO p FROM payments WHERE order_id = v_order;
    SELECT o.status INTO status FROM orders o WHERE o.id = v_order;
    IF p.provider_ref <> p_ref THEN
        p := NULL;
        status := NULL;
    ELSIF EXISTS (SELECT FROM payment_events WHERE id = p_event) THEN
        verdict := 'duplicate';
    ELSE
        SELECT n.verdict, n.status, n.tell INTO verdict, status, tell FROM payment_news(v_order, p_news) AS n;
        SELECT * INTO p FROM payments WHERE order_id = v_order;
        INSERT INTO payment_events (id, provider, order_id, news, verdict)
        VALUES (p_event, p_provider, v_order, p_news, verdict);
    END IF;
END $$;

-- payment_refused: the provider will never do what a payment in `p_state` is due for: to start it ('starting'), or to
-- take its money ('authorized').
--
-- Verdict  applied; ignored: it is due for that no longer; unknown
CREATE FUNCTION payment_refused(
    p_order uuid, p_state text, p_reason text, OUT verdict text, OUT status text, OUT tell uuid, OUT p payments
) LANGUAGE plpgsql AS $$
DECLARE
    v_order orders%ROWTYPE;
BEGIN
    PERFORM hold_sale_of(p_order);
    SELECT * INTO v_order FROM orders WHERE id = p_order;
    SELECT * INTO p FROM payments WHERE order_id = p_order;
    status := v_order.status;
    verdict := CASE WHEN p.order_id IS NULL THEN 'unknown' ELSE 'ignored' END;
    IF p.state = p_state AND p_state IN ('starting', 'authorized') THEN
        IF p_state = 'authorized' THEN
            p := let_go(p);
        ELSE
            p := move_payment(p_order, p_state, 'failed', NULL);
        END IF;
        UPDATE payments SET last_error = p_reason WHERE order_id = p_order RETURNING * INTO p;
        PERFORM move_order(v_order, 'CANCELLED', 'CANCELLED', 'provider',
                           jsonb_build_object('reason', p_reason, 'units', v_order.quantity));
        PERFORM give_back(v_order, 'payment_failed');
        verdict := 'applied';
        status := 'CANCELLED';
        tell := v_order.sale_id;
    END IF;
END $$;

-- payment_released: the provider has let go of the money, or has cancelled what has failed. Where it refused to
-- (`p_refused`) there was nothing to cancel, which ends the matter for a failed payment and for no other.
--
-- Verdict  applied, by this call or an earlier one; ignored: it was not to be released; unknown
CREATE FUNCTION payment_released(
    p_order uuid, p_refused boolean, OUT verdict text, OUT status text, OUT tell uuid, OUT p payments
) LANGUAGE plpgsql AS $$
DECLARE
    v_event text;
BEGIN
    PERFORM hold_sale_of(p_order);
    SELECT o.status INTO status FROM orders o WHERE o.id = p_order;
    SELECT * INTO p FROM payments WHERE order_id = p_order;
    verdict := CASE WHEN p.order_id IS NULL THEN 'unknown' WHEN p.state IN ('releasing', 'released', 'failed')
                    THEN 'applied' ELSE 'ignored' END;
    IF p.state = 'failed' AND p.due_at IS NOT NULL THEN
        p := move_payment(p_order, 'failed', 'failed', NULL);
    ELSIF p.state = 'releasing' AND NOT p_refused THEN
        -- Told once each: the money was given back, or was reserved and never taken.
        v_event := CASE WHEN p.captured_at > coalesce(p.released_at, '-infinity') THEN 'REFUNDED'
                        WHEN p.released_at IS NULL THEN 'PAYMENT_RELEASED' END;
        p := move_payment(p_order, 'releasing', 'released', NULL);
        UPDATE payments SET released_at = clock_timestamp() WHERE order_id = p_order RETURNING * INTO p;
        INSERT INTO audit (sale_id, event, order_id, user_id, actor, detail)
        SELECT p.sale_id, v_event, p_order, (SELECT o.user_id FROM orders o WHERE o.id = p_order), 'provider',
               jsonb_build_object('amountMinor', p.amount_minor, 'currency', p.currency)
        WHERE v_event IS NOT NULL;
    END IF;
END $$;

-- cancel_order: gives an order up, for its buyer (`p_by` 'buyer', as long as it is not paid for) or an operator.
-- Without `p_restock` its units leave the sale instead of going back on sale.
--
-- Verdict  cancelled  by this call or an earlier one
--          paid       it is not the buyer's to cancel any more
--          closed     it has no units
--          not_found
CREATE FUNCTION cancel_order(
    p_order uuid, p_actor text, p_by text, p_restock boolean, p_reason text,
    OUT verdict text, OUT status text, OUT tell uuid, OUT p payments
) LANGUAGE plpgsql AS $$
DECLARE
    v_order orders%ROWTYPE;
BEGIN
    PERFORM hold_sale_of(p_order);
    SELECT * INTO v_order FROM orders WHERE id = p_order;
    SELECT * INTO p FROM payments WHERE order_id = p_order;
    status := v_order.status;
    IF v_order.id IS NULL THEN
        verdict := 'not_found';
    ELSIF status = 'CANCELLED' THEN
        verdict := 'cancelled';
    ELSIF status NOT IN ('HELD', 'PAYING', 'CONFIRMED') THEN
        verdict := 'closed';
    ELSIF p_by = 'buyer' AND (status = 'CONFIRMED' OR p.state = 'authorized') THEN
        verdict := 'paid';
    ELSE
        PERFORM move_order(v_order, 'CANCELLED', 'CANCELLED', p_actor,
                           jsonb_build_object('reason', p_reason, 'units', v_order.quantity, 'restock', p_restock));
        IF p_restock THEN
            PERFORM give_back(v_order, 'cancelled');
            tell := v_order.sale_id;
        ELSE
            UPDATE sales SET sold = sold - v_order.quantity, total_stock = total_stock - v_order.quantity
            WHERE id = v_order.sale_id;
        END IF;
        IF p.order_id IS NOT NULL THEN
            p := let_go(p);
        END IF;
        verdict := 'cancelled';
        status := 'CANCELLED';
    END IF;
END $$;

-- revive_order: what was decided about the claim for an order that was paid for late. The caller holds the sale's row
-- and has booked the claim.
CREATE FUNCTION revive_order(p_order uuid, p_taken boolean) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_order orders%ROWTYPE;
    v_paid  payments%ROWTYPE;
BEGIN
    SELECT * INTO v_order FROM orders WHERE id = p_order;
    SELECT * INTO v_paid FROM payments WHERE order_id = p_order;
    IF p_taken THEN
        UPDATE sales SET sold = sold + v_order.quantity WHERE id = v_order.sale_id;
        PERFORM move_payment(p_order, 'claiming', 'authorized', clock_timestamp());
        PERFORM move_order(v_order, 'PAYING', 'LATE_PAYMENT', 'provider',
                           jsonb_build_object('units', v_order.quantity));
    ELSE
        PERFORM move_payment(p_order, 'claiming', 'releasing', clock_timestamp());
        INSERT INTO audit (sale_id, event, order_id, user_id, actor, detail)
        VALUES (v_order.sale_id, 'LATE_PAYMENT_REFUSED', p_order, v_order.user_id, 'provider',
                jsonb_build_object('reason', 'its units are sold'));
    END IF;
END $$;

-- due_payments: takes up to `p_limit` payments whose next step is due, for `p_lease_ms`. What is owed comes before what
-- is only asked for: thousands of buyers who take their time must not hold up those who have paid. Any number of
-- keepers may call it at once, and none waits for another.
CREATE FUNCTION due_payments(p_lease_ms bigint, p_limit bigint) RETURNS SETOF payments LANGUAGE sql AS $$
    WITH due AS MATERIALIZED (
        -- now() and not clock_timestamp(), up to which no index can be read: it may differ from row to row.
        SELECT order_id FROM payments WHERE due_at <= now()
        ORDER BY state IN ('pending', 'late'), due_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    )
    UPDATE payments p SET due_at = clock_timestamp() + p_lease_ms * interval '1 millisecond'
    FROM due WHERE p.order_id = due.order_id
    RETURNING p.*
$$;

-- put_off_payment: the step that a payment in `p_state` is due for could not be done, and is tried again later. It
-- locks no sale because it moves nothing.
CREATE FUNCTION put_off_payment(p_order uuid, p_state text, p_wait_ms bigint, p_error text)
RETURNS void LANGUAGE sql AS $$
    UPDATE payments
    SET due_at = clock_timestamp() + p_wait_ms * interval '1 millisecond', attempts = attempts + 1,
        last_error = p_error
    WHERE order_id = p_order AND state = p_state AND due_at IS NOT NULL
$$;

-- payment_undecided: the provider was asked and still waits for the buyer. It is asked again when `p_wait_ms` or the
-- buyer's time is over. One that is late by more than `p_grace_ms` is given up.
CREATE FUNCTION payment_undecided(p_order uuid, p_wait_ms bigint, p_grace_ms bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    p      payments%ROWTYPE;
    v_over timestamptz;
BEGIN
    PERFORM hold_sale_of(p_order);
    SELECT * INTO p FROM payments WHERE order_id = p_order;
    v_over := p.pay_until + CASE p.state WHEN 'late' THEN p_grace_ms ELSE 0 END * interval '1 millisecond';
    IF p.state = 'late' AND v_over <= clock_timestamp() THEN
        PERFORM let_go(p);
    ELSIF p.state IN ('pending', 'late') THEN
        -- Not before now: a payment whose time is just over is about to expire, and is looked up as late then.
        UPDATE payments
        SET due_at = greatest(least(clock_timestamp() + p_wait_ms * interval '1 millisecond', v_over),
                              clock_timestamp() + interval '100 milliseconds'),
            attempts = attempts + 1, last_error = NULL
        WHERE order_id = p_order;
    END IF;
END $$;

-- reset_sale: as before, and gives back all money that the sale has taken or could still take.
CREATE OR REPLACE FUNCTION reset_sale(p_sale uuid, p_epoch bigint, p_token uuid, p_actor text)
RETURNS TABLE (stock bigint, buyers bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM sales WHERE id = p_sale AND epoch = p_epoch AND drain_token = p_token FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;

    PERFORM let_go(p) FROM payments p
    WHERE p.sale_id = p_sale AND p.state NOT IN ('releasing', 'released', 'failed');
    DELETE FROM orders WHERE sale_id = p_sale;
    DELETE FROM stock_adjustments WHERE sale_id = p_sale;
    DELETE FROM dead_letters WHERE sale_id = p_sale;
    DELETE FROM refusals WHERE sale_id = p_sale;
    DELETE FROM audit WHERE sale_id = p_sale;
    UPDATE sales SET sold = 0, valid_from_epoch = p_epoch WHERE id = p_sale;
    INSERT INTO audit (sale_id, event, actor) VALUES (p_sale, 'RESET', p_actor);

    RETURN QUERY SELECT s.total_stock::bigint, 0::bigint FROM sales s WHERE s.id = p_sale;
END $$;
