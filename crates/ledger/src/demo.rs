//! Sales to try things out with.

use domain::SaleId;
use uuid::Uuid;

use crate::{Error, Ledger};

/// The demonstration sale that is active. The README and the k6 scripts name it.
pub const DEMO_SALE: SaleId = SaleId(Uuid::from_u128(0x00000000_0000_4000_8000_000000000001));

impl Ledger {
    /// Creates three sales if there is none at all: one active with 100 units ([`DEMO_SALE`]), one that starts in ten
    /// minutes with 50, one that ended an hour ago with 200, by PostgreSQL's clock. Returns their ids in this order;
    /// nothing where there was a sale.
    ///
    /// # Errors
    /// PostgreSQL failed.
    pub async fn seed_demo(&self) -> Result<Vec<SaleId>, Error> {
        let ids = [DEMO_SALE, SaleId(Uuid::new_v4()), SaleId(Uuid::new_v4())];
        let [active, coming, past] = ids.map(|id| id.0);
        let written =
            sqlx::query(include_str!("seed_demo.sql")).bind(active).bind(coming).bind(past).execute(&self.pool).await?;
        Ok(if written.rows_affected() == 0 { Vec::new() } else { ids.to_vec() })
    }
}
