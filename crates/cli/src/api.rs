//! The API as the operator's commands see it: a path, and JSON back.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Url, redirect};
use serde_json::Value;

use crate::error::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A little longer than the API gives its own answers to operators.
const TIMEOUT: Duration = Duration::from_secs(70);

/// A client with the operator's token.
pub(crate) struct Client {
    http: reqwest::Client,
    url: Url,
}

impl Client {
    /// A client of the API at `url`. Asks nobody yet.
    ///
    /// # Errors
    /// [`Error::Usage`] where the address or the token is missing or cannot be one.
    pub(crate) fn new(url: Option<&str>, token: Option<&str>) -> Result<Self, Error> {
        let usage = |text: &str| Error::Usage(text.to_owned());
        let url = url.ok_or_else(|| usage("no API to talk to: set FLASHSALE_URL, or give --url"))?;
        let url = Url::parse(url).map_err(|error| Error::Usage(format!("{url} is no URL: {error}")))?;
        if url.scheme() != "http" {
            return Err(usage("only http:// is spoken: the API's address inside the network that it is in"));
        }
        let token = token.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| usage("no operator's token: set FLASHSALE_ADMIN_TOKEN"))?;
        let mut bearer = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| usage("FLASHSALE_ADMIN_TOKEN has characters that no token has"))?;
        bearer.set_sensitive(true);
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // The API redirects nobody, and another host must not get the token.
            .redirect(redirect::Policy::none())
            .build()
            .expect("a client without TLS");
        Ok(Self { http, url })
    }

    /// `GET path?query`
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
        let mut url = self.at(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.ask(Method::GET, url).await
    }

    /// `POST path`
    pub(crate) async fn post(&self, path: &str) -> Result<Value, Error> {
        self.ask(Method::POST, self.at(path)).await
    }

    /// An API may stand below a path of its host.
    fn at(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        url
    }

    async fn ask(&self, method: Method, url: Url) -> Result<Value, Error> {
        let no_answer = |error: reqwest::Error| Error::NoAnswer { url: self.url.to_string(), cause: cause(&error) };
        let answer = self.http.request(method, url).send().await.map_err(no_answer)?;
        let status = answer.status();
        let body: Option<Value> = serde_json::from_slice(&answer.bytes().await.map_err(no_answer)?).ok();
        let foreign = || Error::Foreign { url: self.url.to_string(), status: status.as_u16() };
        let body = body.ok_or_else(foreign)?;
        if status.is_success() {
            return Ok(body);
        }
        let text = |field: &str| body[field].as_str().map(str::to_owned);
        let (code, mut detail) = text("code").zip(text("detail")).ok_or_else(foreign)?;
        if code == "UNAUTHORIZED" {
            detail = "the API does not take this operator's token: see FLASHSALE_ADMIN_TOKEN".to_owned();
        }
        Err(Error::Refused { code, detail })
    }
}

/// The innermost cause: the outer ones say no more than that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut innermost = error.source();
    while let Some(inner) = innermost.and_then(|error| error.source()) {
        innermost = Some(inner);
    }
    innermost.map_or_else(|| error.to_string(), ToString::to_string)
}
