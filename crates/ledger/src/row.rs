//! From a row's columns to the domain's types.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row, Type};

use domain::{InvalidQuantity, Quantity};

/// Reads a column whose values the domain restricts.
pub(crate) fn checked<'r, S, T, E>(
    row: &'r PgRow,
    column: &'static str,
    check: impl FnOnce(S) -> Result<T, E>,
) -> Result<T, sqlx::Error>
where
    S: Decode<'r, Postgres> + Type<Postgres>,
    E: std::error::Error + Send + Sync + 'static,
{
    check(row.try_get(column)?)
        .map_err(|error| sqlx::Error::ColumnDecode { index: column.to_owned(), source: Box::new(error) })
}

/// Units as the domain counts them.
pub(crate) fn quantity(units: i32) -> Result<Quantity, InvalidQuantity> {
    u32::try_from(units).map_err(|_| InvalidQuantity).and_then(Quantity::try_from)
}

/// A span as SQL takes it.
pub(crate) fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
