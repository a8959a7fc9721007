-- Selling: what an operator may change while a sale runs, and units that leave the gate only if it has them.
--
-- Locks: the new columns have constant defaults, so no table is rewritten. The CHECK on `sales` reads that table, which
-- has a row for each sale, the two on `stock_adjustments` read that one, which has a row for each movement of units: both
-- are small, and locked meanwhile.

-- What the gate must learn of an edit travels by revision: each change of window, terms, limit or `halted` raises it,
-- and whoever finds a gate with a lower one writes the present values into it.
ALTER TABLE sales
    ADD COLUMN description text,
    ADD COLUMN image_url   text,
    -- An operator's word, whatever the window says: 'paused' until resumed, 'ended' for good.
    ADD COLUMN halted      text CHECK (halted IN ('paused', 'ended')),
    ADD COLUMN revision    bigint NOT NULL DEFAULT 0;

-- A claim is an adjustment that the gate may refuse: it takes units off the stock only if they are there. Nobody but
-- the gate can know that, because units that are reserved and not yet here are no longer to be had. `granted` is the
-- answer; until then the claim is pending like any adjustment, with `applied_at` NULL.
ALTER TABLE stock_adjustments
    ADD COLUMN is_claim boolean NOT NULL DEFAULT false,
    ADD COLUMN granted  boolean,
    ADD CONSTRAINT claims_take     CHECK (NOT is_claim OR delta < 0),
    ADD CONSTRAINT claims_answered CHECK (is_claim OR granted IS NULL);

-- book_claim: writes down what was decided about a pending claim. The caller holds the sale's row.
--
-- Taken, the units go where the claim says: out of the sale altogether (no order: the stock is lowered), or to an order
-- that comes back (revive_order).
CREATE FUNCTION book_claim(p_claim stock_adjustments, p_taken boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE stock_adjustments SET granted = p_taken, applied_at = clock_timestamp() WHERE id = p_claim.id;
    IF p_claim.order_id IS NOT NULL THEN
        PERFORM revive_order(p_claim.order_id, p_taken);
    ELSIF p_taken THEN
        UPDATE sales SET total_stock = total_stock + p_claim.delta WHERE id = p_claim.sale_id;
        INSERT INTO audit (sale_id, event, actor, detail)
        VALUES (p_claim.sale_id, 'STOCK_LOWERED', 'operator', jsonb_build_object('units', -p_claim.delta));
    END IF;
END $$;

-- settle_claim: books what the gate of `p_epoch` said about a claim. Returns how the claim was decided, by this call or
-- before it; NULL where it is still open, because the epoch has moved on: then the next gate is asked.
--
-- The gate gives the same answer to everybody, and only while its epoch is the sale's: so the first one may book it.
-- But units that are taken off it without asking (a late order, which no fault of ours should cause) are not to be given
-- away twice: where any were written after the claim, the gate may have answered without knowing of them. Then what it
-- gave goes back, and the claim counts as refused.
CREATE FUNCTION settle_claim(p_id bigint, p_epoch bigint, p_taken boolean) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_sale  sales%ROWTYPE;
    v_claim stock_adjustments%ROWTYPE;
BEGIN
    SELECT * INTO v_sale FROM sales
    WHERE id = (SELECT a.sale_id FROM stock_adjustments a WHERE a.id = p_id) FOR NO KEY UPDATE;
    SELECT * INTO v_claim FROM stock_adjustments WHERE id = p_id AND is_claim;
    IF v_claim.applied_at IS NULL AND v_claim.epoch = v_sale.epoch AND v_sale.epoch = p_epoch
       AND v_sale.state IN ('open', 'ended') THEN
        IF p_taken AND EXISTS (SELECT FROM stock_adjustments a WHERE a.sale_id = v_sale.id AND a.epoch = p_epoch
                                                                  AND a.id > p_id AND a.delta < 0 AND NOT a.is_claim) THEN
            INSERT INTO stock_adjustments (sale_id, epoch, delta, reason)
            VALUES (v_sale.id, p_epoch, -v_claim.delta, 'claim_returned');
            p_taken := false;
        END IF;
        PERFORM book_claim(v_claim, p_taken);
        RETURN p_taken;
    END IF;
    RETURN v_claim.granted;
END $$;

-- settle_stock: as before, but a claim that is pending stays so and is the new gate's to answer. It cannot be decided
-- here: until the new gate is open a process that has not heard of the new epoch may still reserve at the old one, and
-- what it reserves there is saved by the next rebuild, should this one fail.
CREATE OR REPLACE FUNCTION settle_stock(p_sale uuid, p_epoch bigint, p_token uuid)
RETURNS TABLE (stock bigint, buyers bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_sale sales%ROWTYPE;
BEGIN
    SELECT * INTO v_sale FROM sales WHERE id = p_sale AND epoch = p_epoch AND drain_token = p_token FOR UPDATE;
    IF NOT FOUND THEN RETURN; END IF;

    UPDATE stock_adjustments SET epoch = p_epoch WHERE sale_id = p_sale AND applied_at IS NULL AND is_claim;
    UPDATE stock_adjustments SET applied_at = clock_timestamp()
    WHERE sale_id = p_sale AND applied_at IS NULL AND NOT is_claim;

    RETURN QUERY SELECT
        v_sale.total_stock - v_sale.sold
            - (SELECT coalesce(sum(w.quantity), 0) FROM withheld_units w WHERE w.sale_id = p_sale),
        (SELECT count(*) FROM orders o WHERE o.sale_id = p_sale)
            + (SELECT count(*) FROM withheld_buyers w WHERE w.sale_id = p_sale);
END $$;

-- note_sold_out: writes into the trail that the last unit is sold, each time that happens.
CREATE FUNCTION note_sold_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO audit (sale_id, event) VALUES (NEW.id, 'SOLD_OUT');
    RETURN NULL;
END $$;

-- Once per batch and only where it is the last one: the hot path pays for one comparison.
CREATE TRIGGER sold_out AFTER UPDATE OF sold, total_stock ON sales FOR EACH ROW
WHEN (NEW.sold = NEW.total_stock AND OLD.sold < OLD.total_stock)
EXECUTE FUNCTION note_sold_out();
