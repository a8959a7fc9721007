//! Live status: what a sale, and a buyer's order, are doing, told as it changes to everybody who listens.
//!
//! Nothing here is on the way of a click. One task of the process looks a few times a second at the view of each sale
//! that somebody listens to, renders what has changed once for all of them, and puts it where each stream finds the
//! newest and nothing older: so a crowd costs a write each, and a client that reads slowly misses states and no more.

mod board;
mod orders;
mod stream;

use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Bytes;
use chrono::{DateTime, Utc};
use domain::{Halt, SaleId};
use ledger::Ledger;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use utoipa::ToSchema;

use self::board::Board;
use self::orders::Orders;
pub(crate) use self::orders::{Listener, OrderNow};
use self::stream::Stream;
use crate::connections::Connection;
use crate::error::{Code, Problem};
use crate::routes::sales::is_over;
use crate::view::{SaleView, View};

/// How often a change is looked for: the most events a second are four.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Who listens to what in this process.
pub(crate) struct Live {
    view: Arc<View>,
    sales: Board<SaleId, Change>,
    orders: Orders,
    places: Arc<Semaphore>,
    heartbeat: Duration,
}

/// What a stream says of a sale: what changes while people look at it. Everything else is in its status.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SaleNow<'a> {
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    name: &'a str,
    remaining_stock: i64,
    total_sold: i64,
    total_stock: i64,
    sale_active: bool,
    /// `ACTIVE` or `INACTIVE`.
    status: &'static str,
    /// Whether an operator has stopped it until further notice.
    paused: bool,
    /// Whether it is over: past its end, or ended by an operator.
    over: bool,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    per_user_limit: u32,
}

/// A state of a sale, rendered.
#[derive(Clone)]
struct Change {
    /// Made of the state itself: the same on every replica, so that a client which has seen it need not be told again.
    id: String,
    /// The event as it goes over the wire.
    event: Bytes,
}

impl Live {
    /// Room for nobody yet: see [`Live::make_room`].
    pub(crate) fn new(view: Arc<View>, ledger: Ledger, heartbeat: Duration) -> Self {
        let (sales, orders, places) = (Board::new(), Orders::new(ledger), Arc::new(Semaphore::new(0)));
        Self { view, sales, orders, places, heartbeat }
    }

    /// Allows so many streams more.
    pub(crate) fn make_room(&self, streams: usize) {
        self.places.add_permits(streams.min(Semaphore::MAX_PERMITS));
    }

    /// The body of a stream: the present state, unless the client has `seen` it, then every change.
    ///
    /// # Errors
    /// There is no room for one more, or the process stops.
    pub(crate) fn listen(
        &self,
        sale: &SaleView,
        seen: Option<&[u8]>,
        order: Option<Listener>,
        connection: Option<Rc<Connection>>,
    ) -> Result<Stream, Problem> {
        let full = || {
            let detail = "As many streams are open as this process allows; read the sale's status instead";
            Problem::new(Code::TooManyStreams, detail)
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| full())?;
        let changes = self.sales.watch(sale.sale.id, || Change::of(sale, self.view.now_ms()));
        let stream = Stream::new(changes.ok_or_else(full)?, place, self.heartbeat);
        Ok(stream.resumed_at(seen).with_order(order).on(connection))
    }

    /// What is known of an order, and how to hear more; see [`orders::Orders::listen`].
    pub(crate) fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Tells of changes, for as long as the process runs.
    pub(crate) async fn keep_telling(&self) {
        loop {
            let watched = self.sales.watched().await;
            let now_ms = self.view.now_ms();
            for sale in watched.into_iter().filter_map(|id| self.view.get(id)) {
                self.sales.tell(sale.sale.id, Change::of(&sale, now_ms), |last, now| last.id != now.id);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Ends every stream, so that none of them keeps the process from stopping. Their clients come back to another one.
    pub(crate) fn end(&self) {
        self.sales.end();
        self.orders.end();
    }
}

impl Change {
    fn of(view: &SaleView, now_ms: i64) -> Self {
        let (sale, active, over) = (&view.sale, view.is_active(now_ms), is_over(view, now_ms));
        let now = SaleNow {
            sale_id: sale.id,
            name: &sale.name,
            remaining_stock: view.remaining(),
            total_sold: sale.sold,
            total_stock: sale.total_stock,
            sale_active: active,
            status: if active { "ACTIVE" } else { "INACTIVE" },
            paused: sale.halted == Some(Halt::Paused) && !over,
            over,
            starts_at: sale.starts_at,
            ends_at: sale.ends_at,
            per_user_limit: sale.per_user_limit.get(),
        };
        let data = json(&now);
        // A hash of all that is said: nothing that is ever added can be forgotten in it. With fixed keys, so that all
        // processes of one build agree; after another build everybody is told once more.
        let mut hash = DefaultHasher::new();
        hash.write(data.as_bytes());
        let id = format!("{:016x}", hash.finish());
        let event = format!("id: {id}\nevent: sale\ndata: {data}\n\n").into();
        Self { id, event }
    }
}

/// JSON on one line, as an event's data must be.
fn json(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("texts, numbers and times can be written as JSON")
}
