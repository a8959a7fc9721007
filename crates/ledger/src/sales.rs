//! Sales: reading and creating them. Only a reconciler moves one from state to state, see [`crate::drain`].

use chrono::{DateTime, Utc};
use domain::{Epoch, Halt, Installation, Quantity, Rules, SaleId, SaleState, Terms, Window};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};
use uuid::Uuid;

use crate::row::{checked, quantity};
use crate::{Error, Ledger};

/// A sale as PostgreSQL has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sale {
    /// The sale's id.
    pub id: SaleId,
    /// What buyers read.
    pub name: String,
    /// What buyers read about it.
    pub description: Option<String>,
    /// What buyers see.
    pub image_url: Option<String>,
    /// All units there are, sold or not.
    pub total_stock: i64,
    /// Units of active orders.
    pub sold: i64,
    /// What a buyer agrees to.
    pub terms: Terms,
    /// The most units of one order.
    pub per_user_limit: Quantity,
    /// First instant that sells.
    pub starts_at: DateTime<Utc>,
    /// First instant that no longer sells.
    pub ends_at: DateTime<Utc>,
    /// The same two, in milliseconds.
    pub window: Window,
    /// Whether an operator has stopped it.
    pub halted: Option<Halt>,
    /// Rises with each change that the gate must learn.
    pub revision: i64,
    /// The current incarnation of gate, outbox and queue.
    pub epoch: Epoch,
    /// Messages of an older epoch were reset away.
    pub valid_from_epoch: Epoch,
    /// The queues of this and of every older epoch are drained and deleted.
    pub drained_through: Epoch,
    /// Where the sale stands.
    pub state: SaleState,
    /// The reconciler that may write while the sale is draining.
    pub drain_token: Option<Uuid>,
    /// The gate as it was last installed; of the current epoch where the sale is open or ended.
    pub installation: Option<Installation>,
    /// When the sale was marked as ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// When the ended sale's queue and keys were deleted.
    pub cleaned_at: Option<DateTime<Utc>>,
    /// When the sale was created.
    pub created_at: DateTime<Utc>,
}

/// A sale to be created.
#[derive(Clone, Debug)]
pub struct NewSale {
    /// The sale's id.
    pub id: SaleId,
    /// What buyers read.
    pub name: String,
    /// What buyers read about it.
    pub description: Option<String>,
    /// What buyers see.
    pub image_url: Option<String>,
    /// All units there are.
    pub total_stock: u32,
    /// What a buyer agrees to.
    pub terms: Terms,
    /// The most units of one order.
    pub per_user_limit: Quantity,
    /// First instant that sells.
    pub starts_at: DateTime<Utc>,
    /// First instant that no longer sells.
    pub ends_at: DateTime<Utc>,
    /// Who creates it, for the audit trail.
    pub created_by: String,
}

/// Which sales to list.
#[derive(Clone, Debug, Default)]
pub struct SaleFilter {
    /// In this state only.
    pub state: Option<SaleState>,
    /// With this text in their name only, whatever its case.
    pub name: Option<String>,
    /// Those after the sale with this start and id, in the list's order.
    pub after: Option<(DateTime<Utc>, SaleId)>,
    /// The most sales to list.
    pub limit: i64,
}

/// A query for [`Sale`]s. The columns are named so that a migration that adds one breaks no prepared statement.
macro_rules! select_sales {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, total_stock, sold, unit_price_minor, currency, hold_seconds, per_user_limit, starts_at, ",
            "ends_at, epoch, valid_from_epoch, drained_through, state, drain_token, installation, ended_at, ",
            "cleaned_at, created_at, description, image_url, halted, revision FROM sales ",
            $rest
        )
    };
}
pub(crate) use select_sales;

impl FromRow<'_, PgRow> for Sale {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let (starts_at, ends_at): (DateTime<Utc>, DateTime<Utc>) = (row.try_get("starts_at")?, row.try_get("ends_at")?);
        Ok(Self {
            id: SaleId(row.try_get("id")?),
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            image_url: row.try_get("image_url")?,
            total_stock: row.try_get::<i32, _>("total_stock")?.into(),
            sold: row.try_get::<i32, _>("sold")?.into(),
            terms: Terms {
                unit_price_minor: row.try_get("unit_price_minor")?,
                currency: checked(row, "currency", |text: &str| text.parse())?,
                hold_seconds: checked(row, "hold_seconds", |seconds: i32| u32::try_from(seconds))?,
            },
            per_user_limit: checked(row, "per_user_limit", quantity)?,
            starts_at,
            ends_at,
            window: Window { starts_ms: starts_at.timestamp_millis(), ends_ms: ends_at.timestamp_millis() },
            halted: checked(row, "halted", |halted: Option<&str>| halted.map(str::parse).transpose())?,
            revision: row.try_get("revision")?,
            epoch: Epoch(row.try_get("epoch")?),
            valid_from_epoch: Epoch(row.try_get("valid_from_epoch")?),
            drained_through: Epoch(row.try_get("drained_through")?),
            state: checked(row, "state", |text: &str| text.parse())?,
            drain_token: row.try_get("drain_token")?,
            installation: row.try_get::<Option<Json<_>>, _>("installation")?.map(|Json(installation)| installation),
            ended_at: row.try_get("ended_at")?,
            cleaned_at: row.try_get("cleaned_at")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

impl Sale {
    /// By which rules its gate is to sell.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            window: self.window,
            terms: self.terms,
            limit: self.per_user_limit,
            halted: self.halted,
            revision: self.revision,
        }
    }
}

