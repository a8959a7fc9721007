//! Answers that stay the same as long as the process runs: pages, scripts, documents.

use std::io::Read;

use actix_web::http::header::{
    ACCEPT_ENCODING, AcceptEncoding, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    Encoding, EntityTag, Header, HeaderValue, IfNoneMatch, REFERRER_POLICY, VARY,
};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use sha2::{Digest, Sha256};

/// An answer that stays the same, with its tag, plain and compressed.
pub(crate) struct Fixed {
    kind: &'static str,
    policy: HeaderValue,
    plain: Form,
    /// `None` where compressing it gains nothing.
    gzipped: Option<Form>,
}

/// What goes over the wire, under a tag of its own: a strong tag names these very bytes.
struct Form {
    bytes: Bytes,
    tag: EntityTag,
}

impl Fixed {
    /// An answer of this content type, which a browser holds to this policy (CSP).
    ///
    /// # Panics
    /// The policy cannot be a header.
    pub(crate) fn new(kind: &'static str, policy: &str, bytes: impl Into<Bytes>) -> Self {
        let plain = Form::new(bytes.into());
        let mut gzipped = Vec::new();
        GzEncoder::new(&plain.bytes[..], Compression::best())
            .read_to_end(&mut gzipped)
            .expect("bytes in memory can be compressed");
        let gzipped = (gzipped.len() < plain.bytes.len()).then(|| Form::new(gzipped.into()));
        let policy = HeaderValue::from_str(policy).expect("a policy of visible characters");
        Self { kind, policy, plain, gzipped }
    }

    /// [`Fixed::new`] of what is compressed already.
    ///
    /// # Panics
    /// It is not.
    pub(crate) fn of_gzipped(kind: &'static str, policy: &str, gzipped: &[u8]) -> Self {
        let mut bytes = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut bytes).expect("a whole gzip file");
        Self::new(kind, policy, bytes)
    }

    /// The whole of it, or 304 where the client has it already.
    pub(crate) fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let form = self.gzipped.as_ref().filter(|_| takes_gzip(request)).unwrap_or(&self.plain);
        let is_known = match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&form.tag)),
            Err(_) => false,
        };
        let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        // Asked each time, told in a few bytes: after an upgrade nobody reads the old one.
        response.insert_header((ETAG, form.tag.clone())).insert_header((CACHE_CONTROL, "no-cache"));
        if self.gzipped.is_some() {
            response.insert_header((VARY, ACCEPT_ENCODING.as_str()));
        }
        if is_known {
            return response.finish();
        }
        response
            .insert_header((CONTENT_TYPE, self.kind))
            .insert_header((CONTENT_SECURITY_POLICY, self.policy.clone()))
            .insert_header((REFERRER_POLICY, "no-referrer"));
        if !std::ptr::eq(form, &self.plain) {
            response.insert_header((CONTENT_ENCODING, "gzip"));
        }
        response.body(form.bytes.clone())
    }
}

impl Form {
    fn new(bytes: Bytes) -> Self {
        let digest = Sha256::digest(&bytes);
        let tag = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { bytes, tag: EntityTag::new_strong(tag) }
    }
}

/// Whether the client says that it understands gzip. One that says nothing gets what everybody understands.
fn takes_gzip(request: &HttpRequest) -> bool {
    let says_so = request.headers().contains_key(ACCEPT_ENCODING);
    let accepted = AcceptEncoding::parse(request).ok().filter(|_| says_so);
    accepted.is_some_and(|accepted| {
        accepted.negotiate([Encoding::gzip(), Encoding::identity()].iter()) == Some(Encoding::gzip())
    })
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn asked_with(fixed: &Fixed, header: Option<(&'static str, &str)>) -> HttpResponse {
        let mut request = TestRequest::get();
        if let Some(header) = header {
            request = request.insert_header(header);
        }
        fixed.answer(&request.to_http_request())
    }

    #[test]
    fn it_is_compressed_for_those_only_who_understand_it() {
        let fixed = Fixed::new("text/plain", "default-src 'none'", "a".repeat(1_000));
        for (accepts, encoding) in [
            (None, None),
            (Some("gzip, deflate, br"), Some("gzip")),
            (Some("br"), None),
            (Some("identity"), None),
            (Some("gzip;q=0"), None),
            (Some("*"), None),
        ] {
            let answer = asked_with(&fixed, accepts.map(|accepts| ("accept-encoding", accepts)));
            let said = answer.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap());
            assert_eq!(said, encoding, "{accepts:?}");
            assert_eq!(answer.headers().get(VARY).unwrap(), "accept-encoding");
        }
    }

    #[test]
    fn who_has_it_already_is_told_so_and_what_does_not_shrink_stays_as_it_is() {
        let fixed = Fixed::new("text/plain", "default-src 'none'", "ab");
        let answer = asked_with(&fixed, Some(("accept-encoding", "gzip")));
        assert!(answer.headers().get(CONTENT_ENCODING).is_none());
        let tag = answer.headers().get(ETAG).unwrap().to_str().unwrap();
        assert_eq!(asked_with(&fixed, Some(("if-none-match", tag))).status(), 304);
        assert_eq!(asked_with(&fixed, Some(("if-none-match", "*"))).status(), 304);
        assert_eq!(asked_with(&fixed, Some(("if-none-match", "\"other\""))).status(), 200);
    }
}
