-- Dead letters in an operator's hands. A letter is resolved once and for good: `redriven`, its reservation is an order
-- after all; `discarded`, it never will be, and its units go back on sale; or `split`, its message could not be read
-- and can be now, and each reservation in it has a letter of its own.
--
-- The units must be counted once at every instant. As long as nobody has decided they are withheld (withheld_units).
-- Either decision about a reservation ends that in the very transaction that counts them elsewhere: as sold, or as an
-- adjustment for the gate. Both lock the sale's row first, as everywhere.
--
-- Discarding leaves a tombstone among the orders, a CANCELLED row under the reservation's id, and with it holds what
-- holds for any order that was cancelled: the buyer stays known to this gate and to every later one, reads CANCELLED
-- instead of waiting for ever, and a redelivery of the message (whose cause of death may be gone by then) is a
-- duplicate and sells nothing. Where not even that row is accepted, the letter cannot be discarded.

ALTER TABLE dead_letters ADD CONSTRAINT resolved_in_a_known_way
    CHECK ((resolved_at IS NULL) = (resolution IS NULL) AND resolution IN ('redriven', 'discarded', 'split'));

-- Operators page through them in this order.
CREATE INDEX dead_letters_by_age ON dead_letters (created_at, id);

-- As before, less the letters whose units went back already: a redelivery of the reservation got past what had refused
-- it, and found that its buyer has another order.
CREATE OR REPLACE VIEW withheld_units AS
SELECT d.sale_id, d.reservation_id, d.user_id, d.quantity
FROM dead_letters d
JOIN sales s ON s.id = d.sale_id
WHERE d.resolved_at IS NULL AND d.quantity IS NOT NULL AND d.epoch >= s.valid_from_epoch
  AND NOT EXISTS (SELECT FROM orders o WHERE o.id = d.reservation_id)
  AND NOT EXISTS (SELECT FROM stock_adjustments a WHERE a.order_id = d.reservation_id AND a.reason = 'second_order');

-- hold_dead_letter: the letter, locked until we commit. Of two who decide about one letter the second waits here and
-- then finds it resolved.
--
-- Answer  verdict NULL: it is the caller's to decide about. Else there is nothing left to decide:
--   not_found
--   resolved   by an earlier decision, in `detail`
--   redriven   only now, because its reservation is an order already, whatever was asked
--   discarded  only now, because its reservation is an order that was given up: whoever did that gave the units back
CREATE FUNCTION hold_dead_letter(
    p_id uuid, p_actor text, OUT letter dead_letters, OUT verdict text, OUT units int, OUT detail text
) LANGUAGE plpgsql AS $$
DECLARE
    v_status text;
BEGIN
    units := 0;
    -- No row where the letter names no sale that exists: then it withholds nothing, and its own row is enough.
    PERFORM FROM sales s WHERE s.id = (SELECT d.sale_id FROM dead_letters d WHERE d.id = p_id) FOR NO KEY UPDATE;
    SELECT * INTO letter FROM dead_letters WHERE id = p_id FOR UPDATE;
    IF letter.id IS NULL THEN
        verdict := 'not_found';
        RETURN;
    ELSIF letter.resolved_at IS NOT NULL THEN
        verdict := 'resolved';
        detail := letter.resolution;
        RETURN;
    END IF;

    SELECT status INTO v_status FROM orders WHERE id = letter.reservation_id;
    IF v_status IN ('HELD', 'PAYING', 'CONFIRMED') THEN
        verdict := 'redriven';
        detail := 'its reservation is an order already, ' || v_status;
    ELSIF v_status IS NOT NULL THEN
        verdict := 'discarded';
        detail := 'its order is ' || v_status;
    END IF;
    IF verdict IS NOT NULL THEN
        PERFORM resolve_dead_letter(letter, verdict, p_actor, 0);
    END IF;
END $$;

