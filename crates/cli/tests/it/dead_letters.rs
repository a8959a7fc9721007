//! `flashsale dead-letters`, before an API with letters that really were buried.

use std::process::Command;

use domain::{Applied, Epoch, Quantity, Reservation, ReservationBatch, ReservationId, SaleId};
use ledger::DeadLetter;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use testkit::{ADMIN_TOKEN, Api, Proxy, Stack, Wire};
use uuid::Uuid;

use crate::desk::{bare, told};

struct Desk {
    stack: Stack,
    api: Api,
    sale: SaleId,
}

impl Desk {
    async fn open() -> Self {
        let stack = Stack::new().await;
        let sale = stack.create_sale(10).await;
        stack.reconcile().await;
        let api = stack.api().await;
        Self { stack, api, sale }
    }

    /// Puts a reservation into the dead letters, for a reason that is gone by then. Returns the letter's id.
    async fn bury(&self, user: &str) -> String {
        let mut connection = self.stack.database.connect().await;
        let mut run = async |sql: &str| {
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        };
        let reservation = Reservation {
            id: ReservationId(Uuid::new_v4()),
            user_id: user.parse().unwrap(),
            quantity: Quantity::ONE,
            reserved_at: 1_763_000_000_123,
            outbox_id: None,
        };
        let terms = testkit::new_sale(1).terms;
        let batch = ReservationBatch { sale_id: self.sale, epoch: Epoch(1), terms, reservations: vec![reservation] };
        run("ALTER TABLE orders ADD CONSTRAINT nobody CHECK (false)").await;
        let applied = self.stack.ledger.persist(&batch, None).await.unwrap();
        assert_eq!(applied[0].1, Applied::Buried);
        run("ALTER TABLE orders DROP CONSTRAINT nobody").await;
        let id = "SELECT id FROM dead_letters WHERE user_id = $1";
        let id: Uuid = sqlx::query_scalar(id).bind(user).fetch_one(&mut connection).await.unwrap();
        id.to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(arguments);
        command.env("FLASHSALE_URL", self.api.client.url()).env("FLASHSALE_ADMIN_TOKEN", ADMIN_TOKEN);
        command
    }

    /// Runs a command to its end: its code, its output, its complaints.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        told(&self.command(arguments).output().unwrap())
    }

    async fn close(self) {
        drop(self.api);
        self.stack.close().await;
    }
}

#[tokio::test]
async fn letters_are_listed_in_columns_and_shown_whole() {
    let desk = Desk::open().await;
    assert_eq!(desk.run(&["dead-letters", "list"]), (0, "no dead letters\n".to_owned(), String::new()));
    let (ann, bob) = (desk.bury("ann").await, desk.bury("a buyer with a long name").await);
    let (code, table, complaints) = desk.run(&["dead-letters", "list", "--sale", &desk.sale.to_string()]);
    assert_eq!((code, complaints.as_str()), (0, ""));
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID ") && lines[0].ends_with("REASON"), "{table}");
    assert!(lines[1].starts_with(&ann) && lines[2].starts_with(&bob), "{table}");
    let columns: Vec<usize> = lines[1..].iter().map(|line| line.find("unresolved").unwrap()).collect();
    assert_eq!(columns, [lines[0].find("STATE").unwrap(); 2], "{table}");
    let elsewhere = desk.run(&["dead-letters", "list", "--sale", &Uuid::new_v4().to_string()]);
    assert_eq!(elsewhere.1, "no dead letters\n");

    let (code, shown, _) = desk.run(&["dead-letters", "show", &ann]);
    assert_eq!(code, 0);
    for part in [&format!("id       {ann}"), "state    unresolved", "user     ann", "\"userId\":\"ann\"", "(23514)"] {
        assert!(shown.contains(part), "no {part} in {shown}");
    }
    desk.close().await;
}

