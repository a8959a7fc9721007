//! A page in a browser, used as a person does: looked at, clicked, typed into.

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::until;
use thirtyfour::error::{WebDriverErrorInner, WebDriverResult};
use thirtyfour::{By, WindowHandle};
use tokio::sync::MutexGuard;

use crate::browser::Browser;
use crate::look::Look;

/// Longest that a page may take to show something, on a machine that is busy.
const SOON: Duration = Duration::from_secs(20);

/// The keys that buy without a mouse.
pub use thirtyfour::Key;

/// A tab. It stays open until [`Tab::close`] or the end of its browser.
pub struct Tab<'a> {
    browser: &'a Browser,
    handle: WindowHandle,
}

impl<'a> Tab<'a> {
    pub(crate) fn new(browser: &'a Browser, handle: WindowHandle) -> Self {
        Self { browser, handle }
    }

    /// Makes the driver's next command go to this tab, as long as the guard is held.
    async fn front(&self) -> MutexGuard<'a, Option<WindowHandle>> {
        let mut current = self.browser.current.lock().await;
        if current.as_ref() != Some(&self.handle) {
            self.browser.driver.switch_to_window(self.handle.clone()).await.expect("the tab is open");
            *current = Some(self.handle.clone());
        }
        current
    }

    /// Opens a page and waits until it is loaded.
    ///
    /// # Panics
    /// It cannot be opened, as with everything below where the tab or the browser is gone.
    pub async fn goto(&self, url: &str) {
        let _front = self.front().await;
        self.browser.driver.goto(url).await.unwrap_or_else(|error| panic!("{url} cannot be opened: {error}"));
    }

    /// Loads the page anew.
    pub async fn reload(&self) {
        let _front = self.front().await;
        self.browser.driver.refresh().await.expect("the page is loaded anew");
    }

    /// Closes the tab.
    pub async fn close(self) {
        let mut front = self.front().await;
        self.browser.driver.close_window().await.expect("the tab is closed");
        // Without a tab to stand on the driver opens none.
        let home = self.browser.home.clone();
        self.browser.driver.switch_to_window(home.clone()).await.expect("the first tab is open");
        *front = Some(home);
    }

    /// Gives the browser's own tools a command, as its protocol has it.
    ///
    /// # Panics
    /// They refuse.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let _front = self.front().await;
        let said = self.browser.driver.cdp().send_raw(command, parameters).await;
        said.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Shows the page on another screen.
    pub async fn look(&self, look: Look) {
        let Look { width, height, scale, mobile, dark } = look;
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": mobile });
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setDeviceMetricsOverride", screen).await;
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Waits until what moves now and will come to an end has come to it.
    pub async fn rests(&self) {
        let script = "
            const ends = (animation) => animation.effect.getComputedTiming().endTime !== Infinity;
            const ended = document.getAnimations().filter(ends).map((animation) => animation.finished.catch(() => {}));
            Promise.all(ended).then(() => arguments[1](null));
        ";
        self.run_async(script, Value::Null).await;
    }

    /// A picture of what is to be seen, a PNG.
    pub async fn picture(&self) -> Vec<u8> {
        let _front = self.front().await;
        self.browser.driver.screenshot_as_png().await.expect("a picture")
    }

    /// What a script says that ends with `return`; `arguments[0]` is `argument`.
    ///
    /// # Panics
    /// The script fails.
    pub async fn run(&self, script: &str, argument: Value) -> Value {
        let _front = self.front().await;
        let said = self.browser.driver.execute(script, vec![argument]).await;
        said.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// [`Tab::run`] of a script that calls its last argument with what it says.
    ///
    /// # Panics
    /// The script fails.
    pub async fn run_async(&self, script: &str, argument: Value) -> Value {
        let _front = self.front().await;
        let said = self.browser.driver.execute_async(script, vec![argument]).await;
        said.unwrap_or_else(|error| panic!("{script}: {error}")).json().clone()
    }

    /// Runs a script before those of each page that is opened from now on.
    pub async fn run_before_each_page(&self, script: &str) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// What an expression is, such as `location.hash`.
    pub async fn ask(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}"), Value::Null).await
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// It does not become so; the message has what the page shows.
    pub async fn until(&self, what: &str, expression: &str) {
        self.until_within(SOON, what, expression).await;
    }

    /// [`Tab::until`] with another limit.
    ///
    /// # Panics
    /// As there.
    pub async fn until_within(&self, limit: Duration, what: &str, expression: &str) {
        let is_so = async || (self.ask(&format!("!!({expression})")).await == true).then_some(());
        let in_vain = async {
            tokio::time::sleep(limit).await;
            self.ask("location.href + '\\n' + document.body.innerText").await
        };
        tokio::select! {
            () = until(what, limit * 2, is_so) => {}
            shown = in_vain => panic!("waited {limit:?} in vain until {what}; the page shows {}", shown.as_str().unwrap_or_default()),
        }
    }

    /// Waits until the first element of this selector shows this text.
    ///
    /// # Panics
    /// It does not.
    pub async fn sees(&self, selector: &str, text: &str) {
        let (selector, wanted) = (json!(selector), json!(text));
        let expression = format!("document.querySelector({selector})?.innerText?.includes({wanted})");
        self.until(&format!("{selector} shows {wanted}"), &expression).await;
    }

    /// Waits until there is something of this selector, and it is to be seen.
    ///
    /// # Panics
    /// There is not.
    pub async fn has(&self, selector: &str) {
        let expression = format!("document.querySelector({})?.checkVisibility()", json!(selector));
        self.until(&format!("there is {selector}"), &expression).await;
    }

    /// Waits until there is nothing of this selector, or it is not to be seen.
    ///
    /// # Panics
    /// There still is.
    pub async fn has_no(&self, selector: &str) {
        let expression = format!("!document.querySelector({})?.checkVisibility()", json!(selector));
        self.until(&format!("there is no {selector}"), &expression).await;
    }

    /// The text of the first element of this selector, which must be there.
    ///
    /// # Panics
    /// There is none.
    pub async fn text(&self, selector: &str) -> String {
        let text = self.ask(&format!("document.querySelector({})?.innerText", json!(selector))).await;
        text.as_str().unwrap_or_else(|| panic!("there is no {selector}")).trim().to_owned()
    }

    /// An attribute of the first element of this selector; `None` where either is missing.
    pub async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        let expression = format!("document.querySelector({})?.getAttribute({})", json!(selector), json!(name));
        self.ask(&expression).await.as_str().map(str::to_owned)
    }

    /// Clicks on the first element of this selector once it can be clicked on: it is to be seen, nothing covers it, and it
    /// is not disabled.
    ///
    /// # Panics
    /// It never can; the message has what the driver says.
    pub async fn click(&self, selector: &str) {
        let click = async || {
            let _front = self.front().await;
            let element = self.browser.driver.find(By::Css(selector)).await?;
            if element.is_enabled().await? { element.click().await.map(|()| true) } else { Ok(false) }
        };
        persist(&format!("{selector} can be clicked on"), click).await;
    }

    /// Types a text into a field, in the place of what was there.
    ///
    /// # Panics
    /// It cannot be typed into.
    pub async fn fill(&self, selector: &str, text: &str) {
        let fill = async || {
            let _front = self.front().await;
            let field = self.browser.driver.find(By::Css(selector)).await?;
            field.clear().await?;
            field.send_keys(text).await.map(|()| true)
        };
        persist(&format!("{selector} can be typed into"), fill).await;
    }

    /// Presses keys, as on a keyboard: they go to whatever has the focus.
    pub async fn press(&self, keys: impl Into<thirtyfour::TypingData>) {
        let _front = self.front().await;
        let pressed = self.browser.driver.action_chain().send_keys(keys).perform().await;
        pressed.expect("keys are pressed");
    }
}

/// Tries until it is done, as long as the page is still being made.
///
/// # Panics
/// It does not, or trying again is of no use.
async fn persist(what: &str, act: impl AsyncFn() -> WebDriverResult<bool>) {
    let last = RefCell::new(String::new());
    let done = async || match act().await {
        Ok(done) => done.then_some(()),
        Err(error) => {
            *last.borrow_mut() = error.to_string();
            match error.as_inner() {
                WebDriverErrorInner::NoSuchElement(_)
                | WebDriverErrorInner::StaleElementReference(_)
                | WebDriverErrorInner::ElementNotInteractable(_)
                | WebDriverErrorInner::ElementClickIntercepted(_)
                | WebDriverErrorInner::InvalidElementState(_) => None,
                _ => panic!("not {what}: {error}"),
            }
        }
    };
    tokio::select! {
        () = until(what, SOON * 2, done) => {}
        () = tokio::time::sleep(SOON) => panic!("waited {SOON:?} in vain until {what}: {}", last.borrow()),
    }
}
