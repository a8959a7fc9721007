-- What a sale owes and to whom, and the two ways to settle it before a new gate is filled.

-- Dead letters that hold units back: nobody has decided about them yet, no order was made of their reservation after
-- all, and they are not from before a reset.
CREATE VIEW withheld_units AS
SELECT d.sale_id, d.reservation_id, d.user_id, d.quantity
FROM dead_letters d
JOIN sales s ON s.id = d.sale_id
WHERE d.resolved_at IS NULL AND d.quantity IS NOT NULL AND d.epoch >= s.valid_from_epoch
  AND NOT EXISTS (SELECT FROM orders o WHERE o.id = d.reservation_id);

-- Buyers of dead letters who have no order: the gate must refuse them a second reservation all the same. A buyer with
-- several letters counts once.
CREATE VIEW withheld_buyers AS
SELECT DISTINCT ON (w.sale_id, w.user_id) w.sale_id, w.user_id, w.reservation_id
FROM withheld_units w
WHERE NOT EXISTS (SELECT FROM orders o WHERE o.sale_id = w.sale_id AND o.user_id = w.user_id)
ORDER BY w.sale_id, w.user_id, w.reservation_id;

-- settle_stock: the stock of the gate to be filled, and the number of buyers it has to know. No row: the drain is no
-- longer the caller's.
--
-- One transaction with the sale's row locked: an adjustment or a dead letter is either committed before and counted
-- here, or it sees the raised epoch afterwards and is booked for the new gate. Hence every adjustment found here is
-- done with: its units are in the sum.
CREATE FUNCTION settle_stock(p_sale uuid, p_epoch bigint, p_token uuid)
RETURNS TABLE (stock bigint, buyers bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_sale sales%ROWTYPE;
BEGIN
    SELECT * INTO v_sale FROM sales WHERE id = p_sale AND epoch = p_epoch AND drain_token = p_token FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;

    UPDATE stock_adjustments SET applied_at = clock_timestamp() WHERE sale_id = p_sale AND applied_at IS NULL;

    RETURN QUERY SELECT
        v_sale.total_stock - v_sale.sold
            - (SELECT coalesce(sum(w.quantity), 0) FROM withheld_units w WHERE w.sale_id = p_sale),
        (SELECT count(*) FROM orders o WHERE o.sale_id = p_sale)
            + (SELECT count(*) FROM withheld_buyers w WHERE w.sale_id = p_sale);
END $$;

-- reset_sale: forgets everything the sale has sold, and answers as settle_stock does.
--
-- Raising `valid_from_epoch` under the same lock makes the forgetting final: a message or a refusal count from before
-- that arrives later is dropped.
CREATE FUNCTION reset_sale(p_sale uuid, p_epoch bigint, p_token uuid, p_actor text)
RETURNS TABLE (stock bigint, buyers bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM sales WHERE id = p_sale AND epoch = p_epoch AND drain_token = p_token FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;

    DELETE FROM orders WHERE sale_id = p_sale;
    DELETE FROM stock_adjustments WHERE sale_id = p_sale;
    DELETE FROM dead_letters WHERE sale_id = p_sale;
    DELETE FROM refusals WHERE sale_id = p_sale;
    DELETE FROM audit WHERE sale_id = p_sale;
    UPDATE sales SET sold = 0, valid_from_epoch = p_epoch WHERE id = p_sale;
    INSERT INTO audit (sale_id, event, actor) VALUES (p_sale, 'RESET', p_actor);

    RETURN QUERY SELECT s.total_stock::bigint, 0::bigint FROM sales s WHERE s.id = p_sale;
END $$;
