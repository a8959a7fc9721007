-- Creates the demonstration sales where there is no sale at all.
-- $1, $2, $3 the ids of the active, the coming and the past sale
WITH demo (id, name, total_stock, starts_in, ends_in) AS (
    VALUES ($1, 'Flash Sale',      100, interval '-1 minute',  interval '24 hours'),
           ($2, 'Next Flash Sale',  50, interval '10 minutes', interval '70 minutes'),
           ($3, 'Last Flash Sale', 200, interval '-2 hours',   interval '-1 hour')
),
-- 1. The active one first. Its id is fixed: of two processes that seed at once, one conflicts here and does nothing.
active AS (
    INSERT INTO sales (id, name, total_stock, starts_at, ends_at)
    SELECT id, name, total_stock, now() + starts_in, now() + ends_in FROM demo
    WHERE id = $1 AND NOT EXISTS (SELECT FROM sales)
    ON CONFLICT DO NOTHING
    RETURNING id
),
-- 2. The others, only for the process that created the first.
others AS (
    INSERT INTO sales (id, name, total_stock, starts_at, ends_at)
    SELECT demo.id, name, total_stock, now() + starts_in, now() + ends_in FROM demo CROSS JOIN active
    WHERE demo.id <> $1
    RETURNING id
)
-- 3. One audit row for each.
INSERT INTO audit (sale_id, event, actor)
SELECT id, 'CREATED', 'demo' FROM (SELECT id FROM active UNION ALL SELECT id FROM others) AS created
