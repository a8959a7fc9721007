//! What operators change of a sale. Each change is one call of a function in `migrations/0010_sale_edits.sql`.

use chrono::{DateTime, Utc};
use domain::{Currency, Halt, Quantity, SaleId};
use serde::Serialize;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use crate::{Error, Ledger};

/// What is to change of a sale; `None` stays as it is. In JSON, the columns of `sales` that change.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct SaleChanges {
    /// What buyers read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What buyers read about it; `Some(None)` takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Option<String>>,
    /// What buyers see; `Some(None)` takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_url: Option<Option<String>>,
    /// All units there are to be, sold or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_stock: Option<u32>,
    /// Price of one unit in the currency's minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_price_minor: Option<i64>,
    /// The currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// How long an unpaid order holds its units, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_seconds: Option<u32>,
    /// The most units of one order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_user_limit: Option<Quantity>,
    /// First instant that sells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starts_at: Option<DateTime<Utc>>,
    /// First instant that no longer sells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<DateTime<Utc>>,
}

/// What a change has come to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edited {
    /// It is done. The gate has to learn of it.
    Done,
    /// The sale is like that already.
    Unchanged,
    /// The stock is to be lowered, and the gate must give up the units first: nothing else is done. To be asked again
    /// once this claim was granted.
    Claimed(i64),
    /// Another lowering of the stock is undecided.
    Claiming,
    /// More is sold than the stock would have.
    TooLow {
        /// The least stock that PostgreSQL knows to be possible; the gate may know of units reserved besides.
        least: i64,
    },
    /// The sale has ended: of it only the texts may change, and its stock only become less.
    Over,
    /// The sale would end before it starts.
    NoWindow,
    /// There is no such sale.
    NotFound,
}

impl Edited {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(match row.try_get("verdict")? {
            "edited" => Self::Done,
            "unchanged" => Self::Unchanged,
            "claimed" => Self::Claimed(row.try_get("claim")?),
            "claiming" => Self::Claiming,
            "too_low" => Self::TooLow { least: row.try_get("least_stock")? },
            "over" => Self::Over,
            "no_window" => Self::NoWindow,
            "not_found" => Self::NotFound,
            verdict => return Err(sqlx::Error::Decode(format!("an edit came to {verdict:?}").into())),
        })
    }
}

impl Ledger {
    /// Changes a sale, all that is asked or nothing. Orders, and reservations on their way to become some, stay as they
    /// are. To be repeated after [`Edited::Claimed`].
    ///
    /// # Errors
    /// [`Error::Data`] where the table accepts one of the values not; PostgreSQL failed.
    pub async fn edit_sale(&self, sale: SaleId, changes: &SaleChanges, actor: &str) -> Result<Edited, Error> {
        let row = sqlx::query("SELECT verdict, claim, least_stock FROM edit_sale($1, $2, $3)")
            .bind(sale.0)
            .bind(Json(changes))
            .bind(actor)
            .fetch_one(&self.pool)
            .await?;
        Ok(Edited::of(&row)?)
    }

    /// Stops a sale, or lets a paused one sell again (`None`). [`Edited::Done`], [`Edited::Unchanged`],
    /// [`Edited::Over`] or [`Edited::NotFound`].
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn halt_sale(&self, sale: SaleId, halted: Option<Halt>, actor: &str) -> Result<Edited, Error> {
        let row = sqlx::query("SELECT halt_sale($1, $2, $3) AS verdict")
            .bind(sale.0)
            .bind(halted.map(Halt::as_str))
            .bind(actor)
            .fetch_one(&self.pool)
            .await?;
        Ok(Edited::of(&row)?)
    }
}
