//! Creating and reading sales; migrations; the demonstration sales.

use domain::{Epoch, SaleId, SaleState, Window};
use ledger::{Config, DEMO_SALE, Error, Ledger, NewSale};
use testkit::database::Database;
use uuid::Uuid;

use crate::fixture::{Fixture, RESERVED_AT, config, instant, new_sale, terms};

#[tokio::test]
async fn a_new_sale_is_closed_and_reads_back_as_it_was_given() {
    let fixture = Fixture::with_stock(1).await;
    let id = SaleId(Uuid::new_v4());
    let new = NewSale { starts_at: instant(RESERVED_AT - 2_000), ..new_sale(id, 77) };
    fixture.ledger.create_sale(&new).await.unwrap();

    let sale = fixture.ledger.sale(id).await.unwrap().unwrap();
    assert_eq!((sale.name.as_str(), sale.total_stock, sale.sold, sale.terms), ("Sale", 77, 0, terms()));
    assert_eq!((sale.per_user_limit, sale.state, sale.epoch), (new.per_user_limit, SaleState::Closed, Epoch(0)));
    assert_eq!(sale.window, Window { starts_ms: RESERVED_AT - 2_000, ends_ms: RESERVED_AT + 1_000 });
    assert_eq!((sale.installation.clone(), sale.drain_token), (None, None));
    let ids: Vec<_> = fixture.ledger.sales().await.unwrap().into_iter().map(|sale| sale.id).collect();
    assert_eq!(ids, [id, fixture.sale], "by start");
    assert_eq!(fixture.ledger.sale(SaleId(Uuid::new_v4())).await.unwrap(), None);
    fixture.close().await;
}

#[tokio::test]
async fn a_sale_that_makes_no_sense_is_refused() {
    let fixture = Fixture::with_stock(1).await;
    let good = new_sale(SaleId(Uuid::new_v4()), 1);
    let backwards = NewSale { starts_at: good.ends_at, ..good.clone() };
    let too_many = NewSale { total_stock: u32::MAX, ..good.clone() };
    let taken = NewSale { id: fixture.sale, ..good };
    for sale in [backwards, too_many, taken] {
        let error = fixture.ledger.create_sale(&sale).await.unwrap_err();
        assert!(matches!(error, Error::Data { .. }), "{error}");
    }
    fixture.close().await;
}

#[tokio::test]
async fn migrating_again_and_at_once_is_harmless() {
    let fixture = Fixture::with_stock(1).await;
    let database = &fixture.database;
    let config = Config { owner_url: database.owner_url.clone().into(), ..config(&database.url) };
    let migrate = || Ledger::migrate(&config);
    let (one, two, three) = tokio::join!(migrate(), migrate(), migrate());
    one.and(two).and(three).unwrap();
    fixture.ledger.ping().await.unwrap();
    fixture.close().await;
}

#[tokio::test]
async fn only_the_owner_of_the_database_migrates() {
    let database = Database::create().await;
    let error = Ledger::migrate(&config(&database.url)).await.unwrap_err();
    assert!(matches!(error, Error::Migrate(_)), "{error}");
    Ledger::migrate(&config(&database.owner_url)).await.unwrap();
    database.drop_now().await;
}

#[tokio::test]
async fn the_demonstration_sales_are_made_once_where_there_is_no_sale() {
    let database = Database::create().await;
    let ledger = Ledger::new(&config(&database.url)).unwrap();
    let (one, other) = tokio::join!(ledger.seed_demo(), ledger.seed_demo());
    let mut made = [one.unwrap(), other.unwrap()].concat();
    assert_eq!((made.len(), made[0]), (3, DEMO_SALE));
    assert_eq!(ledger.seed_demo().await.unwrap(), []);

    let sales = ledger.sales().await.unwrap();
    let found: Vec<_> = sales.iter().map(|sale| (sale.id, sale.total_stock)).collect();
    let (ended, active, coming) = (made.pop().unwrap(), made[0], made[1]);
    assert_eq!(found, [(ended, 200), (active, 100), (coming, 50)]);
    ledger.close().await;
    database.drop_now().await;
}

#[tokio::test]
async fn nothing_is_seeded_beside_a_real_sale() {
    let fixture = Fixture::with_stock(1).await;
    assert_eq!(fixture.ledger.seed_demo().await.unwrap(), []);
    assert_eq!(fixture.ledger.sales().await.unwrap().len(), 1);
    fixture.close().await;
}
