//! Every reason for which a token does not count, for each algorithm.

use std::path::PathBuf;

use domain::InvalidUserId;
use identity::{Algorithm, Config, Mint, Mode, Refusal, Verifier};
use serde_json::{Value, json};
use testkit::{Issuer, TOKEN_SECRET, encoded, jwks};

/// The settings' defaults, with tokens.
pub(crate) fn config(algorithm: Algorithm) -> Config {
    Config {
        mode: Mode::Jwt,
        algorithm,
        hs256_secret: TOKEN_SECRET.into(),
        jwks: "https://nobody.example/keys".to_owned(),
        jwks_refresh_seconds: 300,
        issuer: "flashsale".to_owned(),
        audience: "flashsale".to_owned(),
        leeway_seconds: 30,
        accounts: false,
        token_seconds: 3_600,
    }
}

/// A verifier of this algorithm that knows the keys of these issuers.
pub(crate) fn verifier(algorithm: Algorithm, issuers: &[&Issuer]) -> Verifier {
    let verifier = Verifier::new(&config(algorithm)).unwrap();
    if algorithm != Algorithm::HS256 {
        verifier.replace_keys(jwks(issuers.iter().copied()).as_bytes()).unwrap();
    }
    verifier
}

pub(crate) fn all() -> [(Algorithm, Issuer); 3] {
    [
        (Algorithm::HS256, Issuer::hs256(TOKEN_SECRET.as_bytes())),
        (Algorithm::RS256, Issuer::rs256("rsa-1")),
        (Algorithm::EdDsa, Issuer::eddsa("ed-1")),
    ]
}

pub(crate) fn verify(verifier: &Verifier, token: &str) -> Result<String, Refusal> {
    verifier.verify(token.as_bytes(), boot::clock::now_ms()).map(String::from)
}

#[test]
fn a_token_counts_with_the_claims_of_the_settings_and_one_algorithm_only() {
    for (algorithm, issuer) in all() {
        let verifier = verifier(algorithm, &[&issuer]);
        assert_eq!(verify(&verifier, &issuer.token("ann")), Ok("ann".to_owned()), "{algorithm}");
        let mut claims = issuer.claims("ann");
        claims["aud"] = json!(["somebody", "flashsale"]);
        claims["anything"] = json!({ "else": [1, null] });
        assert_eq!(verify(&verifier, &issuer.sign(&claims)), Ok("ann".to_owned()), "{algorithm}");
        for (other, foreign) in all().iter().filter(|(other, _)| *other != algorithm) {
            let refused = verify(&verifier, &foreign.token("ann"));
            assert_eq!(refused, Err(Refusal::Algorithm(algorithm)), "{other} where {algorithm} is set");
        }
    }
}

#[test]
fn a_claim_that_is_missing_wrong_or_of_another_type_is_refused() {
    let unusable = |field: &'static str| [(field, Value::Null, Refusal::Missing(field))];
    for (algorithm, issuer) in all() {
        let verifier = verifier(algorithm, &[&issuer]);
        let wrong = [
            ("iss", json!("somebody"), Refusal::Issuer),
            ("iss", json!(7), Refusal::Missing("iss")),
            ("aud", json!("somebody"), Refusal::Audience),
            ("aud", json!(["somebody", "else"]), Refusal::Audience),
            ("aud", json!([]), Refusal::Audience),
            ("aud", json!("flashsale "), Refusal::Audience),
            ("sub", json!(7), Refusal::Malformed),
            ("sub", json!(""), Refusal::Subject(InvalidUserId::Empty)),
            ("sub", json!("a\u{0}"), Refusal::Subject(InvalidUserId::ControlCharacter)),
            ("sub", json!("a".repeat(129)), Refusal::Subject(InvalidUserId::TooLong)),
            ("exp", json!("9999999999"), Refusal::Malformed),
            ("exp", json!(0), Refusal::Expired),
            ("exp", json!(-1), Refusal::Expired),
            ("nbf", json!("soon"), Refusal::Malformed),
            ("nbf", json!(9_999_999_999_u64), Refusal::NotYetValid),
        ];
        let missing = ["iss", "aud", "sub", "exp"].into_iter().flat_map(unusable);
        for (field, value, refusal) in wrong.into_iter().chain(missing) {
            let mut claims = issuer.claims("ann");
            claims[field] = value.clone();
            assert_eq!(verify(&verifier, &issuer.sign(&claims)), Err(refusal), "{algorithm}: {field} = {value}");
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(field);
                assert_eq!(verify(&verifier, &issuer.sign(&claims)), Err(refusal), "{algorithm}: no {field}");
            }
        }
    }
}

#[test]
fn a_token_expires_and_begins_to_count_at_its_second_give_or_take_the_leeway() {
    let issuer = Issuer::hs256(TOKEN_SECRET.as_bytes());
    let verifier = verifier(Algorithm::HS256, &[]);
    let at = |claims: &Value, ms| verifier.verify(issuer.sign(claims).as_bytes(), ms).map(String::from);
    let mut claims = issuer.claims("ann");
    claims["exp"] = json!(10_000);
    assert_eq!(at(&claims, 10_029_999), Ok("ann".to_owned()));
    assert_eq!(at(&claims, 10_030_000), Err(Refusal::Expired));
    claims["exp"] = json!(10_000.5);
    assert_eq!(at(&claims, 10_030_499), Ok("ann".to_owned()));
    assert_eq!(at(&claims, 10_030_500), Err(Refusal::Expired));
    claims["nbf"] = json!(9_000);
    assert_eq!(at(&claims, 8_970_000), Ok("ann".to_owned()));
    assert_eq!(at(&claims, 8_969_999), Err(Refusal::NotYetValid));
}