#[tokio::test]
async fn letters_are_redriven_and_discarded_one_by_one() {
    let desk = Desk::open().await;
    let (ann, bob, cid) = (desk.bury("ann").await, desk.bury("bob").await, desk.bury("cid").await);
    let done = format!("Dead letter {ann} has been redriven\nDead letter {bob} has been redriven\n");
    assert_eq!(desk.run(&["dead-letters", "redrive", &ann, &bob]), (0, done, String::new()));

    let (code, output, complaints) = desk.run(&["dead-letters", "discard", "--yes", &ann, &cid]);
    assert_eq!(code, 1, "one of them was resolved before");
    assert_eq!(output, format!("Dead letter {cid} has been discarded; units that go back on sale: 1\n"));
    let before = format!("error: {ann}: dead letter {ann} has been redriven before (DEAD_LETTER_RESOLVED)\n");
    assert_eq!(complaints, before);

    assert_eq!(desk.run(&["dead-letters", "list"]).1, "no dead letters\n");
    let (_, all, _) = desk.run(&["--output", "json", "dead-letters", "list", "--all"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    let resolutions: Vec<&str> =
        all["deadLetters"].as_array().unwrap().iter().map(|letter| letter["resolution"].as_str().unwrap()).collect();
    assert_eq!(resolutions, ["redriven", "redriven", "discarded"]);
    desk.close().await;
}

#[tokio::test]
async fn of_a_lost_answer_it_is_said_which_letter_it_was_and_which_were_not_tried() {
    let desk = Desk::open().await;
    let (ann, bob, cid) = (desk.bury("ann").await, desk.bury("bob").await, desk.bury("cid").await);
    let wire = Proxy::before(desk.api.client.url()).await;
    wire.set(Wire::CutAfter(1));
    let mut command = desk.command(&["dead-letters", "redrive", &ann, &bob, &cid]);
    command.env("FLASHSALE_URL", wire.url_of(desk.api.client.url()));
    let ended = tokio::task::spawn_blocking(move || told(&command.output().unwrap())).await.unwrap();
    let (code, output, complaints) = ended;
    assert_eq!((code, output), (1, format!("Dead letter {ann} has been redriven\n")), "{complaints}");
    let lines: Vec<&str> = complaints.lines().collect();
    assert!(lines[0].starts_with(&format!("error: {bob}: no answer from ")), "{complaints}");
    let unknown = format!("error: {bob}: not known whether it was done: see flashsale dead-letters show {bob}");
    assert_eq!(lines[1..], [unknown, format!("error: {cid}: not tried")], "{complaints}");
    desk.close().await;
}

#[tokio::test]
async fn what_a_buyer_or_a_message_says_reaches_the_terminal_spelled_out() {
    let desk = Desk::open().await;
    let body = "\"\u{202e}\u{9b}2J\u{7f}\"".as_bytes().to_vec();
    let letter = DeadLetter::unreadable(desk.sale, Epoch(1), "a \u{202e}reason\u{9b}".to_owned(), body);
    desk.stack.ledger.bury(&letter).await.unwrap();
    let (_, table, _) = desk.run(&["dead-letters", "list"]);
    assert!(table.contains("a \\u{202e}reason\\u{9b}"), "{table}");
    let id = table.lines().nth(1).unwrap().split(' ').next().unwrap();
    for output in ["table", "json"] {
        let (code, shown, _) = desk.run(&["--output", output, "dead-letters", "show", id]);
        assert_eq!(code, 0);
        assert!(!shown.contains(['\u{202e}', '\u{9b}', '\u{7f}']), "{}", shown.escape_debug());
        assert!(shown.contains("202e"), "{shown}");
    }
    desk.close().await;
}

#[tokio::test]
async fn a_list_is_complete_however_many_pages_it_takes() {
    let desk = Desk::open().await;
    for n in 0..=400u16 {
        let letter = DeadLetter::unreadable(desk.sale, Epoch(1), "no JSON".to_owned(), n.to_be_bytes().to_vec());
        desk.stack.ledger.bury(&letter).await.unwrap();
    }
    let (code, table, _) = desk.run(&["dead-letters", "list"]);
    assert_eq!((code, table.lines().count()), (0, 402));
    desk.close().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_what_to_do_and_exits_with_1_or_2() {
    let desk = Desk::open().await;
    let letter = desk.bury("ann").await;
    let id = Uuid::new_v4().to_string();
    let cases = [
        (desk.command(&["dead-letters", "show", &id]), 1, "there is no dead letter"),
        (desk.command(&["dead-letters", "show", "7"]), 2, "invalid value '7'"),
        (desk.command(&["dead-letters", "redrive"]), 2, "required"),
        (desk.command(&["dead-letters", "discard", &letter]), 2, "say --yes"),
        (
            desk.command(&["dead-letters", "list", "--url", "http://127.0.0.1:9"]),
            1,
            "no answer from http://127.0.0.1:9",
        ),
        (desk.command(&["dead-letters", "list", "--url", "https://localhost"]), 2, "only http://"),
        (desk.command(&["dead-letters", "list", "--url", "localhost"]), 2, "is no URL"),
        (bare(&["dead-letters", "list"]), 2, "set FLASHSALE_URL"),
        (bare(&["dead-letters", "list", "--url", "http://127.0.0.1:9"]), 2, "set FLASHSALE_ADMIN_TOKEN"),
    ];
    for (mut command, code, words) in cases {
        let (ended, output, complaints) = told(&command.output().unwrap());
        assert_eq!((ended, output.as_str()), (code, ""), "{command:?}: {complaints}");
        assert!(complaints.contains(words), "{command:?}: {complaints}");
    }
    let mut stranger = desk.command(&["dead-letters", "list"]);
    let (code, _, complaints) = told(&stranger.env("FLASHSALE_ADMIN_TOKEN", "another").output().unwrap());
    assert_eq!(code, 1);
    assert!(complaints.contains("does not take this operator's token"), "{complaints}");
    assert!(!complaints.contains("another"), "{complaints}");
    assert!(desk.run(&["dead-letters", "list"]).1.contains("unresolved"), "nothing was discarded");
    desk.close().await;
}
