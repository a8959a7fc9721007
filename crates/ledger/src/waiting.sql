-- What waits for somebody in each of these sales: orders that hold units unpaid, dead letters nobody has decided about.
-- $1 sales

WITH held AS (
    -- Of all sales: the index of held orders has no others, and is read once.
    SELECT sale_id, count(*) AS orders FROM orders WHERE status = 'HELD' GROUP BY sale_id
),
unresolved AS (
    SELECT sale_id, count(*) AS letters FROM dead_letters
    WHERE resolved_at IS NULL AND sale_id = ANY ($1) GROUP BY sale_id
)
SELECT sale.id, coalesce(held.orders, 0) AS held, coalesce(unresolved.letters, 0) AS dead_letters
FROM unnest($1::uuid[]) AS sale (id)
LEFT JOIN held ON held.sale_id = sale.id
LEFT JOIN unresolved ON unresolved.sale_id = sale.id
