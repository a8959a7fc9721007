//! Signatures as Standard Webhooks has them: <https://www.standardwebhooks.com>.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// The value of the header `webhook-signature`: one signature for each key, so that a receiver that knows one of them
/// accepts the event.
///
/// # Panics
/// Never: HMAC takes keys of any length.
pub(super) fn signature(keys: &[SecretSlice<u8>], id: &str, unix_seconds: u64, body: &str) -> String {
    let signed = format!("{id}.{unix_seconds}.{body}");
    let sign = |key: &SecretSlice<u8>| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).expect("a key of any length");
        mac.update(signed.as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    };
    keys.iter().map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification; and a second key, by `openssl dgst -sha256 -mac HMAC`.
    #[test]
    fn a_signature_is_what_the_specification_says() {
        let keys = [BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(), vec![0; 24]];
        let keys = keys.map(SecretSlice::from);
        let expected =
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,woH/1mJtZGSMCmpFTxRYbStS24eLLD/oXIYr4PYyZ7g=";
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        assert_eq!(signature(&keys, id, 1_614_265_330, r#"{"test": 2432232314}"#), expected);
    }
}
