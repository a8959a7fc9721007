//! Sales in operators' hands: created, edited, paused, ended, listed.
//!
//! A change is one transaction in PostgreSQL. Then this process tells the gate, at once; should it die in between, a
//! keeper does. Nothing of this is on the way of a click.

mod input;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use domain::{Epoch, Halt, SaleId, SaleState};
use failpoints::Point;
use inventory::Gate;
use ledger::{ClaimState, Edited, Sale, SaleChanges, SaleFilter, Unheard};
use serde::Serialize;
use utoipa::ToSchema;

use super::sales::{after, cursor};
use super::{OPERATOR, sale_id};
use crate::app::Process;
use crate::body::Body;
use crate::error::{Code, Problem};
use crate::query::{Query, page};
use crate::turns::Turn;

/// How long the gate may take to decide whether it can give up units. A rebuild takes a few seconds.
const CLAIM_PATIENCE: Duration = Duration::from_secs(10);
const CLAIM_POLL: Duration = Duration::from_millis(50);
const LONGEST_SEARCH: usize = 200;

/// A sale as operators see it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AdminSale {
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    name: String,
    #[schema(required)]
    description: Option<String>,
    #[schema(required)]
    image_url: Option<String>,
    /// All units there are, sold or not.
    total_stock: i64,
    /// Units of orders.
    sold: i64,
    /// Units for sale in the gate; null where it cannot be read, or there is none.
    #[schema(required)]
    remaining_stock: Option<i64>,
    /// What `totalStock` will be if the gate can give up the units; null where no such wish is open.
    #[schema(required)]
    pending_total_stock: Option<i64>,
    unit_price_minor: i64,
    #[schema(value_type = String, example = "EUR")]
    currency: domain::Currency,
    per_user_limit: u32,
    hold_seconds: u32,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    /// `closed` (not opened yet), `draining` (the gate is being rebuilt), `open` or `ended`.
    #[schema(value_type = String, example = "open")]
    state: SaleState,
    /// `paused` or `ended` where an operator has stopped it.
    #[schema(value_type = Option<String>, required)]
    halted: Option<Halt>,
    #[schema(value_type = i64)]
    epoch: Epoch,
    /// Rises with each change that the gate must learn.
    revision: i64,
    /// Whether the gate goes by all of this. False while it cannot be told: then it will be as soon as it can.
    in_effect: bool,
    created_at: DateTime<Utc>,
    #[schema(required)]
    ended_at: Option<DateTime<Utc>>,
}

impl AdminSale {
    fn of(sale: Sale, gate: Option<Gate>, unheard: Unheard) -> Self {
        // The gate of a sale that has ended may stand for a while, and sells nothing.
        let gate = gate.filter(|_| sale.state != SaleState::Ended);
        let heard = gate.is_some_and(|gate| gate.rules.revision >= sale.revision) && unheard == Unheard::default();
        Self {
            in_effect: match sale.state {
                // The gate to come starts with all of it; one that is gone needs nothing.
                SaleState::Closed | SaleState::Ended => true,
                SaleState::Draining => false,
                SaleState::Open => heard,
            },
            sale_id: sale.id,
            name: sale.name,
            description: sale.description,
            image_url: sale.image_url,
            total_stock: sale.total_stock,
            sold: sale.sold,
            remaining_stock: gate.map(|gate| gate.stock.max(0)),
            pending_total_stock: (unheard.lowering != 0).then_some(sale.total_stock + unheard.lowering),
            unit_price_minor: sale.terms.unit_price_minor,
            currency: sale.terms.currency,
            per_user_limit: sale.per_user_limit.get(),
            hold_seconds: sale.terms.hold_seconds,
            starts_at: sale.starts_at,
            ends_at: sale.ends_at,
            state: sale.state,
            halted: sale.halted,
            epoch: sale.epoch,
            revision: sale.revision,
            created_at: sale.created_at,
            ended_at: sale.ended_at,
        }
    }
}

/// A page of sales, in the order of their start.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AdminSales {
    sales: Vec<AdminSale>,
    /// Where the next page begins; null on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A new sale. It opens within a second or two.
