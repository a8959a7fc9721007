//! What operators decide about dead letters: however it ends, each unit is counted once at every instant.

use domain::Applied::{Buried, Duplicate, Inserted, UserHasOrder};
use domain::{Epoch, OrderState, Reservation, ReservationId, SaleId};
use ledger::{BuriedLetter, DeadLetter, LetterFilter, Resolution, Verdict};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::fixture::{Fixture, new_sale, one, unacceptable, units};

pub(crate) const ALL: LetterFilter = LetterFilter { sale: None, resolved: None, after: None, limit: 200 };

impl Fixture {
    pub(crate) async fn run(&self, sql: String) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connect().await).await.unwrap();
    }

    /// Makes PostgreSQL refuse every order of this buyer, until [`Fixture::accept`].
    pub(crate) async fn refuse(&self, user: &str) {
        self.run(format!("ALTER TABLE orders ADD CONSTRAINT not_{user} CHECK (user_id <> '{user}')")).await;
    }

    pub(crate) async fn accept(&self, user: &str) {
        self.run(format!("ALTER TABLE orders DROP CONSTRAINT not_{user}")).await;
    }

    /// A letter of this reservation, for a reason that is gone by now.
    pub(crate) async fn buried(&self, epoch: i64, reservation: &Reservation) -> BuriedLetter {
        let user = reservation.user_id.as_str();
        self.refuse(user).await;
        let batch = self.batch(epoch, std::slice::from_ref(reservation));
        assert_eq!(self.ledger.persist(&batch, None).await.unwrap(), [(reservation.id, Buried)]);
        self.accept(user).await;
        self.letter_of(reservation.id).await
    }

    pub(crate) async fn letter_of(&self, id: ReservationId) -> BuriedLetter {
        let listed = self.ledger.dead_letters(&ALL).await.unwrap();
        let found = listed.iter().find(|letter| letter.reservation_id == Some(id)).unwrap();
        self.ledger.dead_letter(found.id).await.unwrap().unwrap()
    }

    pub(crate) async fn discard(&self, letter: &BuriedLetter) -> Verdict {
        self.ledger.discard(letter.id, "ops").await.unwrap()
    }

    pub(crate) async fn redrive(&self, letter: &BuriedLetter) -> Verdict {
        self.ledger.redrive(letter, "ops").await.unwrap()
    }

    /// S, R and D: no decision changes their sum. The rest is in the gate, which no decision touches.
    pub(crate) async fn counted(&self) -> [i64; 3] {
        let books = self.books().await;
        let pending = books.pending.iter().map(|adjustment| i64::from(adjustment.delta)).sum();
        [books.active_units, pending, books.dead_letter_units]
    }

    async fn status_of(&self, user: &str) -> Option<OrderState> {
        let order = self.ledger.order_of(self.sale, &user.parse().unwrap()).await.unwrap();
        order.map(|order| order.status)
    }

    /// The trail's rows about dead letters: event, actor, units returned.
    pub(crate) async fn trail(&self) -> Vec<(String, String, i32)> {
        let sql = "SELECT event, actor, (detail ->> 'unitsReturned')::int FROM audit
                   WHERE event LIKE 'DEAD_LETTER%' ORDER BY id";
        sqlx::query_as(sql).fetch_all(&mut self.connect().await).await.unwrap()
    }
}

pub(crate) const REDRIVEN: Verdict = Verdict::Redriven { because: None };

fn discarded(units: i32) -> Verdict {
    Verdict::Discarded { units, because: None }
}

#[tokio::test]
async fn discarding_gives_the_units_back_and_leaves_a_cancelled_order() {
    let fixture = Fixture::with_stock(10).await;
    let letter = fixture.buried(1, &units("ann", 3)).await;
    assert_eq!(fixture.counted().await, [0, 0, 3]);

    assert_eq!(fixture.discard(&letter).await, discarded(3));
    assert_eq!(fixture.counted().await, [0, 3, 0]);
    assert_eq!(fixture.adjustments().await, [(3, "dead_letter_discarded".to_owned())]);
    assert_eq!(fixture.status_of("ann").await, Some(OrderState::Cancelled));
    let books = fixture.books().await;
    assert_eq!((books.orders, books.dead_letter_buyers), (1, 0), "the buyer is still known, and once");
    assert_eq!(fixture.trail().await, [("DEAD_LETTER_DISCARDED".to_owned(), "ops".to_owned(), 3)]);

    for verdict in [fixture.discard(&letter).await, fixture.redrive(&letter).await] {
        assert_eq!(verdict, Verdict::Resolved(Resolution::Discarded));
    }
    assert_eq!(fixture.counted().await, [0, 3, 0]);
    fixture.close().await;
}

