//! `[limits]`: how often one client may ask, and whom the API believes where a request comes from.

use inventory::Rate;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use crate::settings::comma_separated;

/// `[limits]`: the API's. `None`: as often as they like.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each field is documented once, in default.toml")]
pub struct Limits {
    #[serde(deserialize_with = "rate")]
    pub purchase_per_user: Option<Rate>,
    #[serde(deserialize_with = "rate")]
    pub purchase_per_ip: Option<Rate>,
    #[serde(deserialize_with = "rate")]
    pub read_per_ip: Option<Rate>,
    #[serde(deserialize_with = "rate")]
    pub order_per_ip: Option<Rate>,
    #[serde(deserialize_with = "rate")]
    pub login_per_ip: Option<Rate>,
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(de::Error::custom) }
}

/// Networks, or single addresses.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let read = |text: String| {
        let network = text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<std::net::IpAddr>().ok()?)));
        network.ok_or_else(|| de::Error::custom(format!("{text:?} is not a network such as 10.0.0.0/8")))
    };
    comma_separated(deserializer)?.into_iter().map(read).collect()
}