-- resolve_dead_letter: writes the decision down. The caller holds the letter.
CREATE FUNCTION resolve_dead_letter(p_letter dead_letters, p_resolution text, p_actor text, p_units int)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE dead_letters SET resolved_at = clock_timestamp(), resolution = p_resolution WHERE id = p_letter.id;
    -- The trail is a sale's: a letter that names none has no place in it.
    INSERT INTO audit (sale_id, event, order_id, user_id, actor, detail)
    SELECT p_letter.sale_id, 'DEAD_LETTER_' || upper(p_resolution), p_letter.reservation_id, p_letter.user_id, p_actor,
           jsonb_build_object('deadLetter', p_letter.id, 'reason', p_letter.reason, 'unitsReturned', p_units)
    WHERE p_letter.sale_id IS NOT NULL;
END $$;

-- refuse_dead_letter: writes down why the letter stays unresolved, and returns it. The caller holds the letter and has
-- taken back whatever it tried.
CREATE FUNCTION refuse_dead_letter(p_id uuid, p_code text, p_message text) RETURNS text LANGUAGE sql AS $$
    UPDATE dead_letters
    SET reason = CASE WHEN p_code LIKE 'FS%' THEN p_message
                      ELSE format('PostgreSQL refuses the data: %s (%s)', p_message, p_code) END
    WHERE id = p_id RETURNING reason
$$;