#[utoipa::path(
    post, path = "/api/v1/admin/sales", operation_id = "createSale", tag = "Operators",
    request_body = input::NewSaleRequest,
    responses(
        (status = 201, description = "It is created.", body = AdminSale,
         headers(("Location" = String, description = "Where operators read it."))),
        (status = 400, description = "INVALID_FIELD"),
        (status = 409, description = "SALE_EXISTS"),
    ),
)]
pub(super) async fn create(Body(body): Body, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let sale = input::new_sale(&body, process.view.now_ms())?;
    match process.ledger.create_sale(&sale).await {
        Err(ledger::Error::Data { code, .. }) if code == "23505" => {
            return Err(Problem::new(Code::SaleExists, format!("there is a sale {} already", sale.id)));
        }
        created => created.map_err(|error| Problem::unavailable(&error))?,
    }
    let created = told(&process, sale.id).await?;
    let location = format!("{}/sales/{}", super::OPERATORS, sale.id);
    Ok(HttpResponse::Created().insert_header((header::LOCATION, location)).json(created))
}

/// The sales, in the order of their start.
#[utoipa::path(
    get, path = "/api/v1/admin/sales", operation_id = "listAdminSales", tag = "Operators",
    params(
        ("state" = Option<String>, Query, description = "`closed`, `draining`, `open` or `ended` ones only."),
        ("name" = Option<String>, Query, description = "Those with this text in their name only, whatever its case."),
        ("cursor" = Option<String>, Query, description = "The `nextCursor` of the page before."),
        ("limit" = Option<i64>, Query, description = "How many at most; 50 unless told.", minimum = 1, maximum = 200),
    ),
    responses(
        (status = 200, description = "A page of them.", body = AdminSales),
        (status = 400, description = "BAD_REQUEST, INVALID_FIELD"),
    ),
)]
pub(super) async fn list(request: HttpRequest, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request, &["state", "name", "cursor", "limit"])?;
    let limit = query.limit()?;
    let filter = SaleFilter {
        state: query.parsed("state", state)?,
        name: query.parsed("name", name)?,
        after: query.parsed("cursor", after)?,
        // One more than asked for tells whether there is a next page.
        limit: limit + 1,
    };
    let sales = process.ledger.sales_page(&filter).await.map_err(|error| Problem::unavailable(&error))?;
    let (sales, more) = page(sales, limit);
    let next_cursor = sales.last().filter(|_| more).map(|last| cursor(last.starts_at, last.id));
    let ids: Vec<SaleId> = sales.iter().map(|sale| sale.id).collect();
    let unheard = unheard(&process, &ids).await?;
    Ok(HttpResponse::Ok().json(AdminSales { sales: with_gates(&process, sales, &unheard).await, next_cursor }))
}

/// One sale.
#[utoipa::path(
    get, path = "/api/v1/admin/sales/{saleId}", operation_id = "adminSale", tag = "Operators",
    params(("saleId" = Uuid, Path)),
    responses(
        (status = 200, description = "The sale as it stands in PostgreSQL and in its gate.", body = AdminSale),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
    ),
)]
pub(super) async fn show(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(one(&process, sale_id(&path)?).await?))
}

/// Changes a sale, all that is asked or nothing.
///
/// Reservations and orders that there are keep their terms. More stock is for sale at once. Less stock is first asked of
/// the gate, which alone knows what is reserved: the answer waits for it, ten seconds at most. Then it is 202 with
/// `pendingTotalStock`, nothing else of the request is done, and the same request later tells what became of it.
#[utoipa::path(
    patch, path = "/api/v1/admin/sales/{saleId}", operation_id = "editSale", tag = "Operators",
    params(("saleId" = Uuid, Path)),
    request_body = input::SaleChangesRequest,
    responses(
        (status = 200, description = "Done, and the gate goes by it.", body = AdminSale),
        (status = 202, description = "Written, but the gate could not be told yet: see `inEffect`.", body = AdminSale),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
        (status = 409, description = "SALE_STATE_FORBIDS, STOCK_CHANGE_PENDING, STOCK_TOO_LOW"),
    ),
)]
pub(super) async fn edit(
    path: web::Path<String>,
    Body(body): Body,
    process: web::Data<Process>,
) -> Result<HttpResponse, Problem> {
    let (sale, changes) = (sale_id(&path)?, input::changes(&body, process.view.now_ms())?);
    let turn = process.turns.of(sale).await;
    // On a task of its own: an operator who hangs up must not leave half of it undone.
    let edit = actix_web::rt::spawn(async move {
        apply(&process, sale, &changes, turn).await?;
        told(&process, sale).await
    });
    answer(edit.await.map_err(|error| Problem::unavailable(&error))??)
}

