//! What operators send about a sale, read and checked field by field: a refusal names the field and says what is right.

use chrono::{DateTime, SubsecRound, Utc};
use domain::{Currency, Quantity, SaleId, Terms};
use ledger::{NewSale, SaleChanges};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use url::Url;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::{Code, Problem};
use crate::routes::{OPERATOR, sale_id};

const LONGEST_NAME: usize = 200;
const LONGEST_DESCRIPTION: usize = 1_000;
const LONGEST_URL: usize = 1_000;
const MOST_UNITS: u32 = 1_000_000_000;
/// Ten thousand units at this price are still an exact number in JSON.
const HIGHEST_PRICE: i64 = 100_000_000_000;
const LONGEST_HOLD_SECONDS: u32 = 30 * 24 * 3_600;

/// A sale to be created.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewSaleRequest {
    /// An id of the client's choice, so that a request may be repeated; one of ours where there is none.
    #[schema(value_type = Option<Uuid>)]
    sale_id: Option<String>,
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[schema(min_length = 1, max_length = 1_000)]
    description: Option<String>,
    /// An absolute URL with http or https.
    #[schema(max_length = 1_000, format = "uri")]
    image_url: Option<String>,
    #[schema(minimum = 0, maximum = 1_000_000_000)]
    total_stock: i64,
    /// Price of one unit in the currency's minor units (cents).
    #[schema(minimum = 0, maximum = 100_000_000_000_i64)]
    unit_price_minor: i64,
    /// ISO 4217.
    #[schema(example = "EUR", min_length = 3, max_length = 3)]
    currency: String,
    /// The most units of one order; 1 where there is none.
    #[schema(minimum = 1, maximum = 10_000)]
    per_user_limit: Option<i64>,
    /// How long an unpaid order holds its units; 0, or none: there is no payment step.
    #[schema(minimum = 0, maximum = 2_592_000)]
    hold_seconds: Option<i64>,
    /// First instant that sells.
    #[schema(value_type = DateTime<Utc>)]
    starts_at: String,
    /// First instant that no longer sells.
    #[schema(value_type = DateTime<Utc>)]
    ends_at: String,
}

/// What is to change of a sale; a field that is not there stays as it is.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct SaleChangesRequest {
    #[serde(deserialize_with = "present")]
    #[schema(min_length = 1, max_length = 200, nullable = false)]
    name: Option<String>,
    /// null takes it away.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 1_000)]
    description: Option<Option<String>>,
    /// An absolute URL with http or https; null takes it away.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 1_000, format = "uri")]
    image_url: Option<Option<String>>,
    /// Up at any time; down to what is sold, reserved or withheld.
    #[serde(deserialize_with = "present")]
    #[schema(minimum = 0, maximum = 1_000_000_000, nullable = false)]
    total_stock: Option<i64>,
    /// Price of one unit in the currency's minor units (cents).
    #[serde(deserialize_with = "present")]
    #[schema(minimum = 0, maximum = 100_000_000_000_i64, nullable = false)]
    unit_price_minor: Option<i64>,
    /// ISO 4217.
    #[serde(deserialize_with = "present")]
    #[schema(example = "EUR", min_length = 3, max_length = 3, nullable = false)]
    currency: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(minimum = 1, maximum = 10_000, nullable = false)]
    per_user_limit: Option<i64>,
    /// How long an unpaid order holds its units; 0: there is no payment step.
    #[serde(deserialize_with = "present")]
    #[schema(minimum = 0, maximum = 2_592_000, nullable = false)]
    hold_seconds: Option<i64>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<DateTime<Utc>>, nullable = false)]
    starts_at: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<DateTime<Utc>>, nullable = false)]
    ends_at: Option<String>,
}

/// A field that is there, null or not: absent and null are two different wishes.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

/// The sale that a body describes, to be created at `now_ms`.
pub(super) fn new_sale(body: &[u8], now_ms: i64) -> Result<NewSale, Problem> {
    let sent: NewSaleRequest = read(body)?;
    let sale = NewSale {
        id: sent.sale_id.as_deref().map_or_else(|| Ok(SaleId(Uuid::new_v4())), sale_id)?,
        name: name(sent.name)?,
        description: sent.description.map(description).transpose()?,
        image_url: sent.image_url.map(image_url).transpose()?,
        total_stock: number("totalStock", 0, MOST_UNITS, sent.total_stock)?,
        terms: Terms {
            unit_price_minor: price(sent.unit_price_minor)?,
            currency: currency(&sent.currency)?,
            hold_seconds: hold(sent.hold_seconds.unwrap_or(0))?,
        },
        per_user_limit: limit(sent.per_user_limit.unwrap_or(1))?,
        starts_at: instant("startsAt", &sent.starts_at)?,
        ends_at: end(&sent.ends_at, now_ms)?,
        created_by: OPERATOR.to_owned(),
    };
    if sale.starts_at >= sale.ends_at {
        return Err(no_window());
    }
    Ok(sale)
}

