-- What was paid, by the day (UTC) on which the order was written and by currency, the newest first. $1 sale, $2 from,
-- $3 to: each may be NULL.
SELECT (created_at AT TIME ZONE 'UTC')::date AS day, currency,
       least(sum(quantity * unit_price_minor), 9223372036854775807)::bigint AS revenue_minor, sum(quantity)::bigint AS units, count(*) AS orders
FROM orders
WHERE status = 'CONFIRMED'
  AND ($1::uuid IS NULL OR sale_id = $1)
  AND ($2::timestamptz IS NULL OR created_at >= $2) AND ($3::timestamptz IS NULL OR created_at < $3)
GROUP BY day, currency
ORDER BY day DESC, currency
LIMIT 1000
