//! Reading orders.

use domain::{OrderState, PaymentState, SaleId};
use ledger::OrderCursor;
use uuid::Uuid;

use crate::fixture::{Fixture, RESERVED_AT, instant, new_sale, one};
use crate::paying::OPERATOR;

impl Fixture {
    async fn told(&self, order: domain::ReservationId) -> Vec<(String, Option<String>)> {
        let view = self.ledger.order(order).await.unwrap().unwrap();
        view.timeline.into_iter().map(|moment| (moment.event, moment.actor)).collect()
    }
}

#[tokio::test]
async fn the_timeline_of_an_order_tells_each_move_once() {
    let fixture = Fixture::with_stock(10).await;
    let order = fixture.captured().await;
    for _ in 0..2 {
        fixture.ledger.cancel_order(order, OPERATOR).await.unwrap();
        fixture.ledger.payment_released(order).await.unwrap();
        // A webhook about the capture comes last: the money is released again, and told of once.
        fixture.event("evt", order, ledger::PaymentNews::Captured).await;
    }
    fixture.ledger.payment_released(order).await.unwrap();
    let moves = [
        ("RESERVED", None),
        ("HELD", None),
        ("PAYING", Some("buyer")),
        ("CONFIRMED", Some("provider")),
        ("CANCELLED", Some("test")),
        ("REFUNDED", Some("provider")),
    ];
    let moves: Vec<_> = moves.map(|(event, actor)| (event.to_owned(), actor.map(str::to_owned))).into();
    assert_eq!(fixture.told(order).await, moves);
    let view = fixture.ledger.order(order).await.unwrap().unwrap();
    assert_eq!((view.order.status, view.timeline[0].at), (OrderState::Cancelled, instant(RESERVED_AT)));
    assert_eq!(view.payment.map(|payment| payment.state), Some(PaymentState::Released));

    let plain = one("plain");
    fixture.apply(1, std::slice::from_ref(&plain)).await;
    let moves = [("RESERVED".to_owned(), None), ("CONFIRMED".to_owned(), None)];
    assert_eq!(fixture.told(plain.id).await, moves);
    assert!(fixture.ledger.order(one("nobody").id).await.unwrap().is_none());
    fixture.close().await;
}

#[tokio::test]
async fn a_buyers_orders_come_page_by_page_the_latest_sale_first() {
    let fixture = Fixture::with_stock(10).await;
    let mut expected = Vec::new();
    for day in 1..=5 {
        let mut sale = new_sale(SaleId(Uuid::new_v4()), 10);
        sale.starts_at += chrono::TimeDelta::days(day);
        sale.ends_at += chrono::TimeDelta::days(day);
        fixture.ledger.create_sale(&sale).await.unwrap();
        let (mine, other) = (one("buyer"), one("another"));
        let bought = if day == 3 { vec![other] } else { vec![mine.clone(), other] };
        let batch = domain::ReservationBatch {
            sale_id: sale.id,
            epoch: domain::Epoch(0),
            terms: sale.terms,
            reservations: bought,
        };
        fixture.ledger.apply(&batch, None).await.unwrap();
        if day != 3 {
            expected.insert(0, mine.id);
        }
    }
    let user = "buyer".parse().unwrap();
    let (mut found, mut after): (Vec<_>, Option<OrderCursor>) = (Vec::new(), None);
    loop {
        let page = fixture.ledger.orders_of_user(&user, after, 3).await.unwrap();
        after = page.last().map(ledger::OrderOfUser::cursor);
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|one| one.order.id));
    }
    assert_eq!(found, expected);
    fixture.close().await;
}