#[tokio::test]
async fn what_no_table_accepts_can_be_discarded_too() {
    let fixture = Fixture::with_stock(10).await;
    let mut batch = fixture.batch(1, &[unacceptable("ann")]);
    batch.terms.unit_price_minor = -1;
    fixture.ledger.persist(&batch, None).await.unwrap();
    let letter = fixture.letter_of(batch.reservations[0].id).await;
    assert!(matches!(fixture.redrive(&letter).await, Verdict::Failed(_)));
    assert_eq!(fixture.discard(&letter).await, discarded(1));
    assert_eq!((fixture.counted().await, fixture.status_of("ann").await), ([0, 1, 0], Some(OrderState::Cancelled)));
    fixture.close().await;
}

#[tokio::test]
async fn a_discard_whose_cancelled_order_is_refused_fails_and_a_redelivery_is_counted_once() {
    let fixture = Fixture::with_stock(10).await;
    let ann = units("ann", 3);
    let letter = fixture.buried(1, &ann).await;
    fixture.refuse("ann").await;
    let Verdict::Failed(reason) = fixture.discard(&letter).await else { panic!("the row is refused") };
    assert!(reason.contains("not_ann") && reason.ends_with("(23514)"), "{reason}");
    let after = fixture.letter_of(ann.id).await;
    assert_eq!((&after.reason, after.resolved), (&reason, None));
    assert_eq!((fixture.counted().await, fixture.status_of("ann").await), ([0, 0, 3], None));
    assert_eq!(fixture.trail().await, []);

    fixture.accept("ann").await;
    assert_eq!(fixture.apply(1, &[ann]).await, [Inserted], "the message comes once more");
    assert_eq!(fixture.counted().await, [3, 0, 0]);
    let because = Some("its reservation is an order already, CONFIRMED".to_owned());
    assert_eq!(fixture.discard(&letter).await, Verdict::Redriven { because });
    assert_eq!(fixture.counted().await, [3, 0, 0]);
    fixture.close().await;
}

#[tokio::test]
async fn whatever_is_asked_an_order_that_is_there_already_decides_about_its_letter() {
    for (status, active) in
        [("CONFIRMED", true), ("HELD", true), ("PAYING", true), ("CANCELLED", false), ("EXPIRED", false)]
    {
        for redrive in [false, true] {
            let fixture = Fixture::with_stock(10).await;
            let ann = units("ann", 3);
            let letter = fixture.buried(1, &ann).await;
            assert_eq!(fixture.apply(1, &[ann]).await, [Inserted], "a redelivery, once the cause is gone");
            let sold = if active { 3 } else { 0 };
            fixture.run(format!("UPDATE orders SET status = '{status}'; UPDATE sales SET sold = {sold}")).await;
            let verdict = if redrive { fixture.redrive(&letter).await } else { fixture.discard(&letter).await };
            if active {
                let because = Some(format!("its reservation is an order already, {status}"));
                assert_eq!(verdict, Verdict::Redriven { because });
            } else {
                let because = Some(format!("its order is {status}"));
                assert_eq!(verdict, Verdict::Discarded { units: 0, because });
            }
            let resolution = if active { Resolution::Redriven } else { Resolution::Discarded };
            assert_eq!(fixture.discard(&letter).await, Verdict::Resolved(resolution));
            assert_eq!(fixture.counted().await, [sold, 0, 0]);
            fixture.close().await;
        }
    }
}

#[tokio::test]
async fn a_letter_that_withholds_units_is_not_resolved_without_them() {
    let fixture = Fixture::with_stock(10).await;
    let letter = fixture.buried(1, &units("ann", 3)).await;
    for refused in [
        fixture.ledger.mark_redriven(letter.id, "ops").await,
        fixture.ledger.mark_split(letter.id, "ops", 0, String::new()).await,
    ] {
        assert!(refused.unwrap_err().to_string().contains("withholds units"));
    }
    assert_eq!(fixture.counted().await, [0, 0, 3]);
    assert_eq!(fixture.letter_of(letter.reservation_id.unwrap()).await.resolved, None);
    fixture.close().await;
}

#[tokio::test]
async fn a_discarded_reservation_that_is_delivered_again_sells_nothing() {
    let fixture = Fixture::with_stock(10).await;
    let ann = units("ann", 3);
    let letter = fixture.buried(1, &ann).await;
    fixture.discard(&letter).await;
    assert_eq!(fixture.apply(1, std::slice::from_ref(&ann)).await, [Duplicate]);
    fixture.rebuild().await;
    assert_eq!(fixture.apply(1, &[one("bob"), ann]).await, [Inserted, Duplicate]);
    assert_eq!(fixture.counted().await, [1, -1, 0], "bob alone was late");
    fixture.close().await;
}

