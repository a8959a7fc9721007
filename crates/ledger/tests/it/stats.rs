//! Statistics: the right sums of what is asked for, in good time however many orders there are, and never for long.

use chrono::{DateTime, Utc};
use domain::SaleId;
use ledger::{Config, Holds, Refused, Revenue, SaleRevenue, SellOut, Statistics, StatsFilter};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fixture::{Fixture, config, instant, new_sale, units};

/// Midnight in UTC of a day, plus milliseconds.
const NEW_YEAR: i64 = 1_767_225_600_000;
const DAY: i64 = 86_400_000;

/// What an order written by hand is: its status, units, currency, and whether it had to be paid for.
type Kind = (&'static str, i32, &'static str, bool);

async fn order(connection: &mut PgConnection, sale: SaleId, at: i64, (status, units, currency, held): Kind) {
    sqlx::query(
        "INSERT INTO orders (id, sale_id, epoch, unit_price_minor, reserved_at, created_at, quantity, status, currency,
                             user_id, hold_until)
         SELECT gen_random_uuid(), $1, 1, 1999, $2, $2, $3, $4, $5, gen_random_uuid()::text, CASE WHEN $6 THEN $2 END",
    )
    .bind(sale.0)
    .bind(instant(at))
    .bind(units)
    .bind(status)
    .bind(currency)
    .bind(held)
    .execute(connection)
    .await
    .unwrap();
}

fn revenue(currency: &str, units: i64, orders: i64) -> Revenue {
    Revenue { currency: currency.to_owned(), revenue_minor: units * 1_999, units, orders }
}

/// A second sale, and orders in both: the first sale's at the turn of the year, the other's a day later.
async fn two_sales() -> (Fixture, SaleId, Statistics) {
    let fixture = Fixture::with_stock(100).await;
    let other = SaleId(Uuid::from_u128(7));
    fixture.ledger.create_sale(&new_sale(other, 100)).await.unwrap();
    let mut connection = fixture.connect().await;
    for (at, what) in [
        (NEW_YEAR - 1, ("CONFIRMED", 1, "EUR", true)),
        (NEW_YEAR, ("CONFIRMED", 2, "EUR", true)),
        (NEW_YEAR + 1, ("EXPIRED", 3, "EUR", true)),
        (NEW_YEAR + 2, ("CANCELLED", 3, "EUR", true)),
        (NEW_YEAR + 3, ("HELD", 3, "EUR", true)),
        (NEW_YEAR + 4, ("PAYING", 3, "EUR", true)),
        (NEW_YEAR + 5, ("REFUSED", 3, "EUR", false)),
    ] {
        order(&mut connection, fixture.sale, at, what).await;
    }
    order(&mut connection, other, NEW_YEAR + DAY, ("CONFIRMED", 7, "JPY", false)).await;
    sqlx::raw_sql(
        "UPDATE sales SET sold = (SELECT coalesce(sum(quantity), 0) FROM orders
                   WHERE sale_id = sales.id AND status IN ('HELD', 'PAYING', 'CONFIRMED'))",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    // Its own days begin at another hour.
    let far_away = format!("ALTER DATABASE {} SET timezone TO 'Pacific/Auckland'", fixture.database.name);
    sqlx::raw_sql(sqlx::AssertSqlSafe(far_away)).execute(&mut connection).await.unwrap();
    let statistics = Statistics::new(&config(&fixture.database.url)).unwrap();
    (fixture, other, statistics)
}

