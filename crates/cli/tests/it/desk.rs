//! An operator's desk: the program, an API, and workers behind it.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use domain::SaleId;
use serde_json::Value;
use testkit::{ADMIN_TOKEN, Api, Own, Process, Stack, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A whole system and somebody who types.
pub(crate) struct Desk {
    pub(crate) stack: Stack,
    pub(crate) api: Api,
    pub(crate) workers: Vec<Process>,
}

impl Desk {
    /// With a persister and a keeper.
    pub(crate) async fn open() -> Self {
        Self::with(Own::NONE, &[]).await
    }

    /// With servers of its own, and other settings.
    pub(crate) async fn with(own: Own, changes: &[(&str, &str)]) -> Self {
        let stack = Stack::with_own(own).await;
        stack.reconcile().await;
        let api = stack.api_with(changes).await;
        let workers =
            ["flashsale-persister", "flashsale-keeper"].map(|name| stack.start_with(name, &[], changes)).into();
        Self { stack, api, workers }
    }

    /// A command that knows the API and the operator's token, and nothing else.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.env("FLASHSALE_URL", self.api.client.url()).env("FLASHSALE_ADMIN_TOKEN", ADMIN_TOKEN);
        command
    }

    /// Runs a command to its end: its code, its output, its complaints.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        told(&self.command(arguments).output().unwrap())
    }

    /// What a command that succeeds prints.
    pub(crate) fn table(&self, arguments: &[&str]) -> String {
        let (code, output, complaints) = self.run(arguments);
        assert_eq!((code, complaints.as_str()), (0, ""), "{arguments:?}: {output}");
        output
    }

    /// The same as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.table(&[&["--output", "json"], arguments].concat())).unwrap()
    }

    /// A sale of these units that sells.
    pub(crate) async fn open_sale(&self, name: &str, stock: u32) -> SaleId {
        let sale = ledger::NewSale { name: name.to_owned(), ..testkit::new_sale(stock) };
        self.stack.create(&sale).await;
        self.sells(sale.id).await;
        sale.id
    }

    /// Waits until a sale sells.
    pub(crate) async fn sells(&self, sale: SaleId) {
        let sells = async || (self.api.client.status(sale).await.body["saleActive"] == true).then_some(());
        until("the sale sells", PATIENCE, sells).await;
    }

    /// Runs a command at a terminal where this is typed as soon as `cue` is shown: its code, and everything shown.
    pub(crate) fn at_a_terminal(&self, arguments: &str, cue: &str, typed: &str) -> (i32, String) {
        let line = format!("stty rows 24 cols 80; exec {} {arguments}", env!("CARGO_BIN_EXE_flashsale"));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        script.env("FLASHSALE_URL", self.api.client.url()).env("FLASHSALE_ADMIN_TOKEN", ADMIN_TOKEN);
        script.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut keyboard, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut shown, mut piece, mut is_typed) = (Vec::new(), [0; 4096], false);
        loop {
            let read = screen.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            shown.extend_from_slice(&piece[..read]);
            if !is_typed && String::from_utf8_lossy(&shown).contains(cue) {
                keyboard.write_all(typed.as_bytes()).unwrap();
                is_typed = true;
            }
        }
        (child.wait().unwrap().code().unwrap(), String::from_utf8_lossy(&shown).into_owned())
    }

    /// Waits until the books of every sale are settled, and goes home.
    pub(crate) async fn close(self) {
        for sale in self.stack.ledger.sales().await.unwrap() {
            self.stack.settled(&self.api.client, sale.id).await;
        }
        self.close_unsettled().await;
    }

    /// The same where a test has broken the books on purpose.
    pub(crate) async fn close_unsettled(self) {
        for worker in self.workers {
            worker.stop().await;
        }
        drop(self.api);
        self.stack.close().await;
    }
}

/// The program without a word about where the API is.
pub(crate) fn bare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashsale"));
    command.env_clear().stdin(Stdio::null()).args(arguments);
    command
}

/// Its code, its output, its complaints.
pub(crate) fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}
