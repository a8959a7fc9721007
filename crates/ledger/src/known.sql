-- Which of the reservations $1 the ledger has decided on: those with an order, with a dead letter, or whose units
-- were given back because the buyer has another order.
SELECT id FROM orders WHERE id = ANY ($1)
UNION
SELECT reservation_id FROM dead_letters WHERE reservation_id = ANY ($1)
UNION
SELECT order_id FROM stock_adjustments WHERE order_id = ANY ($1) AND reason = 'second_order'