#[tokio::test]
async fn revenue_is_that_of_confirmed_orders_by_currency_day_and_sale() {
    let (fixture, other, statistics) = two_sales().await;
    let all = StatsFilter::default();
    assert_eq!(statistics.revenue(&all).await.unwrap().rows, [revenue("JPY", 7, 1), revenue("EUR", 3, 2)]);

    let days = statistics.revenue_by_day(&all).await.unwrap().rows;
    let days: Vec<_> = days.into_iter().map(|row| (row.day.to_string(), row.revenue)).collect();
    let expected = [
        ("2026-01-02", revenue("JPY", 7, 1)),
        ("2026-01-01", revenue("EUR", 2, 1)),
        ("2025-12-31", revenue("EUR", 1, 1)),
    ];
    assert_eq!(days, expected.map(|(day, revenue)| (day.to_owned(), revenue)));

    let row = |sale_id, revenue| SaleRevenue { sale_id, name: "Sale".to_owned(), revenue };
    let top = [row(other, revenue("JPY", 7, 1)), row(fixture.sale, revenue("EUR", 3, 2))];
    assert_eq!(statistics.top_sales(&all).await.unwrap().rows, top);

    let at = |ms| Some(instant(ms));
    let of_one = StatsFilter { sale: Some(fixture.sale), ..all };
    let from_new_year = StatsFilter { from: at(NEW_YEAR), ..all };
    let of_new_years_eve = StatsFilter { to: at(NEW_YEAR), ..all };
    let of_one_day = StatsFilter { from: at(NEW_YEAR), to: at(NEW_YEAR + DAY), sale: Some(fixture.sale) };
    for (filter, expected) in [
        (of_one, vec![revenue("EUR", 3, 2)]),
        (from_new_year, vec![revenue("JPY", 7, 1), revenue("EUR", 2, 1)]),
        (of_new_years_eve, vec![revenue("EUR", 1, 1)]),
        (of_one_day, vec![revenue("EUR", 2, 1)]),
        (StatsFilter { sale: Some(SaleId(Uuid::nil())), ..all }, vec![]),
    ] {
        assert_eq!(statistics.revenue(&filter).await.unwrap().rows, expected, "{filter:?}");
        let units = |rows: &[Revenue]| rows.iter().map(|row| row.units).sum::<i64>();
        let days = statistics.revenue_by_day(&filter).await.unwrap().rows;
        assert_eq!(days.iter().map(|row| row.revenue.units).sum::<i64>(), units(&expected), "{filter:?}");
        let top = statistics.top_sales(&filter).await.unwrap().rows;
        assert_eq!(top.iter().map(|row| row.revenue.units).sum::<i64>(), units(&expected), "{filter:?}");
    }
    statistics.close().await;
    fixture.close().await;
}

#[tokio::test]
async fn of_the_orders_that_had_to_be_paid_for_each_is_open_paid_expired_or_cancelled() {
    let (fixture, other, statistics) = two_sales().await;
    let all = Holds { held: 6, open: 2, paid: 2, expired: 1, cancelled: 1 };
    let none = Holds { held: 0, open: 0, paid: 0, expired: 0, cancelled: 0 };
    let of = |sale| StatsFilter { sale: Some(sale), ..StatsFilter::default() };
    let from = |at| StatsFilter { from: Some(instant(at)), ..StatsFilter::default() };
    let later = Holds { held: 1, open: 1, ..none };
    let cases = [(StatsFilter::default(), all), (of(other), none), (from(NEW_YEAR + 4), later)];
    for (filter, expected) in cases {
        assert_eq!(statistics.holds(&filter).await.unwrap().rows, [expected], "{filter:?}");
    }
    statistics.close().await;
    fixture.close().await;
}

