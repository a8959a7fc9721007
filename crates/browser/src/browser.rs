//! A Chromium with a profile of its own.

use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Value, json};
use thirtyfour::{CapabilitiesHelper, ChromiumLikeCapabilities, DesiredCapabilities, WebDriver, WindowHandle};

use crate::complaints;
use crate::driver::Driver;
use crate::look::Look;
use crate::tab::Tab;

/// Chromium asks nobody for anything by itself, and takes nothing from this machine's user.
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--window-size=1280,800",
];

/// A browser. It ends with its handle; [`Browser::close`] ends it in good order, and must be called.
pub struct Browser {
    pub(crate) driver: WebDriver,
    /// The empty tab that it starts with.
    pub(crate) home: WindowHandle,
    /// The tab that the driver's commands go to. Held as long as a command takes.
    pub(crate) current: tokio::sync::Mutex<Option<WindowHandle>>,
    /// What the pages may complain of.
    expected: Mutex<Vec<String>>,
    /// Whom the pages have asked, as far as the driver has told.
    asked: Mutex<Vec<Value>>,
    /// Whom the pages may ask.
    origins: Mutex<Vec<String>>,
    closed: bool,
    /// Last: it ends the rest.
    process: Driver,
}

impl Browser {
    /// Starts one whose pages may ask the server at `origin` and nobody else.
    ///
    /// # Panics
    /// Chromium or its driver is not installed, or does not start.
    pub async fn start(origin: &str) -> Self {
        let process = Driver::start();
        let mut wishes = DesiredCapabilities::chrome();
        let profile = format!("--user-data-dir={}", process.dir().join("profile").display());
        // Its sandbox refuses to work for root.
        let sandbox = rustix::process::geteuid().is_root().then_some("--no-sandbox");
        for flag in FLAGS.into_iter().chain([profile.as_str()]).chain(sandbox) {
            wishes.add_arg(flag).expect("a flag");
        }
        wishes.set("goog:loggingPrefs", json!({ "browser": "ALL", "performance": "ALL" })).expect("a wish");
        let driver = WebDriver::new(&process.url, wishes).await.expect("Chromium starts");
        // The driver's process is ended by us, and its sessions with it.
        driver.clone().leak().expect("a new session");
        let home = driver.window().await.expect("its first tab");
        let origins = Mutex::new(vec![origin.to_owned()]);
        let (current, expected, asked) = Default::default();
        Self { driver, home, current, expected, asked, origins, closed: false, process }
    }

    /// A new tab with this page, on a laptop's screen in light mode.
    ///
    /// # Panics
    /// The page cannot be opened.
    pub async fn open(&self, url: &str) -> Tab<'_> {
        let tab = self.tab(Look::DESKTOP).await;
        tab.goto(url).await;
        tab
    }

    /// A new, empty tab on this screen.
    ///
    /// # Panics
    /// The browser has ended.
    pub async fn tab(&self, look: Look) -> Tab<'_> {
        let handle = {
            let _held = self.current.lock().await;
            // In a window of its own: what lies behind another tab is hidden, and a hidden page saves its strength.
            self.driver.new_window().await.expect("a new window")
        };
        let tab = Tab::new(self, handle);
        tab.look(look).await;
        tab
    }

    /// The folder that everything of it works in.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.process.dir().to_owned()
    }

    /// From now on pages may complain of what contains this text: a test breaks something on purpose.
    ///
    /// # Panics
    /// Never.
    pub fn expect(&self, complaint: &str) {
        self.expected.lock().expect("nothing panics with it").push(complaint.to_owned());
    }

    /// Pages may ask this server too.
    ///
    /// # Panics
    /// Never.
    pub fn allow(&self, origin: &str) {
        self.origins.lock().expect("nothing panics with it").push(origin.to_owned());
    }

    /// Every request of its pages so far whose URL contains `part`: `{url, method, headers, ...}`.
    ///
    /// # Panics
    /// The browser has ended.
    pub async fn requests(&self, part: &str) -> Vec<Value> {
        let new = complaints::requests(&self.driver).await;
        let mut all = self.asked.lock().expect("nothing panics with it");
        all.extend(new);
        all.iter().filter(|request| complaints::url(request).contains(part)).cloned().collect()
    }

    /// Ends it.
    ///
    /// # Panics
    /// A page has logged an error or a warning that was not expected, violated its policy, or asked a stranger.
    pub async fn close(mut self) {
        self.closed = true;
        let _held = self.current.lock().await;
        let expected = self.expected.lock().expect("nothing panics with it").clone();
        let origins = self.origins.lock().expect("nothing panics with it").clone();
        let mut complaints = complaints::of(&self.driver, &expected).await;
        for request in self.requests("").await {
            let url = complaints::url(&request);
            if !origins.iter().any(|origin| complaints::is_of(url, origin)) {
                complaints.push(format!("asked for {url}"));
            }
        }
        assert!(complaints.is_empty(), "pages have complained:\n{}", complaints.join("\n"));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Nobody has looked at what its pages complained of.
        assert!(self.closed || std::thread::panicking(), "a browser is ended with close()");
    }
}