#[tokio::test]
async fn a_discard_during_a_rebuild_is_counted_once_whether_it_comes_before_or_after_the_settling() {
    let fixture = Fixture::with_stock(10).await;
    let (early, late) = (fixture.buried(1, &units("ann", 3)).await, fixture.buried(1, &units("bob", 2)).await);
    let (epoch, token) = fixture.drain().await;
    assert_eq!(fixture.discard(&early).await, discarded(3));
    let settled = fixture.ledger.settle_stock(fixture.sale, epoch, token).await.unwrap().unwrap();
    assert_eq!((settled.stock, settled.buyers), (8, 2), "all but bob's units, and both buyers");
    assert_eq!(fixture.discard(&late).await, discarded(2));
    let buyers = fixture.ledger.buyers_page(fixture.sale, None, 10).await.unwrap();
    assert_eq!(buyers.len(), 2, "as many as were settled");
    fixture.open(epoch, token).await;
    let pending = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    assert_eq!(pending.iter().map(|row| (row.epoch, row.delta)).collect::<Vec<_>>(), [(epoch, 2)]);
    fixture.close().await;
}

#[tokio::test]
async fn a_letter_that_withholds_nothing_is_just_resolved() {
    let fixture = Fixture::with_stock(10).await;
    let mut nowhere = fixture.batch(1, &[one("ann")]);
    nowhere.sale_id = SaleId(Uuid::new_v4());
    fixture.ledger.persist(&nowhere, None).await.unwrap();
    let unreadable = DeadLetter::unreadable(fixture.sale, Epoch(1), "no JSON".to_owned(), b"{".to_vec());
    fixture.ledger.bury(&unreadable).await.unwrap();
    for letter in fixture.ledger.dead_letters(&ALL).await.unwrap() {
        assert_eq!(fixture.discard(&letter).await, discarded(0));
    }
    assert_eq!((fixture.counted().await, fixture.books().await.orders), ([0, 0, 0], 0));
    assert_eq!(fixture.trail().await.len(), 2);
    assert_eq!(fixture.ledger.discard(Uuid::new_v4(), "ops").await.unwrap(), Verdict::NotFound);
    fixture.close().await;
}

#[tokio::test]
async fn a_letter_from_before_a_reset_gives_back_nothing_whatever_is_decided() {
    let fixture = Fixture::with_stock(10).await;
    let (epoch, token) = fixture.drain().await;
    fixture.ledger.reset(fixture.sale, epoch, token, "ops").await.unwrap().unwrap();
    fixture.open(epoch, token).await;
    for (user, redrive) in [("ann", true), ("bob", false)] {
        let reservation = one(user);
        // Buried by a worker that had read it before the reset.
        let body = serde_json::to_vec(&fixture.batch(1, std::slice::from_ref(&reservation))).unwrap();
        let letter = DeadLetter {
            reservation: Some(reservation.clone()),
            ..DeadLetter::unreadable(fixture.sale, Epoch(1), "refused".to_owned(), body)
        };
        fixture.ledger.bury(&letter).await.unwrap();
        let letter = fixture.letter_of(reservation.id).await;
        let because = redrive.then(|| "it is from before a reset".to_owned());
        let verdict = if redrive { fixture.redrive(&letter).await } else { fixture.discard(&letter).await };
        assert_eq!(verdict, Verdict::Discarded { units: 0, because });
    }
    assert_eq!((fixture.counted().await, fixture.books().await.orders), ([0, 0, 0], 0));
    fixture.close().await;
}

#[tokio::test]
async fn redriving_makes_the_order_that_was_promised_once_the_cause_is_gone() {
    let fixture = Fixture::with_stock(3).await;
    let ann = units("ann", 3);
    let letter = fixture.buried(1, &ann).await;
    assert_eq!(fixture.redrive(&letter).await, REDRIVEN);
    assert_eq!(fixture.counted().await, [3, 0, 0]);
    let order = fixture.ledger.order_of(fixture.sale, &ann.user_id).await.unwrap().unwrap();
    assert_eq!((order.id, order.status, order.unit_price_minor), (ann.id, OrderState::Confirmed, 1_999));
    assert_eq!(order.reserved_at.timestamp_millis(), ann.reserved_at);
    assert_eq!(fixture.trail().await, [("DEAD_LETTER_REDRIVEN".to_owned(), "ops".to_owned(), 0)]);
    for verdict in [fixture.redrive(&letter).await, fixture.discard(&letter).await] {
        assert_eq!(verdict, Verdict::Resolved(Resolution::Redriven));
    }
    assert_eq!(fixture.apply(1, &[ann]).await, [Duplicate], "a late redelivery");
    assert_eq!(fixture.counted().await, [3, 0, 0]);
    fixture.close().await;
}

