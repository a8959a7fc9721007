//! Time that runs out: holds that nobody paid for, and payments that nobody finished.

use domain::SaleId;

use crate::{Error, Ledger};

impl Ledger {
    /// Sales with orders whose hold, or whose time to pay, is over.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn sales_with_expired_holds(&self) -> Result<Vec<SaleId>, Error> {
        let sales = sqlx::query_scalar(include_str!("sales_with_expired_holds.sql")).fetch_all(&self.pool).await?;
        Ok(sales.into_iter().map(SaleId).collect())
    }

    /// Expires up to `limit` orders of a sale whose time is over, and books their units back. Returns how many; as many
    /// as `limit`: there may be more.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn expire_orders(&self, sale: SaleId, limit: u32) -> Result<u64, Error> {
        let expired: i64 = sqlx::query_scalar("SELECT expire_orders($1, $2::bigint)")
            .bind(sale.0)
            .bind(i64::from(limit))
            .fetch_one(&self.pool)
            .await?;
        Ok(expired.unsigned_abs())
    }
}
