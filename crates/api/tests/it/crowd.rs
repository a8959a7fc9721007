//! Many at once: exactly as many win as there are units, and everyone else is told why not.

use std::collections::HashMap;

use testkit::Answer;

use crate::fixture::{Shop, clicks, promised};

/// How often each outcome was told.
fn outcomes(answers: &[(String, Answer)]) -> HashMap<&str, usize> {
    let mut outcomes = HashMap::new();
    for (user, answer) in answers {
        assert_eq!(answer.status, 200, "{user}: {answer:?}");
        *outcomes.entry(answer.outcome()).or_default() += 1;
    }
    outcomes
}

#[tokio::test]
async fn of_500_buyers_for_10_units_10_win_and_490_are_told_sold_out() {
    let shop = Shop::with_stock(10).await;
    let persister = shop.stack.persister();
    let answers = clicks(&[shop.client().clone()], shop.sale, (0..500).map(|n| format!("user-{n}")), 500).await;
    assert_eq!(outcomes(&answers), HashMap::from([("SUCCESS", 10), ("SOLD_OUT", 490)]));
    for (user, refused) in answers.iter().filter(|(_, answer)| answer.outcome() == "SOLD_OUT") {
        assert_eq!(refused.body["message"], "Sale is sold out", "{user}");
        assert_eq!(refused.body["remainingStock"], 0, "{user}");
    }
    let books = shop.check_books(&promised(&answers)).await;
    assert_eq!(books.body["books"]["available"], 0, "not one more, and not one less");
    shop.close([persister]).await;
}

#[tokio::test]
async fn of_5000_buyers_at_two_apis_for_100_units_100_win_with_three_persisters_at_work() {
    let shop = Shop::with_stock(100).await;
    let other = shop.stack.api().await;
    let persisters = [(); 3].map(|()| shop.stack.persister());
    let clients = [shop.client().clone(), other.client.clone()];
    let answers = clicks(&clients, shop.sale, (0..5_000).map(|n| format!("user-{n}")), 500).await;
    assert_eq!(outcomes(&answers), HashMap::from([("SUCCESS", 100), ("SOLD_OUT", 4_900)]));
    let books = shop.check_books(&promised(&answers)).await;
    assert_eq!(books.body["books"]["available"], 0, "not one more, and not one less");
    drop(other);
    shop.close(persisters).await;
}

#[tokio::test]
async fn of_200_simultaneous_clicks_of_one_user_one_wins_and_the_others_name_its_order() {
    let shop = Shop::with_stock(10).await;
    let other = shop.stack.api().await;
    let persister = shop.stack.persister();
    let clients = [shop.client().clone(), other.client.clone()];
    let answers = clicks(&clients, shop.sale, (0..200).map(|_| "ann".to_owned()), 200).await;
    assert_eq!(outcomes(&answers), HashMap::from([("SUCCESS", 1), ("ALREADY_PURCHASED", 199)]));
    let promised = promised(&answers);
    for (_, answer) in &answers {
        assert_eq!(answer.order_id(), Some(promised[0].1.as_str()));
    }
    let books = shop.check_books(&promised).await;
    assert_eq!(books.body["books"]["available"], 9);
    drop(other);
    shop.close([persister]).await;
}

#[tokio::test]
async fn with_several_units_to_a_buyer_a_crowd_empties_the_sale_to_the_last_unit() {
    let limit = domain::Quantity::try_from(3).unwrap();
    let shop = Shop::with(&ledger::NewSale { per_user_limit: limit, ..testkit::new_sale(50) }).await;
    let persister = shop.stack.persister();
    let buyers: Vec<String> = (0..120).map(|n| format!("user-{n}")).collect();
    let answers = futures_util::future::join_all(
        buyers.iter().enumerate().map(async |(n, user)| (user.clone(), shop.click_for(user, n % 3 + 1).await)),
    );
    let answers = answers.await;
    let units = |user: &String| buyers.iter().position(|each| each == user).unwrap() % 3 + 1;
    let promised = promised(&answers);
    assert_eq!(promised.iter().map(|(user, _)| units(user)).sum::<usize>(), 50);
    let books = shop.stack.settled(shop.client(), shop.sale).await;
    assert_eq!((&books.body["books"]["sold"], &books.body["books"]["available"]), (&50.into(), &0.into()));
    assert!(shop.stack.lost(shop.sale, &promised).await.is_empty());
    shop.close([persister]).await;
}
