-- Attempts that did not win, by reason. $1 sale, $2 from, $3 to: each may be NULL.
SELECT reason, sum(count)::bigint AS count
FROM refusals
WHERE ($1::uuid IS NULL OR sale_id = $1)
  AND ($2::timestamptz IS NULL OR at_second >= $2) AND ($3::timestamptz IS NULL OR at_second < $3)
GROUP BY reason
ORDER BY count DESC, reason
