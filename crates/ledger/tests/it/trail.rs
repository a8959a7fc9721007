//! Whoever writes a row of a sale's trail holds the sale's row when the row's id is drawn. So the ids of one sale become
//! visible in their order, which a cursor over the trail (webhooks) relies on.

use domain::SaleId;
use ledger::DeadLetter;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Row};
use uuid::Uuid;

use crate::fixture::{Fixture, new_sale, one};

/// Refuses every row of the trail whose writer does not hold its sale: has neither locked it nor just changed or made it.
const WATCH: &str = "
    CREATE EXTENSION IF NOT EXISTS pgrowlocks;
    CREATE FUNCTION writer_holds_the_sale() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        IF NOT EXISTS (
            SELECT FROM sales s WHERE s.id = NEW.sale_id AND (
                pg_xact_status(s.xmin::text::xid8) = 'in progress' OR EXISTS (
                    SELECT FROM pgrowlocks('sales') l
                    WHERE l.locked_row = s.ctid AND pg_backend_pid() = ANY (l.pids)
                      AND l.modes && '{No Key Update,For No Key Update,Update,For Update}'))) THEN
            RAISE EXCEPTION 'a row % is written without the lock of its sale', NEW.event USING ERRCODE = 'FS999';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER writer_holds_the_sale BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION writer_holds_the_sale()";

/// Every function that writes the trail. The test below makes each of them do so.
const WRITERS: &[&str] = &[
    "book_claim",
    "claim_units",
    "edit_sale",
    "end_sale",
    "expire",
    "forget_sale",
    "halt_sale",
    "move_order",
    "note_sold_out",
    "payment_released",
    "resolve_dead_letter",
    "revive_order",
    "write_orders",
];

impl Fixture {
    /// Runs `sql` for this sale and returns its first column as text.
    async fn ask(&self, sql: &str) -> String {
        let sql = sql.replace("SALE", &format!("'{}'", self.sale));
        let row = sqlx::query(AssertSqlSafe(format!("SELECT ({sql})::text")));
        let row = row.fetch_one(&mut self.connect().await).await.expect(&sql);
        row.try_get::<Option<String>, _>(0).unwrap().unwrap_or_default()
    }

    /// An order of one unit that waits to be paid for.
    async fn unpaid_order(&self, user: &str) -> String {
        let reservation = one(user);
        let mut batch = self.batch(1, std::slice::from_ref(&reservation));
        batch.terms.hold_seconds = 600;
        self.ledger.apply(&batch, None).await.unwrap();
        format!("'{}'::uuid", reservation.id)
    }

    async fn written_events(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT DISTINCT event FROM trail ORDER BY event")
            .fetch_all(&mut self.connect().await)
            .await
            .unwrap()
    }
}

async fn sales_are_edited(fixture: &Fixture) {
    let edit = async |to: u32| {
        fixture
            .ask(&format!(
                "SELECT verdict FROM edit_sale(SALE, '{{\"total_stock\": {to}, \"name\": \"{to}\"}}', 'operator')"
            ))
            .await
    };
    assert_eq!(edit(25).await, "edited");
    assert_eq!(edit(24).await, "claimed");
    let claim = "SELECT settle_claim(id, 1, true) FROM stock_adjustments WHERE sale_id = SALE AND is_claim";
    assert_eq!(fixture.ask(claim).await, "true");
    for halted in ["'paused'", "NULL"] {
        assert_eq!(fixture.ask(&format!("SELECT halt_sale(SALE, {halted}, 'operator')")).await, "edited");
    }
    let closed = SaleId(Uuid::new_v4());
    fixture.ledger.create_sale(&new_sale(closed, 2)).await.unwrap();
    let lower = format!("SELECT verdict FROM edit_sale('{closed}', '{{\"total_stock\": 1}}', 'operator')");
    assert_eq!(fixture.ask(&lower).await, "edited");
}

async fn orders_move(fixture: &Fixture) {
    let (paid, late) = (fixture.unpaid_order("paid").await, fixture.unpaid_order("late").await);
    let step = async |sql: String| fixture.ask(&sql).await;
    for order in [&paid, &late] {
        assert_eq!(step(format!("SELECT verdict FROM start_payment({order}, 'simulated', 900)")).await, "started");
        let started = format!("SELECT verdict FROM payment_started({order}, 'ref of ' || {order})");
        assert_eq!(step(started).await, "applied");
    }
    assert_eq!(step(format!("SELECT verdict FROM payment_news({paid}, 'captured')")).await, "applied");
    let cancel = format!("SELECT verdict FROM cancel_order({paid}, 'operator', 'operator', true, 'a test')");
    assert_eq!(step(cancel).await, "cancelled");
    assert_eq!(step(format!("SELECT verdict FROM payment_released({paid}, false)")).await, "applied");

    fixture.run(format!("UPDATE payments SET pay_until = clock_timestamp() WHERE order_id = {late}")).await;
    assert_eq!(step("SELECT expire_orders(SALE, 10)".to_owned()).await, "1");
    assert_eq!(step(format!("SELECT verdict FROM payment_news({late}, 'authorized')")).await, "applied");
    let claim = format!("SELECT settle_claim(id, 1, true) FROM stock_adjustments WHERE order_id = {late} AND is_claim");
    assert_eq!(step(claim).await, "true");
}

