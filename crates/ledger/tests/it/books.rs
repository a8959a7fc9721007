//! Exact books while the sale runs.

use domain::{Applied, SaleId};
use uuid::Uuid;

use crate::fixture::{Fixture, one, units};

#[tokio::test]
async fn a_persist_waits_until_the_books_are_released() {
    let fixture = Fixture::with_stock(10).await;
    let (before, during) = (one("ann"), units("bob", 2));
    fixture.apply(1, std::slice::from_ref(&before)).await;

    let mut locked = fixture.ledger.lock_books(fixture.sale).await.unwrap().unwrap();
    let mut looker = fixture.connect().await;
    let persist = fixture.apply(1, std::slice::from_ref(&during));
    let read = async {
        fixture.until_someone_waits(&mut looker).await;
        assert_eq!(locked.books.active_units, 1);
        assert_eq!(locked.known(&[before.id, during.id]).await.unwrap(), [before.id].into());
        locked.release().await.unwrap();
    };
    let (outcomes, ()) = tokio::join!(persist, read);
    assert_eq!(outcomes, [Applied::Inserted]);
    assert_eq!(fixture.books().await.active_units, 3);
    fixture.close().await;
}

#[tokio::test]
async fn a_sale_that_does_not_exist_has_no_books() {
    let fixture = Fixture::with_stock(1).await;
    assert!(fixture.ledger.lock_books(SaleId(Uuid::new_v4())).await.unwrap().is_none());
    fixture.close().await;
}