/// Stops a sale until it is resumed.
#[utoipa::path(
    post, path = "/api/v1/admin/sales/{saleId}/pause", operation_id = "pauseSale", tag = "Operators",
    params(("saleId" = Uuid, Path)),
    responses(
        (status = 200, description = "Nobody buys any more, at any replica.", body = AdminSale),
        (status = 202, description = "Written, but the gate could not be told yet: see `inEffect`.", body = AdminSale),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
        (status = 409, description = "SALE_STATE_FORBIDS"),
    ),
)]
pub(super) async fn pause(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    halt(&path, process, Some(Halt::Paused)).await
}

/// Lets a paused sale sell again, within its window.
#[utoipa::path(
    post, path = "/api/v1/admin/sales/{saleId}/resume", operation_id = "resumeSale", tag = "Operators",
    params(("saleId" = Uuid, Path)),
    responses(
        (status = 200, description = "It sells.", body = AdminSale),
        (status = 202, description = "Written, but the gate could not be told yet: see `inEffect`.", body = AdminSale),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
        (status = 409, description = "SALE_STATE_FORBIDS"),
    ),
)]
pub(super) async fn resume(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    halt(&path, process, None).await
}

/// Ends a sale at once and for good.
#[utoipa::path(
    post, path = "/api/v1/admin/sales/{saleId}/end", operation_id = "endSale", tag = "Operators",
    params(("saleId" = Uuid, Path)),
    responses(
        (status = 200, description = "Nobody buys any more, at any replica.", body = AdminSale),
        (status = 202, description = "Written, but the gate could not be told yet: see `inEffect`.", body = AdminSale),
        (status = 400, description = "INVALID_FIELD"),
        (status = 404, description = "SALE_NOT_FOUND"),
    ),
)]
pub(super) async fn end(path: web::Path<String>, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    halt(&path, process, Some(Halt::Ended)).await
}

async fn halt(path: &str, process: web::Data<Process>, halted: Option<Halt>) -> Result<HttpResponse, Problem> {
    let sale = sale_id(path)?;
    let turn = process.turns.of(sale).await;
    let halt = actix_web::rt::spawn(async move {
        let edited = process.ledger.halt_sale(sale, halted, OPERATOR).await;
        drop(turn);
        done(sale, edited.map_err(|error| Problem::unavailable(&error))?)?;
        told(&process, sale).await
    });
    answer(halt.await.map_err(|error| Problem::unavailable(&error))??)
}

