-- Statistics: what they need so that they need not read everything. The hot path, which writes `orders` and `audit`,
-- pays with half a microsecond of PostgreSQL's time for each order, of nineteen (ADR 21 has the measurement).
--
-- Locks: each index is built by reading its table once, which keeps orders from being written meanwhile: 0.2 s for a
-- million orders and as much for their trail. On a large live database run these before, by hand, which keeps nobody
-- waiting:
--     CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_written ON orders USING brin (created_at)
--         WITH (autosummarize = on);
--     CREATE INDEX CONCURRENTLY IF NOT EXISTS sell_outs ON audit (sale_id, at) WHERE event = 'SOLD_OUT';

-- Orders by time. They lie in the order in which they were written, so it suffices to know of each megabyte from when
-- to when: a row is added to this index once in thousands of orders, and a million of them need 24 kB. No move of an
-- order changes the column.
CREATE INDEX IF NOT EXISTS orders_written ON orders USING brin (created_at) WITH (autosummarize = on);

-- When sales were sold out: an entry each time, so of all other rows of the trail, two for each order, only the event's
-- name is compared.
CREATE INDEX IF NOT EXISTS sell_outs ON audit (sale_id, at) WHERE event = 'SOLD_OUT';

-- How many days there are: otherwise the planner expects as many as there are instants, and sorts all orders on disk to
-- add up the revenue of each. ANALYZE counts them.
CREATE STATISTICS IF NOT EXISTS order_days ON ((created_at AT TIME ZONE 'UTC')::date) FROM orders;
