//! A webhook's signature, as Stripe makes it: `t=<Unix seconds>,v1=<HMAC-SHA256 of "<t>.<body>" in hex>`. While a secret
//! is being replaced there are several `v1`, one for each. <https://docs.stripe.com/webhooks#verify-manually>

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::WebhookError;

/// By how much a signature's time may differ from ours, either way, in seconds: older ones are somebody's replay.
const TOLERANCE_SECONDS: u64 = 300;
/// Signatures that are looked at: a header of thousands must not make us compute thousands.
const MOST_SIGNATURES: usize = 8;

fn mac(secret: &SecretString, time: &[u8], body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("a key of any length");
    mac.update(time);
    mac.update(b".");
    mac.update(body);
    mac
}

/// The header for a body that is sent at `now` (Unix time, seconds).
#[must_use]
pub fn sign(secret: &SecretString, body: &[u8], now: u64) -> String {
    let signature = mac(secret, now.to_string().as_bytes(), body).finalize().into_bytes();
    let mut header = format!("t={now},v1=");
    for byte in signature {
        let _ = write!(header, "{byte:02x}");
    }
    header
}

/// Whether `header` is a signature of `body` that was made around `now` (Unix time, seconds). Takes as long for a near
/// miss as for a far one.
pub(crate) fn check(secret: &SecretString, header: Option<&[u8]>, body: &[u8], now: u64) -> Result<(), WebhookError> {
    let header = header.ok_or(WebhookError::Signature("there is no header Stripe-Signature"))?;
    let malformed = WebhookError::Signature("the header Stripe-Signature must be t=<Unix seconds>,v1=<hex>");
    let header = str::from_utf8(header).map_err(|_| malformed.clone())?;
    let fields = || header.split(',').filter_map(|field| field.split_once('='));
    let mut times = fields().filter(|(name, _)| *name == "t").map(|(_, time)| time);
    let (Some(time), None) = (times.next(), times.next()) else { return Err(malformed) };
    let signed_at: u64 = time.parse().map_err(|_| malformed.clone())?;
    let signatures: Vec<Vec<u8>> =
        fields().filter(|(name, _)| *name == "v1").take(MOST_SIGNATURES).filter_map(|(_, hex)| bytes(hex)).collect();
    if signatures.is_empty() {
        return Err(malformed);
    }
    let mac = mac(secret, time.as_bytes(), body);
    if !signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok()) {
        return Err(WebhookError::Signature("the signature is not of this body under the shop's secret"));
    }
    if signed_at.abs_diff(now) > TOLERANCE_SECONDS {
        return Err(WebhookError::Signature("the signature was made more than 5 minutes from now"));
    }
    Ok(())
}

/// The bytes that 64 hexadecimal digits stand for.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = hex.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect::<Option<_>>()?;
    (digits.len() == 64).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const NOW: u64 = 1_763_700_000;

    fn secret() -> SecretString {
        SecretString::from("whsec_of_a_unit_test")
    }

    fn checked(header: &str, body: &[u8], now: u64) -> Result<(), WebhookError> {
        check(&secret(), Some(header.as_bytes()), body, now)
    }

    #[test]
    fn the_signature_is_the_one_that_openssl_makes() {
        // printf '%s' '1763700000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_of_a_unit_test
        let hex = "8467d740824e80c950e3a82042e85c63547548694a831ab30d873493401c57e2";
        assert_eq!(sign(&secret(), BODY, NOW), format!("t={NOW},v1={hex}"));
    }

    #[test]
    fn only_the_right_secret_over_these_very_bytes_within_five_minutes_is_believed() {
        let good = sign(&secret(), BODY, NOW);
        for now in [NOW - 300, NOW, NOW + 300] {
            assert_eq!(checked(&good, BODY, now), Ok(()));
        }
        for now in [NOW - 301, NOW + 301, 0, u64::MAX] {
            assert!(checked(&good, BODY, now).is_err(), "{now}");
        }
        assert!(checked(&good, br#"{"id":"evt_2"}"#, NOW).is_err());
        assert!(checked(&good, b"", NOW).is_err());
        assert!(checked(&sign(&SecretString::from("another"), BODY, NOW), BODY, NOW).is_err());
        assert!(checked(&good.replace(&NOW.to_string(), &(NOW + 1).to_string()), BODY, NOW).is_err());
    }

    #[test]
    fn while_a_secret_is_replaced_one_of_several_signatures_is_enough() {
        let good = sign(&secret(), BODY, NOW);
        let (_, hex) = good.split_once("v1=").unwrap();
        let other = "0".repeat(64);
        assert_eq!(checked(&format!("t={NOW},v1={other},v1={hex},v0=x"), BODY, NOW), Ok(()));
        let too_late = format!("t={NOW},{}v1={hex}", format!("v1={other},").repeat(MOST_SIGNATURES));
        assert!(checked(&too_late, BODY, NOW).is_err());
    }

    #[test]
    fn a_header_of_another_form_is_refused() {
        let good = sign(&secret(), BODY, NOW);
        let (time, signature) = good.split_once(',').unwrap();
        for header in
            ["", "t=", time, signature, "t=x,v1=y", &format!("{time},{good}"), &good[..good.len() - 1], &good[..20]]
        {
            assert!(checked(header, BODY, NOW).is_err(), "{header}");
        }
        assert!(check(&secret(), Some(b"\xff"), BODY, NOW).is_err());
        assert!(check(&secret(), None, BODY, NOW).is_err());
    }
}
