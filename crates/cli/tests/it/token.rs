//! `flashsale token`: what it prints opens the shop's door, and only with the shop's secret.

use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use testkit::{Stack, TOKEN_SECRET};

const SECRET: &str = "FLASHSALE__AUTH__HS256_SECRET";

/// Runs `flashsale token` with these arguments and variables: its code, its output, its complaints.
fn token(arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flashsale"));
    command.env_clear().stdin(Stdio::null()).arg("token").args(arguments).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_printed_token_buys_for_the_user_it_names_until_it_expires() {
    let stack = Stack::new().await;
    let sale = stack.create_sale(2).await;
    stack.reconcile().await;
    let api = stack.api_with(&[("FLASHSALE__AUTH__MODE", "jwt"), (SECRET, TOKEN_SECRET)]).await;
    let worker = stack.persister();
    let buy = async |token: &str| {
        let request = api.client.request(Method::POST, "/api/v1/sale/purchase").bearer_auth(token);
        api.client.send(request.json(&json!({ "saleId": sale }))).await
    };

    let (code, printed, complaints) = token(&["--sub", "ann"], &[(SECRET, TOKEN_SECRET)]);
    assert_eq!((code, complaints.as_str()), (0, ""));
    let won = buy(printed.trim_end()).await;
    assert_eq!(won.outcome(), "SUCCESS", "{won:?}");
    let (_, printed, _) = token(&["--sub", "ann", "--seconds", "60", "--output", "json"], &[(SECRET, TOKEN_SECRET)]);
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&printed["tokenType"], &printed["expiresIn"]), (&json!("Bearer"), &json!(60)));
    let again = buy(printed["token"].as_str().unwrap()).await;
    assert_eq!((again.outcome(), again.order_id()), ("ALREADY_PURCHASED", won.order_id()));

    for (arguments, variables) in [
        (["--sub", "bob", "--issuer", "somebody"], [(SECRET, TOKEN_SECRET), ("", "")]),
        (["--sub", "bob", "--seconds", "9"], [(SECRET, TOKEN_SECRET), ("FLASHSALE__AUTH__AUDIENCE", "somebody")]),
        (["--sub", "bob", "--seconds", "9"], [(SECRET, "another-secret-of-more-than-32-bytes"), ("", "")]),
    ] {
        let variables: Vec<_> = variables.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        let (code, printed, _) = token(&arguments, &variables);
        assert_eq!(code, 0);
        assert_eq!(buy(printed.trim_end()).await.body["code"], "INVALID_TOKEN", "{arguments:?} {variables:?}");
    }
    stack.settled(&api.client, sale).await;
    worker.kill();
    drop(api);
    stack.close().await;
}

#[test]
fn what_is_missing_or_wrong_is_named_and_the_secret_is_not_shown() {
    let (planted, long) = ("planted-secret", "a".repeat(129));
    for (arguments, variables, word) in [
        (["--sub", "ann"], [("", "")], SECRET),
        (["--sub", "ann"], [(SECRET, planted)], "at least 32"),
        (["--sub", ""], [(SECRET, TOKEN_SECRET)], "--sub must not be empty"),
        (["--sub", &long], [(SECRET, TOKEN_SECRET)], "--sub must have at most 128"),
    ] {
        let variables: Vec<_> = variables.into_iter().filter(|(name, _)| !name.is_empty()).collect();
        let (code, printed, complaints) = token(&arguments, &variables);
        assert_eq!((code, printed.as_str()), (2, ""), "{complaints}");
        assert!(complaints.contains(word), "{word}: {complaints}");
        assert!(!complaints.contains(planted), "{complaints}");
    }
    assert_eq!(token(&[], &[(SECRET, TOKEN_SECRET)]).0, 2, "a token names somebody");
    assert_eq!(token(&["--sub", "ann", "--seconds", "0"], &[(SECRET, TOKEN_SECRET)]).0, 2);
}
