//! The accounts of the three servers: an operator who may do everything, and processes that may do what they need.
//!
//! Each server has one secret, which is its operator's password. Those of the other accounts are made of it, one way:
//! whoever has the operator's can compute the others, and nobody who has one of the others gets any further.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// The account of the API, the persisters and the keeper on every server.
pub const APP: &str = "flashsale";

/// The PostgreSQL account that owns the database, for `flashsale-reconcile` to migrate it.
pub const OWNER: &str = "flashsale_owner";

/// RabbitMQ's administrator. PostgreSQL's superuser is `postgres`, the user of Redis who may do everything `default`.
pub(crate) const OPERATOR: &str = "operator";

/// What makes [`APP`] and [`OWNER`] on a PostgreSQL server, and gives them their rights in the database it is run in.
pub const POSTGRES_ACCOUNTS: &str = include_str!("postgres_accounts.sql");

/// What [`APP`] may do on Redis, as the rules of an ACL: its own keys, and the commands that `inventory` and the scripts
/// in `lua/` use. A script is checked command by command, as if its caller had sent each.
pub const REDIS_RULES: &str = "resetkeys ~sale:* ~limit:* -@all +ping +time +info +script|load +script|exists +evalsha \
                               +multi +exec +get +set +hget +hmget +hlen +hset +hincrby +sadd +smismember +xadd +xlen \
                               +xrange +xinfo|stream +hscan +xdel +expire +pexpireat +persist +unlink";

/// The names on RabbitMQ that [`APP`] may declare, write to and read from.
const RABBITMQ_NAMES: &str = r"^flashsale\.";

/// The password of `account` on the server of this secret: 64 hexadecimal digits.
#[must_use]
pub fn password_of(account: &str, secret: &str) -> String {
    fingerprint(&format!("{account}@{secret}"))
}

/// 64 hexadecimal digits that change with the text and do not tell it (SHA-256).
pub(crate) fn fingerprint(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// An operator's URL, `scheme://operator:secret@place`, as that of `account`; `None` where it has no such form.
#[must_use]
pub fn url_as(account: &str, operator_url: &str) -> Option<String> {
    let (scheme, rest) = operator_url.split_once("://")?;
    let (credentials, place) = rest.split_once('@')?;
    let (_, secret) = credentials.split_once(':')?;
    Some(format!("{scheme}://{account}:{}@{place}", password_of(account, secret)))
}

/// RabbitMQ's definitions: the virtual host `/`, its administrator, and [`APP`] with the names it may use. They are
/// imported at each start of a node, whatever it remembers.
#[must_use]
pub fn rabbitmq_definitions(operator_password: &str, app_password: &str) -> String {
    let (operator, app) = (json(operator_password), json(app_password));
    let (all, ours) = (json(".*"), json(RABBITMQ_NAMES));
    format!(
        r#"{{
  "vhosts": [{{"name": "/"}}],
  "users": [
    {{"name": "{OPERATOR}", "password": {operator}, "tags": "administrator"}},
    {{"name": "{APP}", "password": {app}, "tags": ""}}
  ],
  "permissions": [
    {{"user": "{OPERATOR}", "vhost": "/", "configure": {all}, "write": {all}, "read": {all}}},
    {{"user": "{APP}", "vhost": "/", "configure": {ours}, "write": {ours}, "read": {ours}}}
  ]
}}
"#
    )
}

/// A text of printable characters in JSON.
fn json(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', r#"\""#))
}