fn answer(sale: AdminSale) -> Result<HttpResponse, Problem> {
    let status = if sale.in_effect { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(HttpResponse::build(status).json(sale))
}

/// Makes the changes in PostgreSQL. Where the stock is to be lowered, the gate gives up the units first; while it has
/// not answered nothing is changed.
async fn apply(process: &Process, sale: SaleId, changes: &SaleChanges, mut turn: Turn) -> Result<(), Problem> {
    let deadline = Instant::now() + CLAIM_PATIENCE;
    loop {
        let edited = process.ledger.edit_sale(sale, changes, OPERATOR).await;
        // The gate may take its time.
        drop(turn);
        let claim = match edited.map_err(|error| Problem::unavailable(&error))? {
            Edited::Claimed(claim) => claim,
            edited => return done(sale, edited),
        };
        failpoints::reach(Point::ApiEdited);
        match decided(process, sale, claim, deadline).await? {
            ClaimState::Undecided => return Ok(()),
            ClaimState::Refused => {
                let (least, asked) = (least_stock(process, sale).await?, changes.total_stock.unwrap_or_default());
                // Otherwise units have come back since.
                if least > i64::from(asked) || Instant::now() >= deadline {
                    return Err(too_low(least));
                }
            }
            // Now the rest, or all of it once more after a reset.
            ClaimState::Granted | ClaimState::Gone => {}
        }
        turn = process.turns.of(sale).await;
    }
}

/// Waits until a claim is decided, and has the gate asked meanwhile.
async fn decided(process: &Process, sale: SaleId, claim: i64, deadline: Instant) -> Result<ClaimState, Problem> {
    loop {
        process.tell(Some(sale)).await;
        let state = process.ledger.claim_state(claim).await.map_err(|error| Problem::unavailable(&error))?;
        if state != ClaimState::Undecided || Instant::now() >= deadline {
            return Ok(state);
        }
        tokio::time::sleep(CLAIM_POLL).await;
    }
}

/// The least that the stock can be right now: what is not in the gate.
async fn least_stock(process: &Process, id: SaleId) -> Result<i64, Problem> {
    let sale = one(process, id).await?;
    Ok(sale.remaining_stock.map_or(sale.sold, |remaining| sale.total_stock - remaining))
}

fn too_low(least: i64) -> Problem {
    let detail = format!("totalStock must be at least {least}: so many units are sold, reserved or withheld");
    Problem::new(Code::StockTooLow, detail)
}

/// Nothing, where PostgreSQL has done what was asked.
fn done(sale: SaleId, edited: Edited) -> Result<(), Problem> {
    Err(match edited {
        Edited::Done => {
            failpoints::reach(Point::ApiEdited);
            return Ok(());
        }
        Edited::Unchanged | Edited::Claimed(_) => return Ok(()),
        Edited::Claiming => Problem::new(
            Code::StockChangePending,
            "The gate has not answered yet whether it can give up units for an earlier totalStock; try again",
        ),
        Edited::TooLow { least } => too_low(least),
        Edited::Over => Problem::new(
            Code::SaleStateForbids,
            "The sale has ended: only name, description and imageUrl may change, and totalStock become less",
        ),
        Edited::NoWindow => input::no_window(),
        Edited::NotFound => Problem::new(Code::SaleNotFound, format!("there is no sale {sale}")),
    })
}

/// The sale after a change: the gate is told, and this process shows it from now on.
async fn told(process: &Process, sale: SaleId) -> Result<AdminSale, Problem> {
    process.tell(Some(sale)).await;
    // Told where it fails; the next one comes soon.
    let _ = process.view.refresh_after(Instant::now()).await;
    one(process, sale).await
}

async fn one(process: &Process, id: SaleId) -> Result<AdminSale, Problem> {
    // Before the sale: what is booked between the two looks is then in the sale, and not in neither of them.
    let unheard = unheard(process, &[id]).await?;
    let sale = process.ledger.sale(id).await.map_err(|error| Problem::unavailable(&error))?;
    let sale = with_gates(process, sale.into_iter().collect(), &unheard).await.pop();
    sale.ok_or_else(|| Problem::new(Code::SaleNotFound, format!("there is no sale {id}")))
}

/// What the gates of these sales have not heard of yet.
async fn unheard(process: &Process, ids: &[SaleId]) -> Result<HashMap<SaleId, Unheard>, Problem> {
    process.ledger.unheard_stock(ids).await.map_err(|error| Problem::unavailable(&error))
}

/// Sales with what their gates say, where these can be read.
async fn with_gates(process: &Process, sales: Vec<Sale>, unheard: &HashMap<SaleId, Unheard>) -> Vec<AdminSale> {
    let gates: Vec<(SaleId, Epoch)> = sales.iter().map(|sale| (sale.id, sale.epoch)).collect();
    let gates = process.inventory.gates(&gates).await.unwrap_or_else(|_| vec![None; sales.len()]);
    let with_gate = |(sale, gate): (Sale, Option<Gate>)| {
        let unheard = unheard.get(&sale.id).copied().unwrap_or_default();
        AdminSale::of(sale, gate, unheard)
    };
    sales.into_iter().zip(gates).map(with_gate).collect()
}

fn state(text: &str) -> Result<SaleState, Problem> {
    text.parse().map_err(|_| Problem::field("state", &"must be closed, draining, open or ended"))
}

fn name(text: &str) -> Result<String, Problem> {
    let fits = text.chars().count() <= LONGEST_SEARCH && !text.contains('\0');
    let wrong = format_args!("must have at most {LONGEST_SEARCH} characters");
    if fits { Ok(text.to_owned()) } else { Err(Problem::field("name", &wrong)) }
}