#[test]
fn a_signature_of_another_key_and_one_of_other_words_are_refused() {
    let others = [Issuer::hs256(&[7; 32]), Issuer::rs256("rsa-1"), Issuer::eddsa("ed-1")];
    for ((algorithm, issuer), other) in all().into_iter().zip(others) {
        let verifier = verifier(algorithm, &[&issuer]);
        assert_eq!(verify(&verifier, &other.token("ann")), Err(Refusal::Signature), "{algorithm}");
        let (ann, bob) = (issuer.token("ann"), issuer.token("bob"));
        let (words, _) = ann.rsplit_once('.').unwrap();
        let (_, signature) = bob.rsplit_once('.').unwrap();
        for token in [format!("{words}.{signature}"), format!("{words}."), format!("{words}.{}", encoded([0; 64]))] {
            assert_eq!(verify(&verifier, &token), Err(Refusal::Signature), "{algorithm}");
        }
    }
}

#[test]
fn no_algorithm_at_all_is_refused_however_it_is_written() {
    for (algorithm, issuer) in all() {
        let verifier = verifier(algorithm, &[&issuer]);
        for none in ["none", "None", "NONE", "nOnE", "", "HS257"] {
            let header = json!({ "alg": none, "typ": "JWT", "kid": issuer.key_id() });
            let signed = issuer.sign_with(&header, &issuer.claims("ann"));
            let (unsigned, _) = signed.rsplit_once('.').unwrap();
            for token in [signed.clone(), format!("{unsigned}."), unsigned.to_owned()] {
                assert_eq!(verify(&verifier, &token), Err(Refusal::Malformed), "{algorithm}: {none}");
            }
        }
        let headless = issuer.sign_with(&json!({ "typ": "JWT" }), &issuer.claims("ann"));
        assert_eq!(verify(&verifier, &headless), Err(Refusal::Malformed));
    }
}

#[test]
fn a_public_key_is_no_secret_to_sign_with() {
    for (algorithm, issuer) in all().into_iter().skip(1) {
        let verifier = verifier(algorithm, &[&issuer]);
        let jwk = issuer.jwk();
        let numbers = ["n", "x"].into_iter().filter_map(|field| jwk[field].as_str());
        let mut secrets: Vec<Vec<u8>> = numbers.map(|text| text.as_bytes().to_vec()).collect();
        secrets.extend([issuer.public_key(), jwk.to_string().into_bytes(), jwks([&issuer]).into_bytes()]);
        for secret in secrets {
            let confused = Issuer::hs256(&secret).named(issuer.key_id());
            assert_eq!(verify(&verifier, &confused.token("ann")), Err(Refusal::Algorithm(algorithm)));
            // The same under the name of the algorithm that is set.
            let header = json!({ "alg": algorithm.to_string(), "kid": issuer.key_id() });
            let token = confused.sign_with(&header, &confused.claims("ann"));
            assert_eq!(verify(&verifier, &token), Err(Refusal::Signature));
        }
    }
}

#[test]
fn a_key_that_comes_with_the_token_is_not_looked_at() {
    for ((algorithm, issuer), thief) in all().into_iter().skip(1).zip([Issuer::rs256("rsa-1"), Issuer::eddsa("ed-1")]) {
        let verifier = verifier(algorithm, &[&issuer]);
        let mut header = json!({ "alg": algorithm.to_string(), "kid": issuer.key_id(), "jwk": thief.jwk() });
        assert_eq!(verify(&verifier, &thief.sign_with(&header, &thief.claims("ann"))), Err(Refusal::Signature));
        header["jku"] = json!("http://127.0.0.1:9/keys");
        assert_eq!(verify(&verifier, &thief.sign_with(&header, &thief.claims("ann"))), Err(Refusal::Signature));
        let header = json!({ "alg": algorithm.to_string(), "kid": issuer.key_id(), "crit": ["b64"], "b64": true });
        assert_eq!(verify(&verifier, &issuer.sign_with(&header, &issuer.claims("ann"))), Err(Refusal::Critical));
    }
}

#[test]
fn the_mint_makes_tokens_that_count_until_they_expire() {
    let verifier = verifier(Algorithm::HS256, &[]);
    let mint = Mint::of(&config(Algorithm::HS256)).unwrap();
    let now_ms = 1_763_000_000_000;
    let (first, second) = (mint.mint("ann", now_ms), mint.mint("ann", now_ms));
    assert_ne!(first.token, second.token, "each has an id of its own");
    assert_eq!(first.expires_in, 3_600);
    let at = |ms| verifier.verify(first.token.as_bytes(), ms).map(String::from);
    assert_eq!(at(now_ms), Ok("ann".to_owned()));
    assert_eq!(at(now_ms + 3_629_999), Ok("ann".to_owned()));
    assert_eq!(at(now_ms + 3_630_000), Err(Refusal::Expired));
}

#[test]
fn a_file_of_keys_is_read_at_the_start() {
    let issuer = Issuer::rs256("rsa-1");
    let folder: PathBuf = std::env::temp_dir();
    let path = folder.join(format!("keys-{}.json", std::process::id()));
    std::fs::write(&path, jwks([&issuer])).unwrap();
    let file = Config { jwks: path.to_str().unwrap().to_owned(), ..config(Algorithm::RS256) };
    let verifier = Verifier::new(&file);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(verify(&verifier.unwrap(), &issuer.token("ann")), Ok("ann".to_owned()));
}
