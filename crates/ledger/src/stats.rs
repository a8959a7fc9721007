//! Statistics for operators: what was sold, refused and paid, read so that a running sale does not notice.
//!
//! One connection of its own asks one statement after another, without parallel workers, each for a few seconds at
//! most. They scan: an index that would serve them would be paid for by every order that is written.

use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};
use domain::SaleId;
use sqlx::PgPool;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::{FromRow, Row};

use crate::{Config, Error, Ledger};

/// Longest that one of the statements may run.
const LONGEST: Duration = Duration::from_secs(5);
/// How long the connection is kept for the next question.
const KEPT: Duration = Duration::from_secs(60);

/// The doorway to the statistics: beside the ledger's, and one connection wide. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Statistics {
    pool: PgPool,
}

/// Of what: every condition that is given must hold.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct StatsFilter {
    /// Of this sale only.
    pub sale: Option<SaleId>,
    /// Written at this instant or later, by PostgreSQL's clock.
    pub from: Option<DateTime<Utc>>,
    /// Written before this instant.
    pub to: Option<DateTime<Utc>>,
}

/// The rows of one statistic, and how long PostgreSQL was asked for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed<T> {
    /// What was found, in the order that the statistic names.
    pub rows: Vec<T>,
    /// From the question to the last row, in milliseconds.
    pub query_ms: u64,
}

/// What was paid in one currency.
#[derive(Clone, Debug, PartialEq)]
pub struct Revenue {
    /// The currency's ISO 4217 code.
    pub currency: String,
    /// Sum of all confirmed orders, in the currency's minor units.
    pub revenue_minor: i64,
    /// Units of confirmed orders.
    pub units: i64,
    /// Confirmed orders.
    pub orders: i64,
}

/// What was paid on one day in one currency.
#[derive(Clone, Debug, PartialEq)]
pub struct DayRevenue {
    /// The day in UTC on which the orders were written.
    pub day: NaiveDate,
    /// What was paid.
    pub revenue: Revenue,
}

/// What was paid for one sale in one currency.
#[derive(Clone, Debug, PartialEq)]
pub struct SaleRevenue {
    /// The sale.
    pub sale_id: SaleId,
    /// Its name.
    pub name: String,
    /// What was paid.
    pub revenue: Revenue,
}

/// A sale whose last unit was sold.
#[derive(Clone, Debug, PartialEq)]
pub struct SellOut {
    /// The sale.
    pub sale_id: SaleId,
    /// Its name.
    pub name: String,
    /// When it starts, as it is set now.
    pub starts_at: DateTime<Utc>,
    /// When the order of the last unit was written, for the first time.
    pub sold_out_at: DateTime<Utc>,
    /// The time between the two, in milliseconds.
    pub after_ms: i64,
}

/// How many attempts were refused for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The reason's name, such as `SOLD_OUT`.
    pub reason: String,
    /// How many.
    pub count: i64,
}

/// What became of the orders that had to be paid for.
#[derive(Clone, Debug, PartialEq)]
pub struct Holds {
    /// All of them.
    pub held: i64,
    /// Those that still hold their units unpaid.
    pub open: i64,
    /// Those that are confirmed.
    pub paid: i64,
    /// Those whose time ran out.
    pub expired: i64,
    /// Those that were given up, by whomever, paid for or not.
    pub cancelled: i64,
}

