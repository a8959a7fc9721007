-- Editing sales: what operators change, each change in one transaction with its rows in the trail.
--
-- Every function locks the sale's row first. What the gate must learn of a change is in the sale's revision and in
-- stock_adjustments when the transaction commits: whoever comes next tells it, even if the one who asked is gone.
--
-- Locks: functions only, no table is touched.

-- unclaimed_units: units that are neither sold nor withheld. What is reserved and not here yet is among them: only the
-- gate knows of it. The caller holds the sale's row.
CREATE FUNCTION unclaimed_units(p_sale uuid) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT s.total_stock - s.sold
           - (SELECT coalesce(sum(w.quantity), 0) FROM withheld_units w WHERE w.sale_id = p_sale)
    FROM sales s WHERE s.id = p_sale
$$;

-- claim_units: asks for units of a sale, for an order or (no order) to be taken out of the sale. The caller holds the
-- sale's row.
--
-- Answer  granted   whether they were given, where that is known at once; NULL: the gate is to be asked
--         claim_id  the claim that waits for the gate; NULL where it is known at once
--
-- A sale that never opened or has ended has nothing reserved that is not here, so the answer is known. The gate of an
-- ended sale may still stand for a while: that its stock is less now is an adjustment like any other.
CREATE FUNCTION claim_units(
    p_sale uuid, p_order uuid, p_units int, p_reason text, OUT granted boolean, OUT claim_id bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_sale sales%ROWTYPE;
BEGIN
    SELECT * INTO v_sale FROM sales WHERE id = p_sale;
    IF v_sale.state NOT IN ('closed', 'ended') THEN
        INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason, is_claim)
        VALUES (p_sale, v_sale.epoch, p_order, -p_units, p_reason, true) RETURNING id INTO claim_id;
        RETURN;
    END IF;

    granted := p_units <= unclaimed_units(p_sale);
    IF granted THEN
        INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason)
        VALUES (p_sale, v_sale.epoch, p_order, -p_units, p_reason);
    END IF;
    IF p_order IS NOT NULL THEN
        PERFORM revive_order(p_order, granted);
    ELSIF granted THEN
        UPDATE sales SET total_stock = total_stock - p_units WHERE id = p_sale;
        INSERT INTO audit (sale_id, event, actor, detail)
        VALUES (p_sale, 'STOCK_LOWERED', 'operator', jsonb_build_object('units', p_units));
    END IF;
END $$;

-- edit_sale: changes what `p_changes` names, columns of `sales` with their new values, all of it or nothing.
--
-- Answer  verdict, with `claim` and `least_stock` where it says so:
--   edited       it is done
--   unchanged    the sale is like that already
--   claimed      the stock is to be lowered, and the gate must be asked first: nothing else is done. Ask again once
--                `claim` was granted; asked again before that, the same claim comes back
--   claiming     another lowering of the stock is still undecided
--   too_low      more is sold than the stock would have; `least_stock` is the least that PostgreSQL can say is possible
--   over         the sale has ended: of it only the texts may change, and its stock only become less
--   no_window    it would end before it starts
--   not_found
-- Errors  22xxx and 23xxx where a value is none that the table accepts
CREATE FUNCTION edit_sale(
    p_sale uuid, p_changes jsonb, p_actor text, OUT verdict text, OUT claim bigint, OUT least_stock bigint
) LANGUAGE plpgsql AS $$
DECLARE
    v_sale    sales%ROWTYPE;
    v_next    sales%ROWTYPE;
    v_pending stock_adjustments%ROWTYPE;
    v_changes jsonb;   -- what differs: {"name": {"from": ..., "to": ...}}
    v_units   int;
    v_claimed record;
