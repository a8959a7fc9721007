//! Which pages of other origins may call the API.

use reqwest::Method;
use testkit::{Answer, Client};

use crate::fixture::{PURCHASE, Shop, assert_problem};

const SHOP: &str = "https://shop.example";
const OTHER_SHOP: &str = "https://other.example:8443";
const FOREIGN: &str = "https://foreign.example";

async fn preflight(client: &Client, origin: &str, method: &str) -> Answer {
    let request = client
        .request(Method::OPTIONS, PURCHASE)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "content-type,idempotency-key,x-request-id");
    client.send(request).await
}

async fn get_from(client: &Client, origin: &str, path: &str) -> Answer {
    client.send(client.request(Method::GET, path).header("origin", origin)).await
}

#[tokio::test]
async fn pages_of_a_named_origin_may_call_and_read_and_those_of_others_may_not() {
    let shop = Shop::with_stock(1).await;
    let origins = format!("{SHOP}, {OTHER_SHOP}");
    let api = shop.stack.api_with(&[("FLASHSALE__API__CORS_ORIGINS", &origins)]).await;
    for origin in [SHOP, OTHER_SHOP] {
        let allowed = preflight(&api.client, origin, "POST").await;
        assert_eq!(allowed.status, 200, "{allowed:?}");
        assert_eq!(allowed.headers["access-control-allow-origin"], origin);
        let methods = allowed.headers["access-control-allow-methods"].to_str().unwrap();
        assert!(methods.contains("POST") && methods.contains("GET"), "{methods}");
        assert!(allowed.headers["access-control-allow-headers"].to_str().unwrap().contains("content-type"));
        assert!(!allowed.headers.contains_key("access-control-allow-credentials"));

        // Problems too: a page has to be able to read why.
        for path in ["/api/v1/sales", "/nothing/here"] {
            let answer = get_from(&api.client, origin, path).await;
            assert_eq!(answer.headers["access-control-allow-origin"], origin);
            let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap();
            for header in ["x-request-id", "retry-after", "idempotency-replayed", "ratelimit", "ratelimit-policy"] {
                assert!(exposed.split(", ").any(|exposed| exposed == header), "{header}: {exposed}");
            }
            assert!(answer.headers["vary"].to_str().unwrap().to_lowercase().contains("origin"));
        }
    }
    assert_problem(&preflight(&api.client, SHOP, "DELETE").await, 400, "BAD_REQUEST");
    for origin in [FOREIGN, "https://shop.example.evil", "http://shop.example", "null"] {
        let refused = preflight(&api.client, origin, "POST").await;
        assert_problem(&refused, 400, "BAD_REQUEST");
        assert!(!refused.headers.contains_key("access-control-allow-origin"), "{origin}: {refused:?}");
        let answer = get_from(&api.client, origin, "/api/v1/sales").await;
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{origin}: {answer:?}");
    }
    drop(api);
    shop.close([]).await;
}

#[tokio::test]
async fn where_no_origin_is_named_no_page_of_another_origin_may_call() {
    let shop = Shop::with_stock(1).await;
    assert_problem(&preflight(shop.client(), SHOP, "POST").await, 400, "BAD_REQUEST");
    let answer = get_from(shop.client(), SHOP, "/api/v1/sales").await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"), "{answer:?}");
    assert_eq!(shop.client().get("/api/v1/sales").await.status, 200);
    shop.close([]).await;
}