/// The changes that a body describes, to be made at `now_ms`.
pub(super) fn changes(body: &[u8], now_ms: i64) -> Result<SaleChanges, Problem> {
    let sent: SaleChangesRequest = read(body)?;
    let stock = |units| number("totalStock", 0, MOST_UNITS, units);
    Ok(SaleChanges {
        name: sent.name.map(name).transpose()?,
        description: sent.description.map(|text| text.map(description).transpose()).transpose()?,
        image_url: sent.image_url.map(|url| url.map(image_url).transpose()).transpose()?,
        total_stock: sent.total_stock.map(stock).transpose()?,
        unit_price_minor: sent.unit_price_minor.map(price).transpose()?,
        currency: sent.currency.map(|code| currency(&code)).transpose()?,
        hold_seconds: sent.hold_seconds.map(hold).transpose()?,
        per_user_limit: sent.per_user_limit.map(limit).transpose()?,
        starts_at: sent.starts_at.map(|text| instant("startsAt", &text)).transpose()?,
        ends_at: sent.ends_at.map(|text| end(&text, now_ms)).transpose()?,
    })
}

/// What is wrong with a window that has no length.
pub(super) fn no_window() -> Problem {
    Problem::field("endsAt", &"must be later than startsAt")
}

/// A body as JSON of this shape. What is no JSON is `INVALID_BODY`; what is JSON of another shape names the field.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let unreadable = |error: &serde_json::Error| Problem::new(Code::InvalidBody, error.to_string());
    let mut source = serde_json::Deserializer::from_slice(body);
    let read: T = serde_path_to_error::deserialize(&mut source).map_err(|error| {
        let (path, error) = (error.path().to_string(), error.inner());
        match error.classify() {
            // A field that is unknown, missing or there twice is named by the text itself.
            serde_json::error::Category::Data if error.to_string().contains(" field `") => {
                Problem::new(Code::InvalidField, error.to_string())
            }
            serde_json::error::Category::Data if path != "." => Problem::field(&format!("{path}:"), error),
            _ => unreadable(error),
        }
    })?;
    source.end().map_err(|error| unreadable(&error))?;
    Ok(read)
}

fn text(field: &str, longest: usize, text: String) -> Result<String, Problem> {
    let fits = !text.trim().is_empty() && text.chars().count() <= longest;
    if !fits {
        return Err(Problem::field(field, &format_args!("must have 1 to {longest} characters, not only spaces")));
    }
    let is_odd = |char: char| char.is_control() && char != '\n';
    if text.chars().any(is_odd) {
        return Err(Problem::field(field, &"must not contain control characters"));
    }
    Ok(text)
}

fn name(sent: String) -> Result<String, Problem> {
    let name = text("name", LONGEST_NAME, sent)?;
    if name.contains('\n') { Err(Problem::field("name", &"must be one line")) } else { Ok(name) }
}

fn description(sent: String) -> Result<String, Problem> {
    text("description", LONGEST_DESCRIPTION, sent)
}

/// Only what a page can show as a picture: no script, no file of the reader's own.
fn image_url(text: String) -> Result<String, Problem> {
    let url = Url::parse(&text).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    let fits =
        text.len() <= LONGEST_URL && url.is_some_and(|url| url.username().is_empty() && url.password().is_none());
    let wrong =
        format_args!("must be a URL such as https://shop.example/lamp.jpg, of at most {LONGEST_URL} characters");
    if fits { Ok(text) } else { Err(Problem::field("imageUrl", &wrong)) }
}

fn number(field: &str, least: u32, most: u32, sent: i64) -> Result<u32, Problem> {
    let number = u32::try_from(sent).ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| Problem::field(field, &format_args!("must be a whole number from {least} to {most}")))
}

fn price(sent: i64) -> Result<i64, Problem> {
    let wrong = format_args!("must be a whole number from 0 to {HIGHEST_PRICE}, in the currency's minor units");
    if (0..=HIGHEST_PRICE).contains(&sent) { Ok(sent) } else { Err(Problem::field("unitPriceMinor", &wrong)) }
}

fn currency(code: &str) -> Result<Currency, Problem> {
    let listed = iso_currency::Currency::from_code(code).and_then(|_| code.parse().ok());
    listed.ok_or_else(|| Problem::field("currency", &"must be a code of ISO 4217 in capitals, such as EUR"))
}

fn hold(seconds: i64) -> Result<u32, Problem> {
    number("holdSeconds", 0, LONGEST_HOLD_SECONDS, seconds)
}

fn limit(units: i64) -> Result<Quantity, Problem> {
    let units = number("perUserLimit", 1, Quantity::MAX, units)?;
    units.try_into().map_err(|invalid| Problem::field("perUserLimit", &invalid))
}

/// In whole milliseconds, as the gate counts.
fn instant(field: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    // Only the form that clients write: a date without its offset would mean another instant to each reader.
    let instant = DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc).trunc_subsecs(3));
    instant.ok_or_else(|| Problem::field(field, &"must be an instant of RFC 3339, such as 2026-11-27T09:00:00Z"))
}