#[tokio::test]
async fn a_sale_is_sold_out_when_its_last_unit_was_sold_for_the_first_time() {
    let fixture = Fixture::with_stock(3).await;
    let statistics = Statistics::new(&config(&fixture.database.url)).unwrap();
    fixture.apply(1, &[units("ann", 2)]).await;
    let all = StatsFilter::default();
    assert_eq!(statistics.sell_outs(&all).await.unwrap().rows, []);
    fixture.apply(1, &[units("bob", 1)]).await;
    let found = statistics.sell_outs(&all).await.unwrap().rows;
    let [SellOut { sale_id, starts_at, sold_out_at, after_ms, .. }] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (*sale_id, *starts_at),
        (fixture.sale, fixture.ledger.sale(fixture.sale).await.unwrap().unwrap().starts_at)
    );
    assert_eq!(*after_ms, (*sold_out_at - *starts_at).num_milliseconds());

    // Sold out once more, later.
    let mut connection = fixture.connect().await;
    sqlx::query("INSERT INTO audit (sale_id, at, event) VALUES ($1, $2 + interval '1 hour', 'SOLD_OUT')")
        .bind(fixture.sale.0)
        .bind(sold_out_at)
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(statistics.sell_outs(&all).await.unwrap().rows, found);
    let (before, after): (DateTime<Utc>, DateTime<Utc>) = (*sold_out_at, *sold_out_at + chrono::TimeDelta::seconds(1));
    for (filter, expected) in [
        (StatsFilter { from: Some(before), to: Some(after), ..all }, 1),
        (StatsFilter { from: Some(after), ..all }, 0),
        (StatsFilter { to: Some(before), ..all }, 0),
        (StatsFilter { sale: Some(SaleId(Uuid::nil())), ..all }, 0),
    ] {
        assert_eq!(statistics.sell_outs(&filter).await.unwrap().rows.len(), expected, "{filter:?}");
    }
    statistics.close().await;
    fixture.close().await;
}

#[tokio::test]
async fn refusals_are_counted_by_reason_within_the_time_that_is_asked_for() {
    let fixture = Fixture::with_stock(1).await;
    let statistics = Statistics::new(&config(&fixture.database.url)).unwrap();
    let mut connection = fixture.connect().await;
    for (reason, second, count) in [("SOLD_OUT", 100, 7), ("SOLD_OUT", 200, 30), ("TRY_AGAIN", 200, 50)] {
        sqlx::query("INSERT INTO refusals VALUES ($1, $2, to_timestamp($3::bigint), $4::bigint)")
            .bind(fixture.sale.0)
            .bind(reason)
            .bind(second)
            .bind(count)
            .execute(&mut connection)
            .await
            .unwrap();
    }
    let refused = |reason: &str, count| Refused { reason: reason.to_owned(), count };
    let all = StatsFilter::default();
    let both = [refused("TRY_AGAIN", 50), refused("SOLD_OUT", 37)];
    assert_eq!(statistics.refusals(&all).await.unwrap().rows, both);
    let early = StatsFilter { to: Some(instant(200_000)), sale: Some(fixture.sale), ..all };
    assert_eq!(statistics.refusals(&early).await.unwrap().rows, [refused("SOLD_OUT", 7)]);
    statistics.close().await;
    fixture.close().await;
}

/// The statements, as PostgreSQL explains them.
const STATEMENTS: [(&str, &str); 6] = [
    ("revenue", include_str!("../../src/stats_revenue.sql")),
    ("revenue by day", include_str!("../../src/stats_days.sql")),
    ("top sales", include_str!("../../src/stats_top_sales.sql")),
    ("sell-outs", include_str!("../../src/stats_sell_outs.sql")),
    ("refusals", include_str!("../../src/stats_refusals.sql")),
    ("holds", include_str!("../../src/stats_holds.sql")),
];

/// Orders in a hundred sales, one after the other, with their trail.
const MANY_ORDERS: &str = "
    INSERT INTO sales (id, name, total_stock, starts_at, ends_at)
    SELECT gen_random_uuid(), n, 0, at, at + interval '1 hour'
    FROM generate_series(0, 99) AS n, LATERAL (SELECT timestamptz '2026-01-01' + n * interval '12 hours') AS day (at);
    INSERT INTO orders (id, sale_id, epoch, unit_price_minor, reserved_at, created_at, quantity, status, currency,
                        user_id, hold_until)
    SELECT gen_random_uuid(), id, 1, 1999, at, at, 1 + n % 2,
           (ARRAY['CONFIRMED', 'CONFIRMED', 'CONFIRMED', 'EXPIRED', 'CANCELLED', 'HELD'])[1 + n % 6], 'EUR',
           'user-' || n, at
    FROM sales, generate_series(1, {orders} / 100) AS n, LATERAL (SELECT starts_at + n * interval '10 ms') AS o (at)
    WHERE starts_at >= timestamptz '2026-01-01' ORDER BY at;
    INSERT INTO audit (sale_id, at, event, order_id)
    SELECT sale_id, created_at, event, id FROM orders, (VALUES ('RESERVED'), ('CONFIRMED')) AS v (event);
    INSERT INTO audit (sale_id, at, event) SELECT id, starts_at + interval '4 s', 'SOLD_OUT' FROM sales;";

