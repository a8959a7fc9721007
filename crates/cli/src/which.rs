//! Which sale is meant: by its id, its name, or the beginning of its name.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::api::{Client, read};
use crate::error::Error;
use crate::output::printable;

pub(crate) const SALES: &str = "/api/v1/admin/sales";
/// As many candidates as are named where several are meant.
const MOST_NAMED: usize = 10;
const LONGEST_NAME: usize = 200;

/// A sale as operators see it, as far as this program does.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sale {
    pub(crate) sale_id: Uuid,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) image_url: Option<String>,
    pub(crate) total_stock: i64,
    pub(crate) sold: i64,
    pub(crate) remaining_stock: Option<i64>,
    pub(crate) pending_total_stock: Option<i64>,
    pub(crate) unit_price_minor: i64,
    pub(crate) currency: String,
    pub(crate) per_user_limit: u32,
    pub(crate) hold_seconds: u32,
    pub(crate) starts_at: DateTime<Utc>,
    pub(crate) ends_at: DateTime<Utc>,
    pub(crate) state: String,
    pub(crate) halted: Option<String>,
    pub(crate) epoch: i64,
    pub(crate) revision: i64,
    pub(crate) in_effect: bool,
}

/// The sale that `wanted` means, as the API answered and as far as we know it.
///
/// # Errors
/// There is none, or there are several: then they are named.
pub(crate) async fn find(client: &Client, wanted: &str) -> Result<(Value, Sale), Error> {
    if Uuid::try_parse(wanted).is_ok() {
        let answer = client.get(&format!("{SALES}/{}", wanted.to_lowercase()), &[]).await?;
        return Ok((answer.clone(), read(answer)?));
    }
    let none = || Error::Refused {
        code: "SALE_NOT_FOUND".to_owned(),
        detail: format!("no sale has an id or a name like {}", printable(wanted)),
    };
    if wanted.is_empty() || wanted.chars().count() > LONGEST_NAME {
        return Err(none());
    }
    let answers = client.rows(SALES, &[("name", wanted)], "sales", usize::MAX).await?;
    let sales: Vec<Sale> = answers.iter().cloned().map(read).collect::<Result<_, _>>()?;
    match chosen(wanted, &sales) {
        Ok(Some(index)) => Ok((answers[index].clone(), sales[index].clone())),
        Ok(None) => Err(none()),
        Err(several) => {
            let mut text = format!("{} sales are meant by {wanted}; give the id of one:", several.len());
            for sale in several.iter().take(MOST_NAMED) {
                text += &format!("\n  {}  {} ({})", sale.sale_id, printable(&sale.name), sale.state);
            }
            if several.len() > MOST_NAMED {
                text += "\n  ...";
            }
            Err(Error::Usage(text))
        }
    }
}

/// The only one of this name, or else whose name alone begins like that; whatever the case. Pure.
fn chosen<'a>(wanted: &str, sales: &'a [Sale]) -> Result<Option<usize>, Vec<&'a Sale>> {
    let wanted = wanted.to_lowercase();
    let those = |is_meant: fn(&str, &str) -> bool| -> Vec<usize> {
        let names = sales.iter().map(|sale| sale.name.to_lowercase()).enumerate();
        names.filter(|(_, name)| is_meant(name, &wanted)).map(|(index, _)| index).collect()
    };
    let mut meant = those(|name, wanted| name == wanted);
    if meant.is_empty() {
        meant = those(|name, wanted| name.starts_with(wanted));
    }
    match meant[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        ref several => Err(several.iter().map(|&index| &sales[index]).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(name: &str) -> Sale {
        Sale {
            sale_id: Uuid::nil(),
            name: name.to_owned(),
            description: None,
            image_url: None,
            total_stock: 1,
            sold: 0,
            remaining_stock: None,
            pending_total_stock: None,
            unit_price_minor: 0,
            currency: "EUR".to_owned(),
            per_user_limit: 1,
            hold_seconds: 0,
            starts_at: DateTime::default(),
            ends_at: DateTime::default(),
            state: "open".to_owned(),
            halted: None,
            epoch: 1,
            revision: 1,
            in_effect: true,
        }
    }

    #[test]
    fn a_whole_name_wins_then_the_only_beginning_and_several_are_nobody() {
        let sales = ["Lamp", "Lamp shade", "Bright lamp", "Sofa", "Sofa"].map(sale);
        assert_eq!(chosen("lamp", &sales).unwrap(), Some(0));
        assert_eq!(chosen("Lamp s", &sales).unwrap(), Some(1));
        assert_eq!(chosen("bri", &sales).unwrap(), Some(2));
        assert_eq!(chosen("shade", &sales).unwrap(), None);
        assert_eq!(chosen("sofa", &sales).unwrap_err().len(), 2);
        assert_eq!(chosen("s", &sales).unwrap_err().len(), 2);
    }
}
