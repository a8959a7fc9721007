//! `GET /api/v1/admin/stats`: what was sold, paid and refused. However often a dashboard asks, PostgreSQL is not asked
//! more than now and then.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, NaiveDate, Utc};
use domain::SaleId;
use ledger::{
    Config, DayRevenue, Error, Holds, Refused, Revenue, SaleRevenue, SellOut, Statistics, StatsFilter, Timed,
};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::sale_id;
use crate::app::Process;
use crate::error::{Code, Problem};
use crate::query::Query;

/// How long an answer is given again ...
const FRESH_FOR: Duration = Duration::from_secs(5);
/// ... or so many times as long as it took to find out: PostgreSQL is free for nine tenths of the time.
const FRESH_FOR_TIMES: u32 = 10;
/// Most answers that are kept, of a few kilobytes each, or tens of them for years of days.
const MOST: usize = 64;

/// The answers of the last few seconds. Whoever asks what is not among them waits for those who asked before.
pub(crate) struct Stats {
    statistics: Statistics,
    answers: Mutex<HashMap<StatsFilter, (Instant, Bytes)>>,
}

/// What was sold, paid and refused. Revenue is that of CONFIRMED orders; times are those at which orders were written.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatsAnswer {
    generated_at: DateTime<Utc>,
    /// Of which sale; null: of all.
    #[schema(value_type = Option<Uuid>)]
    sale_id: Option<SaleId>,
    /// From which instant; null: from the first order.
    from: Option<DateTime<Utc>>,
    /// Up to which instant, which does not count any more; null: up to now.
    to: Option<DateTime<Utc>>,
    /// By currency, the most first.
    revenue: Section<Paid>,
    /// By day in UTC and currency, the newest first, at most a thousand.
    revenue_by_day: Section<PaidOnDay>,
    /// The ten that sold most units.
    top_sales: Section<PaidForSale>,
    /// The hundred sales that were sold out last.
    sell_outs: Section<SoldOut>,
    /// Attempts that did not win, by reason.
    refusals: Section<RefusedFor>,
    holds: Conversion,
}

/// One statistic.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Section<T> {
    /// How long PostgreSQL was asked for it, in milliseconds.
    query_ms: u64,
    rows: Vec<T>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Paid {
    currency: String,
    /// In the currency's minor units.
    revenue_minor: i64,
    units: i64,
    orders: i64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaidOnDay {
    day: NaiveDate,
    #[serde(flatten)]
    paid: Paid,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PaidForSale {
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    name: String,
    #[serde(flatten)]
    paid: Paid,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SoldOut {
    #[schema(value_type = Uuid)]
    sale_id: SaleId,
    name: String,
    starts_at: DateTime<Utc>,
    sold_out_at: DateTime<Utc>,
    /// Milliseconds from the start to the last unit's order.
    sold_out_after_ms: i64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RefusedFor {
    reason: String,
    count: i64,
}

/// What became of the orders that had to be paid for.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Conversion {
    query_ms: u64,
    held: i64,
    /// Still HELD or PAYING.
    open: i64,
    paid: i64,
    expired: i64,
    cancelled: i64,
    /// The paid ones' share of those that are decided, from 0 to 1; null where none is.
    conversion_rate: Option<f64>,
}

impl Stats {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        Ok(Self { statistics: Statistics::new(config)?, answers: Mutex::default() })
    }

    pub(crate) async fn close(&self) {
        self.statistics.close().await;
    }

    async fn answer(&self, filter: StatsFilter) -> Result<Bytes, Problem> {
        let mut answers = self.answers.lock().await;
        let began = Instant::now();
        answers.retain(|_, (until, _)| *until > began);
        if let Some((_, answer)) = answers.get(&filter) {
            return Ok(answer.clone());
        }
        let answer = self.ask(filter).await.map_err(|error| problem(&error))?;
        let answer: Bytes = serde_json::to_vec(&answer).map_err(|error| Problem::unavailable(&error))?.into();
        let fresh_for = (began.elapsed() * FRESH_FOR_TIMES).max(FRESH_FOR);
        if answers.len() < MOST {
            answers.insert(filter, (Instant::now() + fresh_for, answer.clone()));
        }
        Ok(answer)
    }

    /// One statement after another.
    async fn ask(&self, filter: StatsFilter) -> Result<StatsAnswer, Error> {
        let now_ms = i64::try_from(boot::clock::now_ms()).unwrap_or(i64::MAX);
        Ok(StatsAnswer {
            generated_at: DateTime::from_timestamp_millis(now_ms).unwrap_or_default(),
            sale_id: filter.sale,
            from: filter.from,
            to: filter.to,
            revenue: Section::of(self.statistics.revenue(&filter).await?),
            revenue_by_day: Section::of(self.statistics.revenue_by_day(&filter).await?),
            top_sales: Section::of(self.statistics.top_sales(&filter).await?),
            sell_outs: Section::of(self.statistics.sell_outs(&filter).await?),
            refusals: Section::of(self.statistics.refusals(&filter).await?),
            holds: Conversion::of(&self.statistics.holds(&filter).await?),
        })
    }
}

/// What was sold, paid and refused.
#[utoipa::path(
    get, path = "/api/v1/admin/stats", operation_id = "stats", tag = "Statistics",
    params(
        ("saleId" = Option<Uuid>, Query, description = "Of this sale only."),
        ("from" = Option<DateTime<Utc>>, Query, description = "From this instant on (RFC 3339)."),
        ("to" = Option<DateTime<Utc>>, Query, description = "Up to this instant, which does not count any more."),
    ),
    responses(
        (status = 200, description = "The statistics, a few seconds old at most.", body = StatsAnswer),
        (status = 400, description = "INVALID_FIELD, BAD_REQUEST"),
        (status = 404, description = "SALE_NOT_FOUND"),
        (status = 503, description = "STATISTICS_TOO_SLOW"),
    ),
)]
pub(super) async fn stats(request: HttpRequest, process: web::Data<Process>) -> Result<HttpResponse, Problem> {
    let filter = filter(&Query::of(&request, &["saleId", "from", "to"])?)?;
    if let Some(sale) = filter.sale {
        super::sales::find(&process, sale).await?;
    }
    let answer = process.stats.answer(filter).await?;
    Ok(HttpResponse::Ok().content_type("application/json").body(answer))
}

