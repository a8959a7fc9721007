//! Whether the settings can be read, and whether they make sense together.

use std::collections::HashMap;

use boot::{Servers, Settings};
use payments::Kind;

use super::finding::Finding;

const AREA: &str = "Settings";
const WHERE: [&str; 3] = ["FLASHSALE__POSTGRES__URL", "FLASHSALE__REDIS__URL", "FLASHSALE__RABBITMQ__URL"];

/// What is to be said of them, and they themselves where they are valid.
pub(super) fn check(variables: HashMap<String, String>) -> (Vec<Finding>, Option<Settings>) {
    let has_file = variables.contains_key("FLASHSALE_CONFIG");
    let unset: Vec<&str> = WHERE.into_iter().filter(|name| !variables.contains_key(*name)).collect();
    let settings = match Settings::from_variables(variables) {
        Ok(settings) => settings,
        Err(invalid) => {
            let fix = "set it right where it comes from: FLASHSALE__SECTION__FIELD, or the file of FLASHSALE_CONFIG\n\
                       every field is explained in crates/boot/default.toml";
            return (vec![Finding::fail(AREA, "fields", invalid.to_string(), fix)], None);
        }
    };
    let Servers { postgres, redis, rabbitmq } = Servers::of(&settings);
    let mut findings = vec![match &unset[..] {
        unset if has_file || unset.is_empty() => {
            Finding::ok(AREA, "fields", format!("valid; servers at {postgres}, {redis}, {rabbitmq}"))
        }
        unset => Finding::warn(
            AREA,
            "fields",
            format!("valid, but {} not set: the defaults are looked at", unset.join(", ")),
            "run this with the variables of the processes, or their FLASHSALE_CONFIG",
        ),
    }];
    findings.push(match settings.api.admin_token() {
        Ok(Some(_)) => Finding::ok(AREA, "operator's token", "set"),
        Ok(None) => Finding::warn(
            AREA,
            "operator's token",
            "none: every admin request is refused",
            "FLASHSALE__API__ADMIN_TOKEN=<at least 16 characters>",
        ),
        Err(invalid) => Finding::warn(
            AREA,
            "operator's token",
            format!("{invalid}; the API does not start like this"),
            "FLASHSALE__API__ADMIN_TOKEN=$(openssl rand -hex 16)",
        ),
    });
    findings.push(match settings.auth.check() {
        Ok(()) => Finding::ok(AREA, "identity", format!("{:?}", settings.auth.mode).to_lowercase()),
        Err(invalid) => {
            Finding::fail(AREA, "identity", invalid.to_string(), "set it right: crates/boot/default.toml, [auth]")
        }
    });
    findings.push(Finding::ok(
        AREA,
        "payments",
        match settings.payments.provider {
            Kind::None => "none: sales without a hold only",
            Kind::Simulated => "simulated: no money is moved",
            Kind::Stripe => "Stripe",
        },
    ));
    let webhooks = if settings.webhooks.are_on() { "events are told" } else { "off: nobody is told of events" };
    findings.push(Finding::ok(AREA, "webhooks", webhooks));
    (findings, Some(settings))
}