impl Ledger {
    /// Every sale, ordered by start.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn sales(&self) -> Result<Vec<Sale>, Error> {
        Ok(sqlx::query_as(select_sales!("ORDER BY starts_at, id")).fetch_all(&self.pool).await?)
    }

    /// Some of the sales, ordered by start.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn sales_page(&self, filter: &SaleFilter) -> Result<Vec<Sale>, Error> {
        let sql = select_sales!(
            "WHERE ($1::text IS NULL OR state = $1) AND ($2::text IS NULL OR strpos(lower(name), lower($2)) > 0)
               AND (starts_at, id) > (coalesce($3::timestamptz, '-infinity'), $4::uuid)
             ORDER BY starts_at, id LIMIT $5"
        );
        let (after_start, after_id) = filter.after.unzip();
        let page = sqlx::query_as(sql)
            .bind(filter.state.map(SaleState::as_str))
            .bind(&filter.name)
            .bind(after_start)
            // Without a sale to follow, nothing starts as early as the other half.
            .bind(after_id.map_or(Uuid::nil(), |id| id.0))
            .bind(filter.limit)
            .fetch_all(&self.pool)
            .await?;
        Ok(page)
    }

    /// Every sale that is not over, ordered by start.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn sales_to_keep(&self) -> Result<Vec<Sale>, Error> {
        let sql = select_sales!("WHERE state <> 'ended' ORDER BY starts_at, id");
        Ok(sqlx::query_as(sql).fetch_all(&self.pool).await?)
    }

    /// One sale; `None` where there is none of this id.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn sale(&self, id: SaleId) -> Result<Option<Sale>, Error> {
        Ok(sqlx::query_as(select_sales!("WHERE id = $1")).bind(id.0).fetch_optional(&self.pool).await?)
    }

    /// Creates a sale: closed, at epoch 0, until a reconciler opens it.
    ///
    /// # Errors
    /// [`Error::Data`] where the id is taken (23505) or the table does not accept the values; PostgreSQL failed.
    pub async fn create_sale(&self, sale: &NewSale) -> Result<(), Error> {
        sqlx::query(
            "WITH sale AS (
                INSERT INTO sales (id, name, total_stock, unit_price_minor, currency, hold_seconds, per_user_limit,
                                   starts_at, ends_at, description, image_url)
                VALUES ($1, $2, $3::bigint, $4, $5, $6::bigint, $7::bigint, $8, $9, $11, $12) RETURNING id)
             INSERT INTO audit (sale_id, event, actor) SELECT id, 'CREATED', $10 FROM sale",
        )
        .bind(sale.id.0)
        .bind(&sale.name)
        .bind(i64::from(sale.total_stock))
        .bind(sale.terms.unit_price_minor)
        .bind(sale.terms.currency.as_str())
        .bind(i64::from(sale.terms.hold_seconds))
        .bind(i64::from(sale.per_user_limit.get()))
        .bind(sale.starts_at)
        .bind(sale.ends_at)
        .bind(&sale.created_by)
        .bind(&sale.description)
        .bind(&sale.image_url)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Sales that ended more than `grace_seconds` ago, by PostgreSQL's clock, and still have a queue and keys.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn ended_before(&self, grace_seconds: i64) -> Result<Vec<Sale>, Error> {
        let sql = select_sales!(
            "WHERE state = 'ended' AND cleaned_at IS NULL
               AND ended_at < clock_timestamp() - make_interval(secs => $1::bigint) ORDER BY ended_at, id"
        );
        Ok(sqlx::query_as(sql).bind(grace_seconds).fetch_all(&self.pool).await?)
    }

    /// Records that the ended sale's queue and keys of `epoch` are gone.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn mark_cleaned(&self, sale: SaleId, epoch: Epoch) -> Result<(), Error> {
        sqlx::query("UPDATE sales SET cleaned_at = clock_timestamp() WHERE id = $1 AND epoch = $2 AND state = 'ended'")
            .bind(sale.0)
            .bind(epoch.0)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
