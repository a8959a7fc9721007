-- The sales that sold most units, with what was paid for them. $1 sale, $2 from, $3 to: each may be NULL.
SELECT best.sale_id, sales.name, best.currency, best.revenue_minor, best.units, best.orders
FROM (
    SELECT sale_id, currency, least(sum(quantity * unit_price_minor), 9223372036854775807)::bigint AS revenue_minor, sum(quantity)::bigint AS units,
           count(*) AS orders
    FROM orders
    WHERE status = 'CONFIRMED'
      AND ($1::uuid IS NULL OR sale_id = $1)
      AND ($2::timestamptz IS NULL OR created_at >= $2) AND ($3::timestamptz IS NULL OR created_at < $3)
    GROUP BY sale_id, currency
    ORDER BY units DESC, revenue_minor DESC, sale_id, currency
    LIMIT 10
) AS best
JOIN sales ON sales.id = best.sale_id
ORDER BY best.units DESC, best.revenue_minor DESC, best.sale_id, best.currency