#[tokio::test]
async fn a_redrive_that_is_refused_again_says_why_and_changes_nothing_else() {
    let fixture = Fixture::with_stock(10).await;
    let letter = fixture.buried(1, &units("ann", 3)).await;
    fixture.run("ALTER TABLE orders ADD CONSTRAINT only_small_orders CHECK (quantity < 2)".to_owned()).await;
    let Verdict::Failed(reason) = fixture.redrive(&letter).await else { panic!("it is refused") };
    assert!(reason.contains("only_small_orders") && reason.ends_with("(23514)"), "{reason}");
    let after = fixture.letter_of(letter.reservation_id.unwrap()).await;
    assert_eq!((&after.reason, after.resolved), (&reason, None));
    assert!(letter.reason.contains("not_ann"), "{}", letter.reason);
    assert_eq!((fixture.counted().await, fixture.status_of("ann").await), ([0, 0, 3], None));
    assert_eq!(fixture.trail().await, []);
    fixture.close().await;
}

#[tokio::test]
async fn a_redrive_never_makes_a_refused_order() {
    let fixture = Fixture::with_stock(2).await;
    let letter = fixture.buried(1, &units("ann", 2)).await;
    // No gate would have sold these: they were withheld.
    assert_eq!(fixture.apply(1, &[one("bob")]).await, [Inserted]);
    let Verdict::Failed(reason) = fixture.redrive(&letter).await else { panic!("there is no room") };
    assert_eq!(reason, "the sale has no unit left for it");
    assert_eq!((fixture.counted().await, fixture.status_of("ann").await), ([1, 0, 2], None));
    fixture.close().await;
}

#[tokio::test]
async fn a_reservation_of_a_sale_that_was_created_afterwards_can_be_redriven() {
    let fixture = Fixture::with_stock(1).await;
    let mut batch = fixture.batch(1, &[units("ann", 2)]);
    batch.sale_id = SaleId(Uuid::new_v4());
    fixture.ledger.persist(&batch, None).await.unwrap();
    let letter = fixture.letter_of(batch.reservations[0].id).await;
    let Verdict::Failed(reason) = fixture.redrive(&letter).await else { panic!("there is no sale") };
    assert_eq!(reason, format!("unknown sale {}", batch.sale_id));

    fixture.ledger.create_sale(&new_sale(batch.sale_id, 5)).await.unwrap();
    let there = Fixture { sale: batch.sale_id, ledger: fixture.ledger.clone(), database: fixture.database };
    there.rebuild().await;
    assert_eq!(there.counted().await, [0, 0, 2], "withheld from its first gate");
    assert_eq!(there.redrive(&letter).await, REDRIVEN);
    assert_eq!(there.counted().await, [2, 0, 0]);
    there.close().await;
}

#[tokio::test]
async fn a_redrive_waits_for_no_reconciler_and_works_under_the_next_epoch() {
    let fixture = Fixture::with_stock(10).await;
    let letter = fixture.buried(1, &units("ann", 3)).await;
    let (epoch, token) = fixture.drain().await;
    assert_eq!(fixture.redrive(&letter).await, Verdict::Fenced);
    let settled = fixture.ledger.settle_stock(fixture.sale, epoch, token).await.unwrap().unwrap();
    assert_eq!((settled.stock, settled.buyers), (7, 1));
    assert_eq!(fixture.redrive(&letter).await, Verdict::Fenced);
    fixture.open(epoch, token).await;
    assert_eq!(fixture.redrive(&letter).await, REDRIVEN);
    assert_eq!(fixture.counted().await, [3, 0, 0], "the gate of epoch 2 never had its units");
    fixture.close().await;
}

