-- Sales with orders to expire. What is over was swept a moment ago, so both indexes are read at their very beginning:
-- by now(), because no index is read up to a clock_timestamp(), which may differ from row to row.
SELECT sale_id FROM orders WHERE status = 'HELD' AND hold_until <= now()
UNION
SELECT sale_id FROM payments WHERE state IN ('starting', 'pending') AND pay_until <= now()