#[tokio::test]
async fn with_many_orders_what_is_asked_of_one_sale_or_one_day_reads_no_others() {
    let fixture = Fixture::with_stock(1).await;
    // A million, to measure with.
    let orders: u32 = std::env::var("FLASHSALE_TEST_ORDERS").map_or(100_000, |orders| orders.parse().unwrap());
    let mut connection = fixture.connect().await;
    let fill = MANY_ORDERS.replace("{orders}", &orders.to_string());
    let alone = "SET max_parallel_workers_per_gather = 0";
    for step in ["SET session_replication_role = replica", &fill, "VACUUM ANALYZE", alone] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(step)).execute(&mut connection).await.unwrap();
    }
    let sale: (Uuid,) =
        sqlx::query_as("SELECT id FROM sales WHERE name = '77'").fetch_one(&mut connection).await.unwrap();
    let statistics = Statistics::new(&config(&fixture.database.url)).unwrap();
    let day =
        StatsFilter { from: Some(instant(NEW_YEAR)), to: Some(instant(NEW_YEAR + DAY)), ..StatsFilter::default() };
    let of_sale = StatsFilter { sale: Some(SaleId(sale.0)), ..StatsFilter::default() };
    for (whole, filter) in [("all", StatsFilter::default()), ("one sale", of_sale), ("one day", day)] {
        let took = [
            statistics.revenue(&filter).await.unwrap().query_ms,
            statistics.revenue_by_day(&filter).await.unwrap().query_ms,
            statistics.top_sales(&filter).await.unwrap().query_ms,
            statistics.sell_outs(&filter).await.unwrap().query_ms,
            statistics.refusals(&filter).await.unwrap().query_ms,
            statistics.holds(&filter).await.unwrap().query_ms,
        ];
        println!("{orders} orders, {whole}: {took:?} ms");
        for (name, statement) in STATEMENTS {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN {statement}"));
            let plan: Vec<(String,)> = sqlx::query_as(explain)
                .bind(filter.sale.map(|sale| sale.0))
                .bind(filter.from)
                .bind(filter.to)
                .fetch_all(&mut connection)
                .await
                .unwrap();
            let plan = plan.iter().map(|(line,)| line.as_str()).collect::<Vec<_>>().join("\n");
            assert!(!plan.contains("Scan on audit"), "{whole}, {name}:\n{plan}");
            assert!(whole == "all" || !plan.contains("Seq Scan on orders"), "{whole}, {name}:\n{plan}");
            // The days are known to be few: no sort of all orders.
            assert!(!plan.contains("GroupAggregate"), "{whole}, {name}:\n{plan}");
        }
    }
    statistics.close().await;
    fixture.ledger.close().await;
    fixture.database.drop_now().await;
}

#[tokio::test]
async fn a_statistic_that_takes_too_long_is_given_up_and_the_next_one_is_answered() {
    let fixture = Fixture::with_stock(1).await;
    let brief = Config { statement_timeout_ms: 200, ..config(&fixture.database.url) };
    let statistics = Statistics::new(&brief).unwrap();
    let mut connection = fixture.connect().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE orders").execute(&mut connection).await.unwrap();
    let error = statistics.revenue(&StatsFilter::default()).await.unwrap_err();
    assert!(error.took_too_long(), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    assert_eq!(statistics.revenue(&StatsFilter::default()).await.unwrap().rows, []);
    statistics.close().await;
    fixture.close().await;
}
