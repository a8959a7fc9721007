-- The counts of sale $1's books. Run after its row was locked, in a statement of its own, so that it sees everything
-- that was committed until then.
SELECT o.active_units, o.orders, o.active_orders, o.refused_orders,
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