/// An end that has passed is a slip; who wants to end a sale has a route for it.
fn end(text: &str, now_ms: i64) -> Result<DateTime<Utc>, Problem> {
    let end = instant("endsAt", text)?;
    if end.timestamp_millis() <= now_ms {
        return Err(Problem::field("endsAt", &"must be in the future; POST .../end ends a sale at once"));
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW_MS: i64 = 1_763_683_200_000;

    fn lamp() -> Value {
        json!({
            "name": "Lamp", "totalStock": 100, "unitPriceMinor": 4_999, "currency": "EUR",
            "startsAt": "2026-11-27T09:00:00.1239Z", "endsAt": "2026-11-27T12:00:00+02:00",
        })
    }

    fn refusal(body: &Value) -> String {
        new_sale(body.to_string().as_bytes(), NOW_MS).unwrap_err().to_string()
    }

    #[test]
    fn a_sale_is_read_with_its_defaults_and_in_whole_milliseconds() {
        let sale = new_sale(lamp().to_string().as_bytes(), NOW_MS).unwrap();
        assert_eq!((sale.name.as_str(), sale.total_stock, sale.per_user_limit), ("Lamp", 100, Quantity::ONE));
        assert_eq!((sale.terms.to_string().as_str(), sale.description, sale.image_url), ("4999 EUR 0", None, None));
        assert_eq!(
            (sale.starts_at.timestamp_millis() % 1_000, sale.ends_at.to_rfc3339()),
            (123, "2026-11-27T10:00:00+00:00".to_owned())
        );
    }

    #[test]
    fn each_field_is_refused_by_its_name_and_told_what_is_right() {
        let (long, odd) = ("x".repeat(1_001), "a\u{7}");
        for (field, wrong, word) in [
            ("saleId", json!("7"), "must be a UUID"),
            ("name", json!(" "), "1 to 200 characters"),
            ("name", json!("x".repeat(201)), "1 to 200 characters"),
            ("name", json!(odd), "control characters"),
            ("name", json!("a\nb"), "one line"),
            ("name", json!(7), "expected a string"),
            ("description", json!(long), "1 to 1000 characters"),
            ("imageUrl", json!("javascript:alert(1)"), "https://"),
            ("imageUrl", json!("lamp.jpg"), "https://"),
            ("imageUrl", json!("https://user:pass@shop.example/"), "https://"),
            ("imageUrl", json!(format!("https://shop.example/{long}")), "1000 characters"),
            ("totalStock", json!(-1), "from 0 to 1000000000"),
            ("totalStock", json!(1_000_000_001), "from 0 to 1000000000"),
            ("totalStock", json!(1.5), "expected i64"),
            ("unitPriceMinor", json!(-1), "minor units"),
            ("currency", json!("eur"), "ISO 4217"),
            ("currency", json!("EUX"), "ISO 4217"),
            ("perUserLimit", json!(0), "from 1 to 10000"),
            ("holdSeconds", json!(2_592_001), "from 0 to 2592000"),
            ("startsAt", json!("2026-11-27T09:00:00"), "RFC 3339"),
            ("endsAt", json!("2020-01-01T00:00:00Z"), "future"),
            ("endsAt", json!("2026-11-27T09:00:00.123Z"), "later than startsAt"),
            ("price", json!(1), "unknown field"),
        ] {
            let mut body = lamp();
            body[field] = wrong;
            let refusal = refusal(&body);
            let expected = refusal.starts_with("INVALID_FIELD") && refusal.contains(field) && refusal.contains(word);
            assert!(expected, "{field}: {refusal}");
        }
        let mut body = lamp();
        body.as_object_mut().unwrap().remove("currency");
        assert!(refusal(&body).starts_with("INVALID_FIELD: missing field `currency`"));
    }

    #[test]
    fn what_is_no_json_object_is_an_invalid_body() {
        for body in ["", "null", "7", "{", "{} {}", "{\"name\": \"\\ud800\"}"] {
            let refusal = changes(body.as_bytes(), NOW_MS).unwrap_err().to_string();
            assert!(refusal.starts_with("INVALID_BODY"), "{body}: {refusal}");
        }
    }

    #[test]
    fn a_change_tells_absent_from_null() {
        let read = |body: Value| changes(body.to_string().as_bytes(), NOW_MS);
        assert_eq!(read(json!({})).unwrap(), SaleChanges::default());
        let cleared = SaleChanges { description: Some(None), image_url: Some(None), ..SaleChanges::default() };
        assert_eq!(read(json!({ "description": null, "imageUrl": null })).unwrap(), cleared);
        for field in ["name", "totalStock", "currency", "endsAt"] {
            let refusal = read(json!({ field: null })).unwrap_err().to_string();
            assert!(refusal.starts_with(&format!("INVALID_FIELD: {field}: invalid type: null")), "{refusal}");
        }
        let twice = changes(b"{\"name\": \"a\", \"name\": \"b\"}", NOW_MS).unwrap_err().to_string();
        assert!(twice.starts_with("INVALID_FIELD: duplicate field `name`"), "{twice}");
    }
}