fn filter(query: &Query) -> Result<StatsFilter, Problem> {
    let (sale, from, to) = (
        query.parsed("saleId", sale_id)?,
        query.parsed("from", |text| instant("from", text))?,
        query.parsed("to", |text| instant("to", text))?,
    );
    match (from, to) {
        (Some(from), Some(to)) if from >= to => Err(Problem::field("from", &"must be before to")),
        _ => Ok(StatsFilter { sale, from, to }),
    }
}

fn instant(name: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    let instant = DateTime::parse_from_rfc3339(text).map(|instant| instant.to_utc());
    let example = "must be an instant such as 2026-11-21T00:00:00Z; a + is written %2B";
    instant.map_err(|_| Problem::field(name, &example))
}

fn problem(error: &Error) -> Problem {
    if error.took_too_long() {
        tracing::warn!(%error, "a statistic was given up");
        let detail =
            "One of the statistics was given up after 5 s; ask for one saleId, or for less time by from and to";
        return Problem::new(Code::StatisticsTooSlow, detail);
    }
    Problem::unavailable(error)
}

impl<T> Section<T> {
    fn of<R>(found: Timed<R>) -> Self
    where
        T: From<R>,
    {
        Self { query_ms: found.query_ms, rows: found.rows.into_iter().map(T::from).collect() }
    }
}

impl From<Revenue> for Paid {
    fn from(Revenue { currency, revenue_minor, units, orders }: Revenue) -> Self {
        Self { currency, revenue_minor, units, orders }
    }
}

impl From<DayRevenue> for PaidOnDay {
    fn from(DayRevenue { day, revenue }: DayRevenue) -> Self {
        Self { day, paid: revenue.into() }
    }
}

impl From<SaleRevenue> for PaidForSale {
    fn from(SaleRevenue { sale_id, name, revenue }: SaleRevenue) -> Self {
        Self { sale_id, name, paid: revenue.into() }
    }
}

impl From<SellOut> for SoldOut {
    fn from(SellOut { sale_id, name, starts_at, sold_out_at, after_ms }: SellOut) -> Self {
        Self { sale_id, name, starts_at, sold_out_at, sold_out_after_ms: after_ms }
    }
}

impl From<Refused> for RefusedFor {
    fn from(Refused { reason, count }: Refused) -> Self {
        Self { reason, count }
    }
}

impl Conversion {
    fn of(found: &Timed<Holds>) -> Self {
        let none = Holds { held: 0, open: 0, paid: 0, expired: 0, cancelled: 0 };
        let Holds { held, open, paid, expired, cancelled } = *found.rows.first().unwrap_or(&none);
        let decided = paid + expired + cancelled;
        #[expect(clippy::cast_precision_loss, reason = "a rate of fewer orders than 2^53")]
        let conversion_rate = (decided > 0).then(|| paid as f64 / decided as f64);
        Self { query_ms: found.query_ms, held, open, paid, expired, cancelled, conversion_rate }
    }
}
