-- The counts of sale $1's books. Run after its row was locked, in a statement of its own, so that it sees everything
-- that was committed until then.
SELECT o.active_units, o.orders, o.active_orders, o.refused_orders, p.misfit_payments, p.payments_due,
       (SELECT count(*) FROM (SELECT DISTINCT user_id FROM orders WHERE sale_id = $1) AS buyer) AS distinct_users,
       (SELECT coalesce(sum(quantity), 0) FROM withheld_units WHERE sale_id = $1) AS dead_letter_units,
       (SELECT count(*) FROM withheld_buyers WHERE sale_id = $1) AS dead_letter_buyers
FROM (
    SELECT coalesce(sum(quantity) FILTER (WHERE status IN ('HELD', 'PAYING', 'CONFIRMED')), 0) AS active_units,
           count(*) AS orders,
           count(*) FILTER (WHERE status IN ('HELD', 'PAYING', 'CONFIRMED')) AS active_orders,
           count(*) FILTER (WHERE status = 'REFUSED') AS refused_orders
    FROM orders WHERE sale_id = $1
) AS o
CROSS JOIN (
    -- Which pairs there may be, the header of 0006_payments.sql says. A step is due where we owe it to somebody: what
    -- only waits for a buyer is not.
    SELECT count(*) FILTER (WHERE NOT CASE
               WHEN p.order_id IS NULL THEN o.status <> 'PAYING' AND (o.status <> 'CONFIRMED' OR o.unit_price_minor = 0)
               WHEN p.state IN ('starting', 'pending', 'authorized') THEN o.status IS NOT DISTINCT FROM 'PAYING'
               WHEN p.state IN ('late', 'claiming') THEN o.status IS NOT DISTINCT FROM 'EXPIRED'
               WHEN p.state = 'captured' THEN o.status IS NOT DISTINCT FROM 'CONFIRMED'
               ELSE coalesce(o.status IN ('EXPIRED', 'CANCELLED'), true) END) AS misfit_payments,
           count(*) FILTER (WHERE p.state IN ('authorized', 'claiming', 'releasing')
                               OR p.state = 'failed' AND p.due_at IS NOT NULL) AS payments_due
    FROM (SELECT * FROM orders WHERE sale_id = $1 AND hold_until IS NOT NULL) AS o
    FULL JOIN (SELECT * FROM payments WHERE sale_id = $1) AS p ON p.order_id = o.id
) AS p
