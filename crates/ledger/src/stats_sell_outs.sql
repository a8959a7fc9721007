-- When the last unit of each sale was sold for the first time, the latest first. $1 sale, $2 from, $3 to: each may be
-- NULL. Reads the index `sell_outs`, an entry or a few for each sale.
SELECT sales.id, sales.name, sales.starts_at, sell_out.at,
       floor(extract(epoch FROM sell_out.at - sales.starts_at) * 1000)::bigint AS after_ms
FROM sales
CROSS JOIN LATERAL (
    SELECT min(at) AS at FROM audit WHERE audit.sale_id = sales.id AND event = 'SOLD_OUT'
) AS sell_out
WHERE sell_out.at IS NOT NULL
  AND ($1::uuid IS NULL OR sales.id = $1)
  AND ($2::timestamptz IS NULL OR sell_out.at >= $2) AND ($3::timestamptz IS NULL OR sell_out.at < $3)
ORDER BY sell_out.at DESC, sales.id
LIMIT 100
