//! The API as the operator's commands see it: a path, and JSON back.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Url, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A little longer than the API gives its own answers to operators.
const TIMEOUT: Duration = Duration::from_secs(70);
/// As many rows as the API gives at once.
const PAGE: usize = 200;

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

    /// The API's address, as it was given.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// `GET path?query`
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
        self.ask(self.http.get(with_query(at(&self.url, path), query))).await
    }

    /// `POST path`
    pub(crate) async fn post(&self, path: &str) -> Result<Value, Error> {
        self.post_with(path, &[]).await
    }

    /// `POST path?query`
    pub(crate) async fn post_with(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, Error> {
        self.ask(self.http.post(with_query(at(&self.url, path), query))).await
    }

    /// `POST path` or `PATCH path` with a body.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Error> {
        self.ask(self.http.request(method, at(&self.url, path)).json(body)).await
    }

    /// The rows below `field` of every page of a list, in order; at most `most` of them.
    pub(crate) async fn rows(
        &self,
        path: &str,
        query: &[(&str, &str)],
        field: &str,
        most: usize,
    ) -> Result<Vec<Value>, Error> {
        let mut rows: Vec<Value> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let limit = PAGE.min(most - rows.len()).max(1).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &limit));
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &query).await?;
            let Value::Array(more) = page[field].take() else {
                return Err(Error::Version(format!("a list without {field}")));
            };
            rows.extend(more);
            match page["nextCursor"].as_str() {
                Some(next) if rows.len() < most => cursor = Some(next.to_owned()),
                _ => break,
            }
        }
        rows.truncate(most);
        Ok(rows)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> Result<Value, Error> {
        let no_answer = |error: reqwest::Error| Error::NoAnswer { url: self.url.to_string(), cause: cause(&error) };
        let answer = request.send().await.map_err(no_answer)?;
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

/// An API may stand below a path of its host.
pub(crate) fn at(url: &Url, path: &str) -> Url {
    let mut at = url.clone();
    at.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
    at
}

fn with_query(mut url: Url, query: &[(&str, &str)]) -> Url {
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// An answer as the type that this program knows.
///
/// # Errors
/// [`Error::Version`] where it has another shape.
pub(crate) fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Error> {
    serde_json::from_value(answer).map_err(|error| Error::Version(error.to_string()))
}

/// The innermost cause: the outer ones say no more than that a request failed.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut innermost = error.source();
    while let Some(inner) = innermost.and_then(|error| error.source()) {
        innermost = Some(inner);
    }
    innermost.map_or_else(|| error.to_string(), ToString::to_string)
}
