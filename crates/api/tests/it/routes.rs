//! The table of routes, as the API itself lists it, and what holds for every route in it.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use testkit::{ADMIN_TOKEN, Stack};

use crate::fixture::{Shop, assert_problem};

/// An id that no dead letter has.
pub(crate) const NO_LETTER: &str = "01890000-0000-7000-8000-000000000000";

/// One row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// With names in braces where something is filled in.
    pub(crate) path: String,
    /// `anyone` or `operators`.
    pub(crate) access: String,
}

impl Route {
    /// The path for this sale and this dead letter.
    pub(crate) fn filled(&self, sale: &str, letter: &str) -> String {
        let part = |part: &str| match part {
            "{sale_id}" => sale.to_owned(),
            "{user_id}" => "nobody".to_owned(),
            "{id}" => letter.to_owned(),
            "{file}" => "start.js".to_owned(),
            named if named.starts_with('{') => panic!("what is {named}?"),
            fixed => fixed.to_owned(),
        };
        self.path.split('/').map(part).collect::<Vec<_>>().join("/")
    }
}

/// What `flashsale-api routes` prints.
pub(crate) async fn listed(stack: &Stack) -> Vec<Route> {
    let mut process = stack.start("flashsale-api", &["routes"]);
    assert!(process.ended().await.success());
    let parse = |line: &str| {
        let [method, path, access] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        assert!(["anyone", "operators"].contains(&access), "{line}");
        Route { method: method.parse().unwrap(), path: path.to_owned(), access: access.to_owned() }
    };
    process.log().lines().map(parse).collect()
}

#[tokio::test]
async fn exactly_what_is_below_the_operators_path_is_for_operators() {
    let stack = Stack::new().await;
    let routes = listed(&stack).await;
    assert!(routes.len() >= 9, "{routes:?}");
    for Route { path, access, .. } in routes {
        // The page itself holds nothing, and asks for the token.
        let sounds_so = path.to_lowercase().contains("admin") && path != "/admin";
        assert_eq!(sounds_so, access == "operators", "{path}");
        assert_eq!(path.starts_with("/api/v1/admin/"), access == "operators", "{path}");
    }
    stack.close().await;
}

#[tokio::test]
async fn a_method_that_a_path_does_not_answer_is_refused_with_those_that_it_does() {
    let shop = Shop::with_stock(1).await;
    let sale = shop.sale.to_string();
    let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for route in listed(&shop.stack).await {
        paths.entry(route.filled(&sale, NO_LETTER)).or_default().insert(route.method.to_string());
    }
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "QUERY", "BREW", "get"];
    for (path, answered) in paths {
        for method in methods.into_iter().filter(|method| !answered.contains(*method)) {
            let request = shop.client().request(method.parse().unwrap(), &path).bearer_auth(ADMIN_TOKEN);
            let answer = shop.client().send(request).await;
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            let allowed = answer.headers["allow"].to_str().unwrap().split(',').map(|method| method.trim().to_owned());
            assert_eq!(allowed.collect::<BTreeSet<_>>(), answered, "RFC 9110, 15.5.6: {method} {path}");
            if method != "HEAD" {
                assert_problem(&answer, 405, "METHOD_NOT_ALLOWED");
            }
        }
    }
    shop.close([]).await;
}