-- give_up_dead_letter: resolves a letter as discarded and gives back the units it withholds. Returns how many of the
-- reservation's units are back. The caller holds the letter.
--
-- Errors  22xxx and 23xxx: not even the tombstone is accepted. Without it a redelivery could sell the units a second
--         time, so the letter must stay as it is.
CREATE FUNCTION give_up_dead_letter(p_letter dead_letters, p_actor text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_units int;
BEGIN
    IF EXISTS (SELECT FROM withheld_units w WHERE w.reservation_id = p_letter.reservation_id) THEN
        -- 1. The tombstone. Price, currency and time are the sale's and the letter's own, because those of the
        --    message may be what no table accepts; the message itself stays in the letter. None where the buyer has
        --    another order.
        INSERT INTO orders (id, sale_id, epoch, unit_price_minor, reserved_at, quantity, status, currency, user_id)
        SELECT p_letter.reservation_id, s.id, p_letter.epoch, s.unit_price_minor, p_letter.created_at,
               p_letter.quantity, 'CANCELLED', s.currency, p_letter.user_id
        FROM sales s WHERE s.id = p_letter.sale_id
        ON CONFLICT DO NOTHING;

        -- 2. The units, for the present gate; a settle_stock that is still to come drops this row and counts them
        --    itself. For a buyer with another order under the name that a redelivery would book them under.
        INSERT INTO stock_adjustments (sale_id, epoch, order_id, delta, reason)
        SELECT s.id, s.epoch, p_letter.reservation_id, p_letter.quantity,
               CASE WHEN EXISTS (SELECT FROM orders o WHERE o.sale_id = s.id AND o.user_id = p_letter.user_id
                                                        AND o.id <> p_letter.reservation_id)
                    THEN 'second_order' ELSE 'dead_letter_discarded' END
        FROM sales s WHERE s.id = p_letter.sale_id
        ON CONFLICT DO NOTHING;
    END IF;

    SELECT coalesce(sum(delta), 0) INTO v_units FROM stock_adjustments
    WHERE order_id = p_letter.reservation_id AND reason IN ('dead_letter_discarded', 'second_order');
    PERFORM resolve_dead_letter(p_letter, 'discarded', p_actor, v_units);
    RETURN v_units;
END $$;

-- decide_dead_letter: an operator's word on a letter as it lies there. `discarded` gives it up. `redriven` and `split`
-- are for a message that could not be read and can be now: the caller has buried each of its reservations in a letter
-- of its own and redriven that.
--
-- Answer  verdict as asked for, with the units that go back; 'failed' where it cannot be discarded, for the reason in
--         `detail`, which the letter now carries; or as hold_dead_letter
-- Errors  P0001 a letter that withholds units can only be discarded, or redriven by redrive_dead_letter
CREATE FUNCTION decide_dead_letter(
    p_id uuid, p_resolution text, p_actor text, OUT verdict text, OUT units int, OUT detail text
) LANGUAGE plpgsql AS $$
DECLARE
    v_held record;
BEGIN
    SELECT * INTO v_held FROM hold_dead_letter(p_id, p_actor);
    verdict := coalesce(v_held.verdict, p_resolution);
    units := v_held.units;
    detail := v_held.detail;
    IF v_held.verdict IS NOT NULL THEN
        RETURN;
    END IF;

    IF p_resolution = 'discarded' THEN
        -- A block of its own: what it takes back must not include the locks.
        BEGIN
            units := give_up_dead_letter(v_held.letter, p_actor);
        EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
            verdict := 'failed';
            detail := refuse_dead_letter(p_id, SQLSTATE, SQLERRM);
        END;
    ELSIF (v_held.letter).quantity IS NOT NULL THEN
        RAISE EXCEPTION 'dead letter % withholds units and cannot be %', p_id, p_resolution;
    ELSE
        PERFORM resolve_dead_letter(v_held.letter, p_resolution, p_actor, 0);
    END IF;
END $$;

-- redrive_dead_letter: tries again to make an order of a letter's reservation, as a worker would.
--
-- Arguments  what the letter's row does not have of the reservation: its terms and its time
-- Answer     verdict, besides hold_dead_letter's
--   redriven   it is an order now
--   discarded  it can never be one and everybody is served all the same, for the reason in `detail`; with the units
--              that go back
--   failed     refused again, for the reason in `detail`, which the letter now carries
--   fenced     a reconciler is draining the sale; nothing was written
CREATE FUNCTION redrive_dead_letter(
    p_id uuid, p_actor text, p_unit_price_minor bigint, p_currency text, p_hold_seconds bigint, p_reserved_at_ms bigint,
    OUT verdict text, OUT units int, OUT detail text
) LANGUAGE plpgsql AS $$
DECLARE
    v_held    record;
    v_letter  dead_letters%ROWTYPE;
    v_outcome text;
BEGIN
    SELECT * INTO v_held FROM hold_dead_letter(p_id, p_actor);
    verdict := v_held.verdict;
    units := v_held.units;
    detail := v_held.detail;
    IF verdict IS NOT NULL THEN
        RETURN;
    END IF;
    v_letter := v_held.letter;

    -- 1. The ordinary way, alone. There is room: its units were withheld from every gate. Should that ever err, no
    --    REFUSED row is written for it, and the letter stays.
    BEGIN
        v_outcome := (apply_batch(v_letter.sale_id, v_letter.epoch, NULL, p_unit_price_minor, p_currency,
                                  p_hold_seconds, ARRAY[v_letter.reservation_id], ARRAY[v_letter.user_id],
                                  ARRAY[v_letter.quantity], ARRAY[p_reserved_at_ms]))[1];
        IF v_outcome = 'no_stock' THEN
            RAISE EXCEPTION 'the sale has no unit left for it' USING ERRCODE = 'FS002';
        END IF;
    EXCEPTION WHEN data_exception OR integrity_constraint_violation OR SQLSTATE 'FS001' OR SQLSTATE 'FS002' THEN
        verdict := 'failed';
        detail := refuse_dead_letter(p_id, SQLSTATE, SQLERRM);
        RETURN;
    END;

    -- 2. The letter's own end, in the same transaction: sold, or given back, but never withheld as well.
    CASE v_outcome
        WHEN 'inserted' THEN
            verdict := 'redriven';
            PERFORM resolve_dead_letter(v_letter, verdict, p_actor, 0);
        WHEN 'user_has_order', 'stale' THEN
            verdict := 'discarded';
            detail := CASE v_outcome WHEN 'stale' THEN 'it is from before a reset'
                                     ELSE 'its buyer has another order of this sale' END;
            units := give_up_dead_letter(v_letter, p_actor);
        WHEN 'fenced' THEN
            verdict := 'fenced';
    END CASE;
END $$;
