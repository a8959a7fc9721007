//! What the pages weigh, and how soon something is to be seen.

use browser::{Browser, Look};
use serde_json::{Value, json};

use crate::stage::Stage;

/// How often each page is loaded.
const LOADS: usize = 11;

/// Of the page as it was just loaded: files, bytes as they are, bytes over the wire, and milliseconds to the first paint
/// that shows something.
const MEASURE: &str = "
    const files = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .filter((entry) => !entry.name.includes('/api/'));
    const sum = (field) => files.reduce((sum, entry) => sum + entry[field], 0);
    const paint = performance.getEntriesByName('first-contentful-paint')[0];
    return paint && [files.length, sum('decodedBodySize'), sum('encodedBodySize'), paint.startTime];
";

/// Prints a line for each page.
pub(crate) async fn tell(browser: &Browser, stage: &Stage) {
    let tab = browser.tab(Look::DESKTOP).await;
    tab.devtools("Network.setCacheDisabled", json!({ "cacheDisabled": true })).await;
    for (name, url) in
        [("shop", stage.url().to_owned()), ("sale", stage.page()), ("operator", format!("{}/admin", stage.url()))]
    {
        let mut loads: Vec<[f64; 4]> = Vec::new();
        for _ in 0..LOADS {
            tab.goto(&url).await;
            tab.until("something is painted", "performance.getEntriesByName('first-contentful-paint').length").await;
            let measured = tab.run(MEASURE, Value::Null).await;
            loads.push(serde_json::from_value(measured).expect("four numbers"));
        }
        loads.sort_by(|one, other| one[3].total_cmp(&other[3]));
        let [files, plain, wire, paint] = loads[LOADS / 2];
        println!(
            "{name}: {files} files, {plain} bytes, {wire} over the wire; first paint after {paint:.0} ms (median of {LOADS})"
        );
    }
    tab.close().await;
}
