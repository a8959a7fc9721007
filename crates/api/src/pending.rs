//! Orders on their way: reserved, and not in PostgreSQL yet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Epoch, ReservationId, SaleId, SaleState, UserId};
use inventory::Sought;
use ledger::{Order, OrderView, Sale};
use tokio::sync::{Mutex, Semaphore};

use crate::app::Process;
use crate::caller::Caller;
use crate::error::Problem;
use crate::view::SaleView;

/// How often a process looks through the outboxes at most: that is work for the Redis that decides the clicks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Most who wait for their turn to look: together a second.
const MOST_WAITING: usize = 50;

/// Turns to look through the outboxes for an order of nobody in particular.
pub(crate) struct Looks {
    places: Semaphore,
    next: Mutex<Instant>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { places: Semaphore::new(MOST_WAITING), next: Mutex::new(Instant::now()) }
    }
}

impl Looks {
    /// Returns when it is the caller's turn; a problem where too many wait.
    async fn turn(&self) -> Result<(), Problem> {
        let too_many = |_| Problem::unavailable(&"too many look for an order that may be on its way");
        let _place = self.places.try_acquire().map_err(too_many)?;
        let mut next = self.next.lock().await;
        tokio::time::sleep_until((*next).into()).await;
        *next = Instant::now() + LOOK_EVERY;
        Ok(())
    }
}

/// What becomes of an order's id.
pub(crate) enum Found {
    /// PostgreSQL has the order.
    Order(Box<OrderView>),
    /// It is on its way, or with the dead letters; the sale, where it is known.
    Pending(Option<SaleId>),
    /// There is no such order, or it is somebody else's.
    Nowhere,
}

/// Finds an order that the caller may read. While nobody can tell whether there is one the answer is no 404.
pub(crate) async fn find(process: &Process, caller: &Caller, id: ReservationId) -> Result<Found, Problem> {
    if let Some(order) = read(process, id).await? {
        return Ok(visible(caller, order));
    }
    let asked = Instant::now();
    let seen = process.view.list().unwrap_or_default();
    if let Some(sale) = on_its_way(process, caller, &seen, id).await? {
        return Ok(Found::Pending(Some(sale)));
    }
    // A sale may have opened a moment ago.
    process.view.refresh_after(asked).await.map_err(|error| Problem::unavailable(&error))?;
    let now = process.view.list().unwrap_or_default();
    if open(&now) != open(&seen)
        && let Some(sale) = on_its_way(process, caller, &now, id).await?
    {
        return Ok(Found::Pending(Some(sale)));
    }
    let buyer = process.ledger.buyer_of_buried(id).await.map_err(|error| Problem::unavailable(&error))?;
    if buyer.is_some_and(|buyer| caller.may_read(&buyer)) {
        return Ok(Found::Pending(None));
    }
    // Last: it may have been written since the first look, by a worker or by an operator's decision.
    if let Some(order) = read(process, id).await? {
        return Ok(visible(caller, order));
    }
    if now.iter().any(|view| view.sale.state == SaleState::Draining) {
        return Err(Problem::unavailable(&"a gate is being rebuilt, which orders are on their way is not known"));
    }
    Ok(Found::Nowhere)
}

async fn read(process: &Process, id: ReservationId) -> Result<Option<OrderView>, Problem> {
    process.ledger.order(id).await.map_err(|error| Problem::unavailable(&error))
}

fn visible(caller: &Caller, order: OrderView) -> Found {
    if caller.may_read(&order.order.user_id) { Found::Order(Box::new(order)) } else { Found::Nowhere }
}

/// What a buyer has in a sale.
pub(crate) enum Had {
    /// An order.
    Order(Order),
    /// A reservation on its way, or with the dead letters.
    Pending(ReservationId),
    /// Nothing.
    Nothing,
}

/// Finds what a buyer has in a sale. While PostgreSQL is away the gate still knows the buyer.
pub(crate) async fn find_of(process: &Process, sale: &Sale, user: &UserId) -> Result<Had, Problem> {
    let away = |error: ledger::Error| Problem::unavailable(&error);
    let order = process.ledger.order_of(sale.id, user).await;
    if let Ok(Some(order)) = order {
        return Ok(Had::Order(order));
    }
    if sale.state == SaleState::Open {
        let holder = process.inventory.holder(sale.id, sale.epoch, user).await;
        if let Some(id) = holder.map_err(|error| Problem::unavailable(&error))? {
            return Ok(Had::Pending(id));
        }
    }
    order.map_err(away)?;
    if let Some(id) = process.ledger.reservation_of(sale.id, user).await.map_err(away)? {
        let order = process.ledger.order_of(sale.id, user).await.map_err(away)?;
        return Ok(order.map_or(Had::Pending(id), Had::Order));
    }
    match sale.state {
        SaleState::Open | SaleState::Ended => Ok(Had::Nothing),
        SaleState::Closed | SaleState::Draining => Err(Problem::unavailable(&"the sale's gate is being rebuilt")),
    }
}

/// The sale whose gate has made this reservation. A known buyer's is asked for by name, anybody's looked for.
async fn on_its_way(
    process: &Process,
    caller: &Caller,
    views: &[Arc<SaleView>],
    id: ReservationId,
) -> Result<Option<SaleId>, Problem> {
    let open = open(views);
    let away = |error: inventory::Error| Problem::unavailable(&error);
    let Some(user) = caller.subject() else {
        process.looks.turn().await?;
        return match process.inventory.seek(&open, id).await.map_err(away)? {
            Sought::Found(sale) => Ok(Some(sale)),
            Sought::Nowhere => Ok(None),
            Sought::Unknown => Err(Problem::unavailable(&"there are too many orders on their way to find one")),
        };
    };
    for (sale, epoch) in open {
        if process.inventory.holder(sale, epoch, user).await.map_err(away)? == Some(id) {
            return Ok(Some(sale));
        }
    }
    Ok(None)
}

fn open(views: &[Arc<SaleView>]) -> Vec<(SaleId, Epoch)> {
    let open = views.iter().filter(|view| view.sale.state == SaleState::Open);
    open.map(|view| (view.sale.id, view.sale.epoch)).collect()
}
