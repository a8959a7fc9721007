//! The persister, alone with a full queue, beside the fastest insert of the same rows.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail, ensure};
use broker::Publisher;
use domain::{Epoch, Quantity, Reservation, ReservationBatch, ReservationId, SaleId, Scripts};
use futures_util::{TryStreamExt, stream};
use inventory::{Attempt, Decision, Inventory, MAX_BATCH};
use sqlx::Connection;
use testkit::{Stack, new_sale, until};
use uuid::Uuid;

use crate::bench::{Effort, now, resident_mib, until_sold};
use crate::figure::{Figure, Wanted};
use crate::wrk::per_second;

const ORDERS: u32 = 200_000;
/// Batches that are reserved and published at the same time.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);

/// The plain insert: one statement, one transaction. Everything that a table's constraints demand stays in force.
const INSERT: &str = "
    INSERT INTO orders (id, sale_id, epoch, unit_price_minor, reserved_at, created_at, quantity, status, currency,
                        user_id)
    SELECT id, $1, $2, $3, now(), now(), 1, 'CONFIRMED', $4, user_id
    FROM unnest($5::uuid[], $6::text[]) AS new (id, user_id)";

/// Orders a second of one persister, from its first commit on, and of plain inserts of as many rows each.
pub(crate) async fn measure(stack: &Stack, effort: Effort) -> Result<Vec<Figure>> {
    // Opened all at once: no reconcile has to read what a round has left.
    let mut sales = Vec::new();
    for _ in 0..2 * effort.rounds {
        sales.push(stack.create(&new_sale(ORDERS)).await);
    }
    stack.reconcile().await;
    let (mut inserted, mut persisted, mut memory) = (vec![], vec![], vec![]);
    let (pairs, _) = sales.as_chunks();
    for &[plain, sale] in pairs {
        inserted.push(insert(stack, plain).await?);
        fill_queue(stack, sale).await?;
        let (rate, mib) = persist(stack, sale).await?;
        persisted.push(rate);
        memory.push(mib);
    }
    Ok(vec![
        Figure::ratio("persist_ratio", &persisted, &inserted).wanted(Wanted::AtLeast(0.6)),
        Figure::new("persister_rss_mib", "MiB", memory).wanted(Wanted::AtMost(25.0)),
        Figure::new("persister_per_second", "1/s", persisted),
        Figure::new("raw_insert_per_second", "1/s", inserted),
    ])
}

/// Inserts a second, of batches as large as the persister's, over one connection.
async fn insert(stack: &Stack, sale: SaleId) -> Result<f64> {
    let batch = stack.settings().persister.batch_reservations;
    let users: Vec<String> = (0..ORDERS).map(user).collect();
    let ids: Vec<Uuid> = users.iter().map(|_| new_id().0).collect();
    let sold = stack.sale(sale).await;
    let mut connection = stack.database.connect().await;
    checkpoint(stack).await?;
    let began = Instant::now();
    for (ids, users) in ids.chunks(batch).zip(users.chunks(batch)) {
        let insert = sqlx::query(INSERT).bind(sale.0).bind(sold.epoch.0).bind(sold.terms.unit_price_minor);
        insert.bind(sold.terms.currency.as_str()).bind(ids).bind(users).execute(&mut connection).await?;
    }
    let took = began.elapsed();
    // So that the sale's books stay right.
    let all = "UPDATE sales SET sold = (SELECT count(*) FROM orders WHERE sale_id = $1) WHERE id = $1";
    sqlx::query(all).bind(sale.0).execute(&mut connection).await?;
    connection.close().await?;
    ensure!(stack.sale(sale).await.sold == i64::from(ORDERS), "not all rows were inserted");
    Ok(per_second(ORDERS.into(), took))
}

/// Reserves all units of a sale as the API does and publishes them; nobody persists yet.
async fn fill_queue(stack: &Stack, sale: SaleId) -> Result<()> {
    let (settings, row) = (stack.settings(), stack.sale(sale).await);
    let scripts = row.installation.context("the sale is open")?.scripts;
    let (inventory, publisher) = (Inventory::new(&settings.redis)?, Publisher::start(&settings.rabbitmq));
    until("the publisher is connected", PATIENCE, async || publisher.is_ready().then_some(())).await;
    let batches = (0..ORDERS).step_by(MAX_BATCH).map(Ok::<_, Error>);
    let (inventory, scripts, publisher) = (&inventory, &scripts, &publisher);
    let publish = |first| async move {
        let buyers = first..ORDERS.min(first + u32::try_from(MAX_BATCH)?);
        let batch = reserve(inventory, (sale, row.epoch), scripts, buyers).await?;
        Ok(publisher.publish(&batch).await?)
    };
    stream::iter(batches).try_for_each_concurrent(AT_ONCE, publish).await?;
    publisher.close().await;
    Ok(())
}

async fn reserve(
    inventory: &Inventory,
    (sale_id, epoch): (SaleId, Epoch),
    scripts: &Scripts,
    buyers: Range<u32>,
) -> Result<ReservationBatch> {
    let attempt = |number| -> Result<Attempt> {
        Ok(Attempt { user_id: user(number).parse()?, id: new_id(), quantity: Quantity::ONE, address: None })
    };
    let attempts: Vec<Attempt> = buyers.map(attempt).collect::<Result<_>>()?;
    let reserved = inventory.reserve(sale_id, epoch, scripts, &attempts).await?;
    let won = |(decision, attempt): (Decision, Attempt)| {
        let Decision::Won { outbox_id: Some(outbox_id) } = decision else { bail!("{attempt:?}: {decision:?}") };
        let Attempt { id, user_id, quantity, .. } = attempt;
        let reserved_at = inventory::reserved_at(&outbox_id)?;
        Ok(Reservation { id, user_id, quantity, reserved_at, outbox_id: Some(outbox_id) })
    };
    let reservations = reserved.decisions.into_iter().zip(attempts).map(won).collect::<Result<_>>()?;
    Ok(ReservationBatch { sale_id, epoch, terms: reserved.terms, reservations })
}

/// Orders a second of a persister that is started now, and its memory in MiB when it has written all.
async fn persist(stack: &Stack, sale: SaleId) -> Result<(f64, f64)> {
    checkpoint(stack).await?;
    let persister = stack.persister();
    let (sold_first, began) = until_sold(stack, sale, 1).await?;
    let (sold, ended) = until_sold(stack, sale, ORDERS.into()).await?;
    let memory = resident_mib(&persister)?;
    let (inventory, epoch) = (Inventory::new(&stack.settings().redis)?, stack.sale(sale).await.epoch);
    let settled = async || {
        let backlogs = inventory.backlogs(&[(sale, epoch)]).await.ok()?;
        backlogs.iter().all(|backlog| backlog.entries == 0).then_some(())
    };
    until("the outbox is settled", PATIENCE, settled).await;
    let status = persister.stop().await;
    ensure!(status.success(), "the persister ended with {status}");
    Ok((per_second((sold - sold_first).try_into()?, ended - began), memory))
}

/// Neither side shall pay for what was written before it.
async fn checkpoint(stack: &Stack) -> Result<()> {
    let mut connection = stack.database.connect().await;
    sqlx::query("CHECKPOINT").execute(&mut connection).await?;
    Ok(connection.close().await?)
}

fn user(number: u32) -> String {
    format!("buyer-{number}")
}

/// As the API makes it.
fn new_id() -> ReservationId {
    ReservationId::new_v7(now().timestamp_millis().unsigned_abs(), &rand::random())
}