async fn letters_are_decided(fixture: &Fixture) {
    let dead = one("dead");
    let letter = DeadLetter::of(&fixture.batch(1, std::slice::from_ref(&dead)), &dead, "cursed".to_owned());
    fixture.ledger.bury(&letter).await.unwrap();
    let buried = fixture.ledger.dead_letter_of(dead.id).await.unwrap().unwrap();
    fixture.ledger.discard(buried.id, "operator").await.unwrap();
}

#[tokio::test]
async fn a_writer_without_the_lock_is_caught() {
    let fixture = Fixture::with_stock(5).await;
    fixture.run(WATCH.to_owned()).await;
    let mut connection = fixture.connect().await;
    let note = "INSERT INTO audit (sale_id, event) VALUES ($1, 'PLANTED')";
    let refused = sqlx::query(note).bind(fixture.sale.0).execute(&mut connection).await.unwrap_err();
    assert!(refused.to_string().contains("without the lock"), "{refused}");
    fixture.close().await;
}

#[tokio::test]
async fn every_writer_of_the_trail_holds_the_sale() {
    let fixture = Fixture::with_stock(20).await;
    fixture.run(WATCH.to_owned()).await;
    let sql = "SELECT proname::text FROM pg_proc WHERE prosrc ~* 'insert\\s+into\\s+audit' ORDER BY proname";
    let writers: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut fixture.connect().await).await.unwrap();
    assert_eq!(writers, WRITERS, "a new writer of the trail is to be made to write it in this test");

    sales_are_edited(&fixture).await;
    orders_move(&fixture).await;
    letters_are_decided(&fixture).await;
    fixture.ledger.note(fixture.sale, "NOTED", "operator", &json!({})).await.unwrap();
    // The last unit of another sale, a rebuild, the end, a reset.
    let other = SaleId(Uuid::new_v4());
    fixture.ledger.create_sale(&new_sale(other, 1)).await.unwrap();
    let other = Fixture { sale: other, ledger: fixture.ledger.clone(), database: fixture.database.clone() };
    other.rebuild().await;
    other.apply(1, &[one("ann")]).await;
    assert_eq!(other.ask("SELECT end_sale(SALE, epoch, revision) FROM sales WHERE id = SALE").await, "true");
    let (epoch, token) = other.drain().await;
    other.ledger.reset(other.sale, epoch, token, "operator").await.unwrap().unwrap();
    other.open(epoch, token).await;

    let events = fixture.written_events().await;
    for event in ["RECONCILED", "RESET", "PAUSED", "STOCK_LOWERED", "EXPIRED", "LATE_PAYMENT", "REFUNDED", "CREATED"] {
        assert!(events.iter().any(|written| written == event), "{event} was written: {events:?}");
    }
    fixture.close().await;
}

/// However little the statistics know of the sale: each page, and each step of the webhooks, takes the rows apart that it
/// needs and no others.
#[tokio::test]
async fn a_page_of_a_long_trail_costs_a_page() {
    let fixture = Fixture::with_webhooks(20_000).await;
    fixture.apply(1, &[one("first")]).await;
    fixture.ledger.collect_webhooks().await.unwrap();
    fixture.run("ANALYZE".to_owned()).await;
    for batch in 0..8 {
        let orders: Vec<_> = (0..1_000).map(|number| one(&format!("buyer-{batch}-{number}"))).collect();
        fixture.apply(1, &orders).await;
    }
    let mut reading = fixture.connect().await;
    let mut reading = reading.begin().await.unwrap();
    let mut read_before = 0;
    for statement in ["SELECT id FROM trail_page($1, 1000000000, 50)", "SELECT collect_webhooks_of($1, 50)"] {
        sqlx::query(statement).bind(fixture.sale.0).fetch_all(&mut *reading).await.unwrap();
        let counted = "SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'orders'";
        let counted: i64 = sqlx::query_scalar(counted).fetch_one(&mut *reading).await.unwrap();
        // A row of a thousand orders, each for both of its moments, and of the next row the first one.
        let read = counted - read_before;
        assert!((50..2_100).contains(&read), "{read} orders were read: {statement}");
        read_before = counted;
    }
    drop(reading);
    fixture.close().await;
}
