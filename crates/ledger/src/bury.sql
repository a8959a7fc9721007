-- Writes a dead letter, once per reservation and once per letter id.
-- $1 letter id  $2 sale or NULL  $3 epoch or NULL  $4 reservation id or NULL  $5 user or NULL  $6 quantity or NULL
-- $7 reason  $8 body

-- 1. The sale's row, where there is such a sale: the next settle_stock comes before us or after us.
WITH sale AS (
    SELECT id, epoch, valid_from_epoch FROM sales WHERE id = $2 FOR NO KEY UPDATE
),
-- 2. The letter. Joined to the lock so that it is taken first.
letter AS (
    INSERT INTO dead_letters (id, sale_id, epoch, reservation_id, user_id, quantity, reason, body)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8 FROM (VALUES (1)) AS always LEFT JOIN sale ON true
    ON CONFLICT DO NOTHING
    RETURNING id
)
-- 3. A letter withholds its units. One of an older epoch was not foreseen when the present gate was filled, so its
--    units come off that gate; a settle_stock that is still to come finds them in the letter and drops this row. It
--    withholds nothing where its reservation is an order, or its units went back: its buyer has another order.
INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason)
SELECT sale.id, sale.epoch, $4, -$6, 'late_epoch' FROM sale CROSS JOIN letter
WHERE $6 IS NOT NULL AND $3 >= sale.valid_from_epoch AND $3 < sale.epoch
  AND NOT EXISTS (SELECT FROM orders WHERE id = $4)
  AND NOT EXISTS (SELECT FROM stock_adjustments WHERE order_id = $4 AND reason = 'second_order')
ON CONFLICT DO NOTHING
