//! RabbitMQ, as the account of the processes finds it.

use boot::{Servers, Settings};

use super::finding::{Finding, is_at_least};

const AREA: &str = "RabbitMQ";

pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let (config, address) = (&settings.rabbitmq, Servers::of(settings).rabbitmq);
    let version = match broker::version(config).await {
        Ok(Some(version)) => version,
        Ok(None) => {
            let fix = "set FLASHSALE__RABBITMQ__URL to where RabbitMQ takes AMQP 0-9-1, as a rule port 5672";
            return vec![Finding::fail(AREA, "connection", format!("{address} is no RabbitMQ"), fix)];
        }
        Err(error) => {
            let fix = format!("start RabbitMQ at {address}, or set FLASHSALE__RABBITMQ__URL to where it is");
            return vec![Finding::fail(AREA, "connection", format!("{address}: {error}"), fix)];
        }
    };
    let is_new = is_at_least(&version, (3, 10));
    vec![
        Finding::ok(AREA, "connection", address),
        Finding::of(AREA, "version", is_new, version, "install RabbitMQ 3.10 or later"),
        match broker::takes_a_message(config).await {
            Ok(true) => Finding::ok(AREA, "a message", "declared, bound, published, confirmed"),
            Ok(false) => Finding::fail(
                AREA,
                "a message",
                "takes none: it is short of memory or disk",
                "rabbitmq-diagnostics alarms; give it what it lacks",
            ),
            Err(error) => refused(&error),
        },
    ]
}

fn refused(error: &broker::Error) -> Finding {
    let text = error.to_string();
    let permissions = r"rabbitmqctl set_permissions flashsale '^flashsale\.' '^flashsale\.' '^flashsale\.'";
    let is_login = text.contains("Login was refused") || text.contains("login was refused");
    let fix = if is_login {
        format!(
            "set FLASHSALE__RABBITMQ__URL to the account's password, or make it: rabbitmqctl add_user flashsale PASSWORD\n\
             {permissions}"
        )
    } else if text.contains("ACCESS_REFUSED") || text.contains("NOT_ALLOWED") {
        permissions.to_owned()
    } else {
        "the log of RabbitMQ says what is wrong".to_owned()
    };
    Finding::fail(AREA, "a message", text, fix)
}
