//! What pages have complained of, and whom they have asked.

use serde_json::Value;
use thirtyfour::WebDriver;

/// What the console has said since the last call and is not expected, a line each.
///
/// # Panics
/// The browser has ended.
pub(crate) async fn of(driver: &WebDriver, expected: &[String]) -> Vec<String> {
    let logged = driver.get_log("browser").await.expect("the browser's log");
    logged
        .into_iter()
        .filter(|entry| ["SEVERE", "WARNING"].contains(&entry.level.as_str()))
        .map(|entry| format!("{} {}: {}", entry.level, entry.source.unwrap_or_default(), entry.message))
        .filter(|complaint| !expected.iter().any(|expected| complaint.contains(expected)))
        .collect()
}

/// The requests to servers since the last call: `{url, method, headers, ...}`.
///
/// # Panics
/// The browser has ended.
pub(crate) async fn requests(driver: &WebDriver) -> Vec<Value> {
    let network = driver.get_log("performance").await.expect("the browser's network log");
    network.iter().filter_map(|entry| request(&entry.message)).collect()
}

fn request(event: &str) -> Option<Value> {
    let event: Value = serde_json::from_str(event).ok()?;
    let message = &event["message"];
    let request = &message["params"]["request"];
    let is_one = message["method"] == "Network.requestWillBeSent" && url(request).starts_with("http");
    is_one.then(|| request.clone())
}

/// Where a request went.
pub(crate) fn url(request: &Value) -> &str {
    request["url"].as_str().unwrap_or_default()
}

/// Whether a URL belongs to this origin.
pub(crate) fn is_of(url: &str, origin: &str) -> bool {
    url.strip_prefix(origin).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}
