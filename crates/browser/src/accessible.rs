//! Whether everybody can use a page: axe-core looks at it.

use serde_json::{Value, json};

use crate::look::Look;
use crate::tab::Tab;

/// Where `cargo xtask test` has installed it.
const SCRIPT: &str = "FLASHSALE_TEST_AXE";

/// In the dark only the colours differ.
const IN_THE_DARK: [&str; 2] = ["color-contrast", "link-in-text-block"];

/// Looks at the page by the rules that are asked for, or by all.
const LOOK: &str = "
    const [rules, done] = arguments;
    axe.run(document, { resultTypes: ['violations'], ...(rules && { runOnly: rules }) })
        .then((result) => done(result.violations), (error) => done(String(error)));
";

impl Tab<'_> {
    /// Holds the page as it is, called `what`, against axe's rules, on each screen, in light and dark.
    ///
    /// # Panics
    /// Some of them are broken; the message has which and where.
    pub async fn is_accessible(&self, what: &str) {
        if self.ask("typeof axe").await != "object" {
            let path = std::env::var(SCRIPT).unwrap_or_else(|_| panic!("{SCRIPT} is not set; run cargo xtask test"));
            let script = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            self.run(&script, Value::Null).await;
        }
        let mut broken = Vec::new();
        for look in Look::all() {
            self.look(look).await;
            // Colours in between mean nothing.
            self.rests().await;
            let found = self.run_async(LOOK, json!(look.dark.then_some(IN_THE_DARK))).await;
            let found = found.as_array().unwrap_or_else(|| panic!("{what}: axe fails: {found}"));
            let screen = format!("{} px, {}", look.width, if look.dark { "dark" } else { "light" });
            broken.extend(found.iter().flat_map(|rule| told(&screen, rule)));
            let wider = self.ask("document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
            if wider != 0 {
                broken.push(format!("{screen}: the page is {wider} px wider than its window"));
            }
        }
        self.look(Look::DESKTOP).await;
        assert!(broken.is_empty(), "{what}:\n{}", broken.join("\n"));
    }
}

/// A line for each place where a rule is broken.
fn told(screen: &str, rule: &Value) -> Vec<String> {
    let places = rule["nodes"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().replace('\n', " ");
    let line = |place: &Value| {
        let (id, summary, html) = (text(&rule["id"]), text(&place["failureSummary"]), text(&place["html"]));
        format!("{screen}: {id} at {}: {summary} {html}", place["target"])
    };
    places.map(line).collect()
}
