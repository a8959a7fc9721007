//! The header `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use std::borrow::Cow;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpRequest};

use crate::error::{Code, Problem};

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(super) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const LONGEST: usize = 255;

/// What the client calls this purchase, in this sale and of this buyer; `None` where it has no name for it.
#[derive(Debug, Eq, PartialEq)]
pub(in crate::routes) struct Key(pub(super) Option<String>);

impl FromRequest for Key {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mut given = request.headers().get_all(IDEMPOTENCY_KEY);
        ready(match (given.next(), given.next()) {
            (None, _) => Ok(Self(None)),
            (Some(only), None) => read(only).map(|key| Self(Some(key))),
            (Some(_), Some(_)) => Err(invalid("must be sent once")),
        })
    }
}

fn invalid(problem: &str) -> Problem {
    Problem::new(Code::InvalidIdempotencyKey, format!("Idempotency-Key {problem}"))
}

/// A string of a structured header, `"<key>"` with a backslash before each quote and backslash of the key, or the bare key,
/// which most clients send.
fn read(header: &HeaderValue) -> Result<String, Problem> {
    let text = header.to_str().map_err(|_| invalid("must be of visible ASCII characters"))?;
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquoted(quoted).ok_or_else(|| invalid("begins with a quote and is no quoted string"))?,
        None => Cow::Borrowed(text),
    };
    match key.len() {
        1..=LONGEST if key.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(key.into_owned()),
        0 => Err(invalid("must not be empty")),
        1..=LONGEST => Err(invalid("must be of visible ASCII characters, without blanks")),
        _ => Err(invalid("must have at most 255 characters")),
    }
}

/// What stands between the quotes; RFC 9651, section 4.2.5.
fn unquoted(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.strip_suffix('"')?;
    if !inner.contains(['"', '\\']) {
        return Some(Cow::Borrowed(inner));
    }
    let (mut key, mut rest) = (String::new(), inner.chars());
    while let Some(next) = rest.next() {
        key.push(match next {
            '\\' => rest.next().filter(|escaped| ['"', '\\'].contains(escaped))?,
            '"' => return None,
            plain => plain,
        });
    }
    Some(Cow::Owned(key))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn key(headers: &[&[u8]]) -> Result<Key, Code> {
        let add = |request: TestRequest, value: &&[u8]| {
            request.append_header((IDEMPOTENCY_KEY, HeaderValue::from_bytes(value).expect("fit for a header")))
        };
        let request = headers.iter().fold(TestRequest::default(), add).to_http_request();
        Key::from_request(&request, &mut Payload::None).into_inner().map_err(|problem| problem.code)
    }

    #[test]
    fn a_key_is_read_bare_and_as_a_string_of_a_structured_header_and_both_are_the_same_key() {
        let is = |text: &str| Ok(Key(Some(text.to_owned())));
        let longest = "k".repeat(255);
        assert_eq!(key(&[]), Ok(Key(None)));
        for (header, expected) in [
            ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ("\"8e03978e-40d5-43e8-bc93-6894a57f9324\"", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
            ("a", "a"),
            ("a\"b", "a\"b"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r"a\b", r"a\b"),
            (&longest, &longest),
            (&format!("\"{longest}\""), &longest),
        ] {
            assert_eq!(key(&[header.as_bytes()]), is(expected), "{header}");
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused_and_never_shortened_or_ignored() {
        let (long, long_quoted) = ("k".repeat(256), format!("\"{}\"", "k".repeat(256)));
        for header in [
            "",
            "\"",
            "\"\"",
            "\"a",
            "\"a\"b",
            "\"a\"b\"",
            "\"a\\\"",
            r#""a\b""#,
            "\"a\";p=1",
            "a b",
            "\"a b\"",
            "a\tb",
            "é",
            &long,
            &long_quoted,
        ] {
            assert_eq!(key(&[header.as_bytes()]), Err(Code::InvalidIdempotencyKey), "{header:?}");
        }
        assert_eq!(key(&[b"\xff"]), Err(Code::InvalidIdempotencyKey));
        assert_eq!(key(&[b"a", b"a"]), Err(Code::InvalidIdempotencyKey), "two are one too many");
    }
}
