//! Nothing but a token that was signed counts, and nothing makes the verifier panic.

use std::sync::LazyLock;

use identity::{Algorithm, Verifier};
use proptest::prelude::*;
use testkit::Issuer;

use crate::tokens::{all, verifier};

const NOW_MS: u64 = 1_763_000_000_000;

static ISSUERS: LazyLock<[(Algorithm, Issuer, Verifier); 3]> = LazyLock::new(|| {
    all().map(|(algorithm, issuer)| {
        let verifier = verifier(algorithm, &[&issuer]);
        (algorithm, issuer, verifier)
    })
});

proptest! {
    #[test]
    fn bytes_are_no_token(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for (_, _, verifier) in ISSUERS.iter() {
            prop_assert!(verifier.verify(&bytes, NOW_MS).is_err());
        }
    }

    #[test]
    fn three_parts_of_base64_are_no_token(parts in prop::collection::vec("[A-Za-z0-9_-]{0,60}", 0..5)) {
        for (_, _, verifier) in ISSUERS.iter() {
            prop_assert!(verifier.verify(parts.join(".").as_bytes(), NOW_MS).is_err());
        }
    }

    #[test]
    fn any_json_that_is_not_signed_is_no_token(header in ".{0,40}", claims in ".{0,80}", alg in "HS256|RS256|EdDSA|none") {
        let header = format!("{{\"alg\":\"{alg}\",\"kid\":{header:?}}}");
        let token = [header, claims, String::new()].map(testkit::encoded).join(".");
        for (_, _, verifier) in ISSUERS.iter() {
            prop_assert!(verifier.verify(token.as_bytes(), NOW_MS).is_err());
        }
    }

    #[test]
    fn a_token_with_one_byte_changed_is_no_token(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for (algorithm, issuer, verifier) in ISSUERS.iter() {
            let mut token = issuer.token("ann").into_bytes();
            let now_ms = boot::clock::now_ms();
            prop_assert!(verifier.verify(&token, now_ms).is_ok());
            let at = at.index(token.len());
            prop_assume!(token[at] != byte);
            token[at] = byte;
            prop_assert!(verifier.verify(&token, now_ms).is_err(), "{algorithm}: byte {at} is {byte}");
        }
    }
}
