-- What became of the orders that had to be paid for: each of them was given a time to hold its units. $1 sale, $2 from,
-- $3 to: each may be NULL.
SELECT count(*) AS held,
       count(*) FILTER (WHERE status IN ('HELD', 'PAYING')) AS open,
       count(*) FILTER (WHERE status = 'CONFIRMED') AS paid,
       count(*) FILTER (WHERE status = 'EXPIRED') AS expired,
       count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled
FROM orders
WHERE hold_until IS NOT NULL
  AND ($1::uuid IS NULL OR sale_id = $1)
  AND ($2::timestamptz IS NULL OR created_at >= $2) AND ($3::timestamptz IS NULL OR created_at < $3)
