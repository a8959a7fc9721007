//! Redis, as the account of the processes finds it, and its setting appendfsync as an operator does.

use boot::{Servers, Settings, clock};
use inventory::{Config, Inventory, ServerFacts};
use secrecy::SecretString;

use super::finding::{Examined, Finding, ahead, is_at_least};

const AREA: &str = "Redis";
/// So much of its memory, in percent, may be in use before somebody should look.
const FULL_PERCENT: u64 = 80;

pub(super) async fn check(settings: &Settings, operator_url: Option<&SecretString>) -> Examined {
    let inventory = match Inventory::new(&settings.redis) {
        Ok(inventory) => inventory,
        Err(error) => {
            let fix = "FLASHSALE__REDIS__URL=redis://user:password@host:port/0";
            return Examined { findings: vec![Finding::fail(AREA, "address", error.to_string(), fix)], ahead_ms: None };
        }
    };
    let asked = clock::now_ms();
    let facts = inventory.server_facts().await;
    let span = (asked, clock::now_ms());
    match facts {
        Ok(facts) => {
            let mut findings = of_facts(&facts, settings);
            findings.push(of_fsync(&inventory, settings, operator_url).await);
            Examined { findings, ahead_ms: Some(ahead(facts.now_ms, span)) }
        }
        Err(error) => Examined { findings: vec![away(&error, settings)], ahead_ms: None },
    }
}

fn away(error: &inventory::Error, settings: &Settings) -> Finding {
    let (text, address) = (error.to_string(), Servers::of(settings).redis);
    let is_refused = ["WRONGPASS", "NOAUTH", "NOPERM", "uthentication"].iter().any(|word| text.contains(word));
    let fix = if is_refused {
        "set FLASHSALE__REDIS__URL to the account's password, or make it: redis-cli ACL SETUSER flashsale on '>PASSWORD' \
         and the rules of docs/OPERATIONS.md#accounts"
            .to_owned()
    } else {
        format!("start Redis at {address}, or set FLASHSALE__REDIS__URL to where it is")
    };
    Finding::fail(AREA, "connection", format!("{address}: {text}"), fix)
}

fn of_facts(facts: &ServerFacts, settings: &Settings) -> Vec<Finding> {
    let ServerFacts { version, role, used_memory, maxmemory, maxmemory_policy, .. } = facts;
    let set = |setting: &str| format!("redis-cli CONFIG SET {setting}; and the same in redis.conf");
    let is_master = role == "master";
    let mebibytes = |bytes: u64| bytes / 1_048_576;
    let memory = match maxmemory {
        0 => format!("{} MiB, no limit", mebibytes(*used_memory)),
        most => format!("{} of {} MiB", mebibytes(*used_memory), mebibytes(*most)),
    };
    vec![
        Finding::ok(AREA, "connection", Servers::of(settings).redis),
        Finding::of(AREA, "version", is_at_least(version, (7, 0)), version, "install Redis 7 or later"),
        Finding::of(
            AREA,
            "role",
            is_master,
            if is_master { "master" } else { role },
            "set FLASHSALE__REDIS__URL to the master, or make this one: redis-cli REPLICAOF NO ONE",
        ),
        Finding::of(
            AREA,
            "appendonly",
            facts.aof_enabled,
            if facts.aof_enabled { "yes" } else { "no: what it has sold is gone with a crash" },
            &set("appendonly yes"),
        ),
        Finding::of(
            AREA,
            "last write",
            facts.aof_write_ok,
            if facts.aof_write_ok { "ok" } else { "the append-only file cannot be written" },
            "give its disk room; the log of Redis says what is wrong",
        ),
        Finding::of(
            AREA,
            "maxmemory-policy",
            maxmemory_policy == "noeviction",
            maxmemory_policy,
            &set("maxmemory-policy noeviction"),
        ),
        Finding::or_warn(
            AREA,
            "memory",
            *maxmemory == 0 || used_memory.saturating_mul(100) / maxmemory < FULL_PERCENT,
            memory,
            &set("maxmemory <more>"),
        ),
    ]
}

/// The account of the processes may not read the configuration: it holds passwords.
async fn of_fsync(inventory: &Inventory, settings: &Settings, operator_url: Option<&SecretString>) -> Finding {
    let name = "appendfsync";
    let (asked, is_operator) = match operator_url {
        Some(url) => match Inventory::new(&Config { url: url.clone(), ..settings.redis.clone() }) {
            Ok(operator) => (operator.appendfsync().await, true),
            Err(error) => return Finding::fail(AREA, name, error.to_string(), "set REDIS_OPERATOR_URL right"),
        },
        None => (inventory.appendfsync().await, false),
    };
    match asked {
        Ok(value) => {
            let fix = "redis-cli CONFIG SET appendfsync always; and the same in redis.conf";
            Finding::of(AREA, name, value == "always", value, fix)
        }
        Err(error) if is_operator => Finding::fail(
            AREA,
            name,
            format!("REDIS_OPERATOR_URL: {error}"),
            "set REDIS_OPERATOR_URL right, or unset it",
        ),
        Err(_) => Finding {
            fix: Some(
                "redis-cli -u <its operator> CONFIG GET appendfsync; must say always\n\
                       or set REDIS_OPERATOR_URL, and it is looked at here"
                    .to_owned(),
            ),
            ..Finding::skip(AREA, name, "cannot be checked with this account, which is right")
        },
    }
}