BEGIN
    SELECT * INTO v_sale FROM sales WHERE id = p_sale FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        verdict := 'not_found';
        RETURN;
    END IF;
    v_next := jsonb_populate_record(v_sale, p_changes);
    v_units := v_next.total_stock - v_sale.total_stock;

    -- 1. Whatever is asked of the stock waits for the lowering before, unless it is that very lowering.
    SELECT * INTO v_pending FROM stock_adjustments
    WHERE sale_id = p_sale AND is_claim AND order_id IS NULL AND applied_at IS NULL;
    IF FOUND AND p_changes ? 'total_stock' THEN
        claim := v_pending.id;
        verdict := CASE WHEN v_units = v_pending.delta THEN 'claimed' ELSE 'claiming' END;
        RETURN;
    END IF;

    -- 2. What differs, under the names that operators know, and whether it may.
    SELECT jsonb_object_agg(field, jsonb_build_object('from', v_old -> col, 'to', v_new -> col))
    INTO v_changes
    FROM (SELECT to_jsonb(v_sale) AS v_old, to_jsonb(v_next) AS v_new) AS both_sales,
         (VALUES ('name', 'name'), ('description', 'description'), ('image_url', 'imageUrl'),
                 ('total_stock', 'totalStock'), ('unit_price_minor', 'unitPriceMinor'), ('currency', 'currency'),
                 ('hold_seconds', 'holdSeconds'), ('per_user_limit', 'perUserLimit'), ('starts_at', 'startsAt'),
                 ('ends_at', 'endsAt')) AS known (col, field)
    WHERE v_old -> col IS DISTINCT FROM v_new -> col;
    IF v_changes IS NULL THEN
        verdict := 'unchanged';
        RETURN;
    ELSIF (v_sale.state = 'ended' OR v_sale.halted = 'ended')
          AND (v_units > 0 OR v_changes - '{name,description,imageUrl,totalStock}'::text[] <> '{}') THEN
        verdict := 'over';
        RETURN;
    ELSIF v_next.starts_at >= v_next.ends_at THEN
        verdict := 'no_window';
        RETURN;
    END IF;

    -- 3. Fewer units, if they are to be had. What PostgreSQL itself knows to be gone, no gate need be asked for.
    IF v_units < 0 THEN
        IF -v_units > unclaimed_units(p_sale) THEN
            verdict := 'too_low';
            least_stock := v_sale.total_stock - unclaimed_units(p_sale);
            RETURN;
        END IF;
        SELECT * INTO v_claimed FROM claim_units(p_sale, NULL, -v_units, 'stock_lowered');
        IF v_claimed.granted IS NULL THEN
            verdict := 'claimed';
            claim := v_claimed.claim_id;
            RETURN;
        END IF;
    -- 4. More units: the sale has them now, its gate as soon as it is told.
    ELSIF v_units > 0 THEN
        INSERT INTO stock_adjustments (sale_id, epoch, delta, reason)
        VALUES (p_sale, v_sale.epoch, v_units, 'stock_raised');
        INSERT INTO audit (sale_id, event, actor, detail)
        VALUES (p_sale, 'STOCK_RAISED', p_actor, jsonb_build_object('units', v_units));
    END IF;

    -- 5. The rest. Only what the gate must learn raises the revision.
    v_changes := v_changes - 'totalStock';
    UPDATE sales
    SET name = v_next.name, description = v_next.description, image_url = v_next.image_url,
        total_stock = v_next.total_stock, unit_price_minor = v_next.unit_price_minor, currency = v_next.currency,
        hold_seconds = v_next.hold_seconds, per_user_limit = v_next.per_user_limit, starts_at = v_next.starts_at,
        ends_at = v_next.ends_at,
        revision = revision + CASE WHEN v_changes - '{name,description,imageUrl}'::text[] <> '{}' THEN 1 ELSE 0 END
    WHERE id = p_sale;
    INSERT INTO audit (sale_id, event, actor, detail)
    SELECT p_sale, 'EDITED', p_actor, v_changes WHERE v_changes <> '{}';
    verdict := 'edited';
END $$;

-- halt_sale: an operator's word that stops a sale ('paused', 'ended') or lets it sell again (NULL).
--
-- Answer  'edited', 'unchanged', 'over' (it has ended, and nothing brings it back) or 'not_found'
CREATE FUNCTION halt_sale(p_sale uuid, p_halted text, p_actor text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_sale sales%ROWTYPE;
BEGIN
    SELECT * INTO v_sale FROM sales WHERE id = p_sale FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN 'not_found';
    ELSIF v_sale.state = 'ended' OR v_sale.halted = 'ended' THEN
        RETURN CASE WHEN p_halted = 'ended' THEN 'unchanged' ELSE 'over' END;
    ELSIF v_sale.halted IS NOT DISTINCT FROM p_halted THEN
        RETURN 'unchanged';
    END IF;
    UPDATE sales SET halted = p_halted, revision = revision + 1 WHERE id = p_sale;
    INSERT INTO audit (sale_id, event, actor)
    VALUES (p_sale, CASE p_halted WHEN 'paused' THEN 'PAUSED' WHEN 'ended' THEN 'ENDED_EARLY' ELSE 'RESUMED' END,
            p_actor);
    RETURN 'edited';
END $$;

-- end_sale: marks an open sale as over, and says whether it did.
--
-- The caller has seen that nothing is on its way and that the gate, by the rules of `p_revision`, lets nobody win any
-- more. An operator who has changed the rules since, and a claim that the gate has not answered, come first.
CREATE FUNCTION end_sale(p_sale uuid, p_epoch bigint, p_revision bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM sales
    WHERE id = p_sale AND epoch = p_epoch AND revision = p_revision AND state = 'open' FOR NO KEY UPDATE;
    -- A statement of its own: it sees what was committed while the lock was waited for.
    IF NOT FOUND OR EXISTS (SELECT FROM stock_adjustments
                            WHERE sale_id = p_sale AND is_claim AND applied_at IS NULL) THEN
        RETURN false;
    END IF;
    UPDATE sales SET state = 'ended', ended_at = clock_timestamp() WHERE id = p_sale;
    INSERT INTO audit (sale_id, event) VALUES (p_sale, 'ENDED');
    RETURN true;
END $$;