#[tokio::test]
async fn a_decision_for_a_buyer_who_has_another_order_gives_the_units_back_once() {
    for (redrive, rebuilt) in [(false, false), (false, true), (true, false), (true, true)] {
        let fixture = Fixture::with_stock(10).await;
        let ann = units("ann", 3);
        let letter = fixture.buried(1, &ann).await;
        fixture.apply(1, &[one("ann")]).await;
        if rebuilt {
            fixture.rebuild().await;
        }
        let because = redrive.then(|| "its buyer has another order of this sale".to_owned());
        let verdict = if redrive { fixture.redrive(&letter).await } else { fixture.discard(&letter).await };
        assert_eq!(verdict, Verdict::Discarded { units: 3, because });
        assert_eq!(fixture.counted().await, [1, 3, 0]);
        assert_eq!(fixture.apply(1, &[ann]).await, [UserHasOrder], "a late redelivery");
        assert_eq!(fixture.counted().await, [1, 3, 0]);
        fixture.close().await;
    }
}

#[tokio::test]
async fn a_redelivery_that_gave_the_units_back_leaves_none_for_the_letter() {
    for redrive in [false, true] {
        let fixture = Fixture::with_stock(10).await;
        let ann = units("ann", 3);
        let letter = fixture.buried(1, &ann).await;
        assert_eq!(fixture.apply(1, &[one("ann"), ann]).await, [Inserted, UserHasOrder]);
        assert_eq!(fixture.counted().await, [1, 3, 0]);
        let verdict = if redrive { fixture.redrive(&letter).await } else { fixture.discard(&letter).await };
        assert!(matches!(verdict, Verdict::Discarded { units: 3, .. }), "{verdict:?}");
        assert_eq!(fixture.counted().await, [1, 3, 0]);
        fixture.close().await;
    }
}

#[tokio::test]
async fn of_many_who_decide_at_once_one_wins_and_the_others_read_how() {
    let fixture = Fixture::with_stock(10).await;
    for round in 0..5 {
        let letter = fixture.buried(1, &one(&format!("buyer_{round}"))).await;
        let decide = async |n: usize| match n % 2 {
            0 => fixture.redrive(&letter).await,
            _ => fixture.discard(&letter).await,
        };
        let (a, b, c, d) = tokio::join!(decide(0), decide(1), decide(2), decide(3));
        let mut winners: Vec<Verdict> = vec![a, b, c, d];
        winners.retain(|verdict| !matches!(verdict, Verdict::Resolved(_)));
        let how = match winners.as_slice() {
            [Verdict::Redriven { because: None }] => Resolution::Redriven,
            [Verdict::Discarded { units: 1, because: None }] => Resolution::Discarded,
            winners => panic!("{winners:?}"),
        };
        assert_eq!(fixture.discard(&letter).await, Verdict::Resolved(how));
        assert_eq!(fixture.counted().await.iter().sum::<i64>(), round + 1);
    }
    assert_eq!(fixture.counted().await[2], 0);
    fixture.close().await;
}

#[tokio::test]
async fn a_decision_that_waits_for_a_rebuild_is_booked_for_the_new_gate() {
    let fixture = Fixture::with_stock(10).await;
    let letter = fixture.buried(1, &units("ann", 3)).await;
    let mut rebuild = fixture.connect().await;
    sqlx::raw_sql("BEGIN; UPDATE sales SET epoch = epoch + 1").execute(&mut rebuild).await.unwrap();
    let commit = async {
        fixture.until_someone_waits(&mut rebuild).await;
        sqlx::raw_sql("COMMIT").execute(&mut rebuild).await.unwrap();
    };
    let (verdict, ()) = tokio::join!(fixture.discard(&letter), commit);
    assert_eq!(verdict, discarded(3));
    let pending = fixture.ledger.pending_adjustments(fixture.sale).await.unwrap();
    assert_eq!(pending.iter().map(|row| (row.epoch, row.delta)).collect::<Vec<_>>(), [(Epoch(2), 3)]);
    fixture.close().await;
}

#[tokio::test]
async fn two_decisions_about_a_letter_of_no_sale_wait_for_each_other() {
    let fixture = Fixture::with_stock(1).await;
    let letter = DeadLetter::unreadable(SaleId(Uuid::new_v4()), Epoch(1), "no JSON".to_owned(), b"{".to_vec());
    fixture.ledger.bury(&letter).await.unwrap();
    let letter = fixture.ledger.dead_letters(&ALL).await.unwrap().remove(0);
    let mut other = fixture.connect().await;
    let decided = "BEGIN; SELECT decide_dead_letter(id, 'discarded', 'another') FROM dead_letters";
    sqlx::raw_sql(decided).execute(&mut other).await.unwrap();
    let commit = async {
        fixture.until_someone_waits(&mut other).await;
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    };
    let (verdict, ()) = tokio::join!(fixture.discard(&letter), commit);
    assert_eq!(verdict, Verdict::Resolved(Resolution::Discarded));
    assert_eq!(fixture.trail().await.len(), 1);
    fixture.close().await;
}
