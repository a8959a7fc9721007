//! `flashsale watch`: lines for programs, a picture for people, and the terminal as it was before.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::desk::{Desk, told};

#[tokio::test]
async fn without_a_terminal_each_second_is_a_line_of_json() {
    let desk = Desk::open().await;
    let sale = desk.open_sale("Lamp", 3).await;
    desk.open_sale("Sofa", 3).await;
    assert_eq!(desk.api.client.purchase(sale, "ann").await.outcome(), "SUCCESS");
    desk.stack.settled(&desk.api.client, sale).await;
    let lines = desk.table(&["watch", "Lamp", "--lines", "2"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert_eq!(line["sales"].as_array().unwrap().len(), 1, "{line}");
        assert_eq!((&line["sales"][0]["name"], &line["books"][0]["ok"]), (&"Lamp".into(), &true.into()), "{line}");
        assert!(line["processes"].is_array() && line["traffic"].is_array(), "{line}");
    }
    let (code, _, complaints) = desk.run(&["watch", "--url", "http://127.0.0.1:9"]);
    assert!(code == 1 && complaints.contains("no answer from"), "{complaints}");

    let mut child = desk.command(&["watch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let (code, _, complaints) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, complaints.as_str()), (0, ""), "it ends when its reader has gone");
    desk.close().await;
}

#[tokio::test]
async fn on_a_terminal_it_is_a_picture_that_leaves_nothing_behind() {
    let desk = Desk::open().await;
    desk.open_sale("Lamp", 3).await;
    for end in ["q", "\u{3}", "\u{1b}"] {
        let (code, shown) = desk.at_a_terminal("watch", "keeper", end);
        assert_eq!(code, 0, "{}", shown.escape_debug());
        let (enters, leaves) = (shown.find("\u{1b}[?1049h"), shown.rfind("\u{1b}[?1049l"));
        assert!(enters.is_some() && leaves > enters, "{}", shown.escape_debug());
        assert!(shown.contains("Lamp"), "{}", shown.escape_debug());
    }
    desk.close().await;
}
