//! Tells gates what was decided about their sales, at once. Without this they learn it at a keeper's next tick.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use domain::SaleId;

use crate::reconciler::{Error, Reconciler};

/// When the last telling of a sale began.
type Last = Arc<tokio::sync::Mutex<Option<Instant>>>;

/// Tells gates. However many ask at once for a sale, one of them does it for all.
pub struct Teller {
    reconciler: Reconciler,
    sales: Mutex<HashMap<SaleId, Last>>,
}

impl Teller {
    /// Tells through this reconciler.
    #[must_use]
    pub fn new(reconciler: Reconciler) -> Self {
        Self { reconciler, sales: Mutex::default() }
    }

    /// Returns when the sale's gate has learned what PostgreSQL knew at the time of the call; or when that has failed,
    /// which a keeper makes good. Of several who share one try, one is told why it failed.
    ///
    /// # Errors
    /// As [`Reconciler::synchronize`].
    pub async fn tell(&self, sale: SaleId) -> Result<(), Error> {
        let asked = Instant::now();
        let last = Arc::clone(self.sales.lock().unwrap_or_else(PoisonError::into_inner).entry(sale).or_default());
        let mut last = last.lock().await;
        // After a failure too: nobody is to wait behind the others' timeouts.
        if last.is_some_and(|began| began >= asked) {
            return Ok(());
        }
        *last = Some(Instant::now());
        self.reconciler.synchronize(sale).await
    }
}
