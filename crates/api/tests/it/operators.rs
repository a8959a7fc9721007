//! Every operator's route is closed to everyone without the operator's token.

use reqwest::Method;
use serde_json::json;
use testkit::{ADMIN_TOKEN, Answer, Client};

use crate::fixture::{Shop, assert_problem};

/// Sends an operator's request with this `Authorization`.
async fn ask(client: &Client, method: &Method, path: &str, sale: &str, authorization: Option<&str>) -> Answer {
    let mut request = client.request(method.clone(), path);
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    client.send(request.json(&json!({ "saleId": sale, "force": true }))).await
}

/// Every operator's route, and some that do not exist: whoever has no token learns nothing of which do.
fn routes(sale: &str) -> Vec<(Method, String)> {
    vec![
        (Method::POST, "/api/v1/admin/reset".to_owned()),
        (Method::GET, format!("/api/v1/admin/sales/{sale}/verify")),
        (Method::GET, "/api/v1/admin/reset".to_owned()),
        (Method::GET, "/api/v1/admin/sales/7/verify".to_owned()),
        (Method::GET, "/api/v1/admin/nothing/here".to_owned()),
        (Method::DELETE, "/api/v1/admin/".to_owned()),
    ]
}

#[tokio::test]
async fn an_operators_route_is_closed_without_the_token_and_with_anything_but_the_token() {
    let shop = Shop::with_stock(1).await;
    let order = shop.buy("ann").await;
    let sale = shop.sale.to_string();
    let (prefix, suffix) = (&ADMIN_TOKEN[..ADMIN_TOKEN.len() - 1], format!("{ADMIN_TOKEN}s"));
    let wrong = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(ADMIN_TOKEN.to_owned()),
        Some(format!("Basic {ADMIN_TOKEN}")),
        Some(format!("Bearer {prefix}")),
        Some(format!("Bearer {suffix}")),
        Some(format!("Bearer {}", ADMIN_TOKEN.to_uppercase())),
        Some(format!("Bearer \"{ADMIN_TOKEN}\"")),
        Some(format!("Bearer {}", "x".repeat(ADMIN_TOKEN.len()))),
    ];
    for (method, path) in routes(&sale) {
        for authorization in &wrong {
            let answer = ask(shop.client(), &method, &path, &sale, authorization.as_deref()).await;
            assert_problem(&answer, 401, "UNAUTHORIZED");
            assert_eq!(answer.headers["www-authenticate"], "Bearer", "{method} {path} {authorization:?}");
        }
    }
    let ours = shop.client().purchase_of(shop.sale, "ann").await;
    assert_eq!(ours.order_id(), Some(order.as_str()), "no refused reset has done anything");
    shop.close([]).await;
}

#[tokio::test]
async fn with_the_token_each_route_answers_and_the_schemes_case_does_not_matter() {
    let shop = Shop::with_stock(1).await;
    let sale = shop.sale.to_string();
    let statuses = [200, 200, 405, 400, 404, 404];
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let authorization = format!("{scheme} {ADMIN_TOKEN}");
        for ((method, path), status) in routes(&sale).into_iter().zip(statuses) {
            let answer = ask(shop.client(), &method, &path, &sale, Some(&authorization)).await;
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        }
    }
    shop.close([]).await;
}

#[tokio::test]
async fn a_path_that_only_looks_like_an_operators_route_reaches_nothing() {
    let shop = Shop::with_stock(1).await;
    shop.buy("ann").await;
    let sale = shop.sale.to_string();
    for path in ["/api/v1//admin/reset", "/api/v1/ADMIN/reset", "/api/v1/sale/%2e%2e/admin/reset", "/admin/reset"] {
        let answer = ask(shop.client(), &Method::POST, path, &sale, None).await;
        assert!([401, 404].contains(&answer.status.as_u16()), "{path}: {answer:?}");
    }
    assert_eq!(shop.click("ann").await.outcome(), "ALREADY_PURCHASED");
    shop.close([]).await;
}

#[tokio::test]
async fn an_api_that_was_told_to_run_without_a_token_refuses_every_operator() {
    let shop = Shop::with_stock(1).await;
    let none = [("FLASHSALE__API__ADMIN_TOKEN", ""), ("FLASHSALE__API__ALLOW_NO_ADMIN_TOKEN", "true")];
    let api = shop.stack.api_with(&none).await;
    let sale = shop.sale.to_string();
    for (method, path) in routes(&sale) {
        for authorization in [None, Some("Bearer "), Some("Bearer"), Some(&*format!("Bearer {ADMIN_TOKEN}"))] {
            let answer = ask(&api.client, &method, &path, &sale, authorization).await;
            assert_problem(&answer, 401, "UNAUTHORIZED");
        }
    }
    assert_eq!(api.client.purchase(shop.sale, "ann").await.outcome(), "SUCCESS", "buyers are served");
    drop(api);
    shop.close([]).await;
}
