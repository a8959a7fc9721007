//! Sets of keys: which of them are used for what.

use identity::{Algorithm, Refusal};
use serde_json::{Value, json};
use testkit::{Issuer, jwks};

use crate::tokens::{config, verifier, verify};

/// An RS256 token where no keys have come.
fn refused(algorithm: Algorithm) -> Refusal {
    if algorithm == Algorithm::RS256 { Refusal::NoKeys } else { Refusal::Algorithm(algorithm) }
}

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

#[test]
fn a_token_names_its_key_and_may_leave_that_out_where_there_is_only_one() {
    let (first, second) = (Issuer::eddsa("one"), Issuer::eddsa("two"));
    let both = verifier(Algorithm::EdDsa, &[&first, &second]);
    let only = verifier(Algorithm::EdDsa, &[&first]);
    for issuer in [&first, &second] {
        assert_eq!(verify(&both, &issuer.token("ann")), Ok("ann".to_owned()));
    }
    assert_eq!(verify(&only, &second.token("ann")), Err(Refusal::UnknownKey));
    let second = second.named(Some("one"));
    assert_eq!(verify(&both, &second.token("ann")), Err(Refusal::Signature), "the key it names counts");
    let first = first.named(None);
    assert_eq!(verify(&only, &first.token("ann")), Ok("ann".to_owned()));
    assert_eq!(verify(&both, &first.token("ann")), Err(Refusal::UnknownKey));
    let nameless = verifier(Algorithm::EdDsa, &[&first]);
    let first = first.named(Some("whatever"));
    assert_eq!(verify(&nameless, &first.token("ann")), Ok("ann".to_owned()));
}

#[test]
fn a_new_set_takes_the_place_of_the_old_one_and_a_bad_one_does_not() {
    let (old, new) = (Issuer::rs256("old"), Issuer::rs256("new"));
    let verifier = verifier(Algorithm::RS256, &[&old]);
    for bad in ["", "[]", "{}", "{\"keys\": []}", "<html>", "{\"keys\": [7, {}, {\"kty\": \"RSA\"}]}"] {
        assert!(verifier.replace_keys(bad.as_bytes()).is_err(), "{bad}");
    }
    assert_eq!(verify(&verifier, &old.token("ann")), Ok("ann".to_owned()));
    verifier.replace_keys(jwks([&new]).as_bytes()).unwrap();
    assert_eq!(verify(&verifier, &new.token("ann")), Ok("ann".to_owned()));
    assert_eq!(verify(&verifier, &old.token("ann")), Err(Refusal::UnknownKey));
}

#[test]
fn keys_for_other_purposes_are_passed_over_and_symmetric_ones_never_count() {
    let (rsa, ed) = (Issuer::rs256("rsa-1"), Issuer::eddsa("ed-1"));
    let with = |jwk: Value, field: &str, value: &str| {
        let mut jwk = jwk;
        jwk[field] = value.into();
        jwk
    };
    let secret = json!({ "kty": "oct", "kid": "rsa-1", "alg": "HS256", "k": testkit::encoded([7; 32]) });
    let later = json!({ "kty": "AKP", "alg": "ML-DSA-44", "kid": "pq", "pub": "AA" });
    let for_encryption = with(rsa.jwk(), "use", "enc");
    let for_another = with(rsa.jwk(), "alg", "RS512");
    let agreement = with(ed.jwk(), "crv", "X25519");
    for (algorithm, useless) in [
        (Algorithm::RS256, &secret),
        (Algorithm::RS256, &later),
        (Algorithm::RS256, &for_encryption),
        (Algorithm::RS256, &for_another),
        (Algorithm::RS256, &ed.jwk()),
        (Algorithm::EdDsa, &rsa.jwk()),
        (Algorithm::EdDsa, &agreement),
    ] {
        let verifier = identity::Verifier::new(&config(algorithm)).unwrap();
        assert!(verifier.replace_keys(&set(std::slice::from_ref(useless))).is_err(), "{useless}");
        assert_eq!(verify(&verifier, &rsa.token("ann")), Err(refused(algorithm)));
    }
    let verifier = verifier(Algorithm::RS256, &[&rsa]);
    let all = [secret, later, for_encryption, ed.jwk(), rsa.jwk()];
    verifier.replace_keys(&set(&all)).unwrap();
    assert_eq!(verify(&verifier, &rsa.token("ann")), Ok("ann".to_owned()));
    let forged = Issuer::hs256(&[7; 32]).named(Some("rsa-1"));
    assert_eq!(verify(&verifier, &forged.token("ann")), Err(Refusal::Algorithm(Algorithm::RS256)));
}

#[test]
fn as_long_as_no_keys_have_come_nothing_is_decided() {
    let issuer = Issuer::eddsa("ed-1");
    let verifier = identity::Verifier::new(&config(Algorithm::EdDsa)).unwrap();
    assert_eq!(verify(&verifier, &issuer.token("ann")), Err(Refusal::NoKeys));
}