impl Statistics {
    /// Connects when it is first asked. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] where the URL cannot be read.
    pub fn new(config: &Config) -> Result<Self, Error> {
        let longest_ms = u64::try_from(LONGEST.as_millis()).unwrap_or(u64::MAX).min(config.statement_timeout_ms);
        let connection = Ledger::options(&config.url, longest_ms)?.application_name("flashsale-statistics").options([
            ("default_transaction_read_only", "on"),
            // One core at most, and none of it for compiling.
            ("max_parallel_workers_per_gather", "0"),
            ("jit", "off"),
            // A condition that is not given costs nothing only where the plan is made for the values.
            ("plan_cache_mode", "force_custom_plan"),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_millis(config.acquire_timeout_ms))
            .idle_timeout(KEPT)
            .connect_lazy_with(connection);
        Ok(Self { pool })
    }

    /// What was paid, by currency; the most first.
    ///
    /// # Errors
    /// PostgreSQL failed, or took too long: [`Error::took_too_long`].
    pub async fn revenue(&self, filter: &StatsFilter) -> Result<Timed<Revenue>, Error> {
        self.ask(include_str!("stats_revenue.sql"), filter).await
    }

    /// What was paid, by day and currency: the newest thousand rows, the newest first.
    ///
    /// # Errors
    /// As [`Statistics::revenue`].
    pub async fn revenue_by_day(&self, filter: &StatsFilter) -> Result<Timed<DayRevenue>, Error> {
        self.ask(include_str!("stats_days.sql"), filter).await
    }

    /// The ten sales that sold most units, the most first. A sale that has changed its currency counts once for each.
    ///
    /// # Errors
    /// As [`Statistics::revenue`].
    pub async fn top_sales(&self, filter: &StatsFilter) -> Result<Timed<SaleRevenue>, Error> {
        self.ask(include_str!("stats_top_sales.sql"), filter).await
    }

    /// The hundred sales that were sold out last, the latest first.
    ///
    /// # Errors
    /// As [`Statistics::revenue`].
    pub async fn sell_outs(&self, filter: &StatsFilter) -> Result<Timed<SellOut>, Error> {
        self.ask(include_str!("stats_sell_outs.sql"), filter).await
    }

    /// Attempts that did not win, by reason; the most first.
    ///
    /// # Errors
    /// As [`Statistics::revenue`].
    pub async fn refusals(&self, filter: &StatsFilter) -> Result<Timed<Refused>, Error> {
        self.ask(include_str!("stats_refusals.sql"), filter).await
    }

    /// What became of the orders that had to be paid for: one row.
    ///
    /// # Errors
    /// As [`Statistics::revenue`].
    pub async fn holds(&self, filter: &StatsFilter) -> Result<Timed<Holds>, Error> {
        self.ask(include_str!("stats_holds.sql"), filter).await
    }

    /// Closes the connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn ask<T>(&self, sql: &'static str, filter: &StatsFilter) -> Result<Timed<T>, Error>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut connection = self.pool.acquire().await?;
        let asked = Instant::now();
        let rows = sqlx::query_as(sql)
            .bind(filter.sale.map(|sale| sale.0))
            .bind(filter.from)
            .bind(filter.to)
            .fetch_all(&mut *connection)
            .await?;
        Ok(Timed { rows, query_ms: u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX) })
    }
}

impl FromRow<'_, PgRow> for Revenue {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            currency: row.try_get("currency")?,
            revenue_minor: row.try_get("revenue_minor")?,
            units: row.try_get("units")?,
            orders: row.try_get("orders")?,
        })
    }
}

impl FromRow<'_, PgRow> for DayRevenue {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { day: row.try_get("day")?, revenue: Revenue::from_row(row)? })
    }
}

impl FromRow<'_, PgRow> for SaleRevenue {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            sale_id: SaleId(row.try_get("sale_id")?),
            name: row.try_get("name")?,
            revenue: Revenue::from_row(row)?,
        })
    }
}

impl FromRow<'_, PgRow> for SellOut {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            sale_id: SaleId(row.try_get("id")?),
            name: row.try_get("name")?,
            starts_at: row.try_get("starts_at")?,
            sold_out_at: row.try_get("at")?,
            after_ms: row.try_get("after_ms")?,
        })
    }
}

impl FromRow<'_, PgRow> for Refused {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self { reason: row.try_get("reason")?, count: row.try_get("count")? })
    }
}

impl FromRow<'_, PgRow> for Holds {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            held: row.try_get("held")?,
            open: row.try_get("open")?,
            paid: row.try_get("paid")?,
            expired: row.try_get("expired")?,
            cancelled: row.try_get("cancelled")?,
        })
    }
}
