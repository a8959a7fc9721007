//! PostgreSQL, as the account of the processes finds it.

use boot::{Servers, Settings, clock};
use ledger::{Ledger, SchemaDrift, ServerFacts};
use secrecy::ExposeSecret;

use super::finding::{Examined, Finding, ahead};

const AREA: &str = "PostgreSQL";
/// 15.0, as PostgreSQL counts.
const LEAST_VERSION: i32 = 150_000;
const ACCOUNTS: &str = "as its superuser: psql -U postgres -d flashsale -f crates/servers/src/postgres_accounts.sql";

pub(super) async fn check(settings: &Settings) -> Examined {
    let ledger = match Ledger::new(&settings.postgres) {
        Ok(ledger) => ledger,
        Err(error) => {
            let fix = "FLASHSALE__POSTGRES__URL=postgres://user:password@host:port/database";
            return Examined { findings: vec![Finding::fail(AREA, "address", error.to_string(), fix)], ahead_ms: None };
        }
    };
    // Connecting takes long, and would be taken for a clock that is late. What is wrong is told by the next question.
    let _ = ledger.ping().await;
    let asked = clock::now_ms();
    let facts = ledger.server_facts().await;
    let span = (asked, clock::now_ms());
    let examined = match facts {
        Ok(facts) => {
            let mut findings = of_facts(&facts, settings);
            findings.push(match ledger.schema_drift().await {
                Ok(drift) => of_schema(&drift),
                Err(error) => Finding::fail(AREA, "migrations", error.to_string(), ACCOUNTS),
            });
            Examined { findings, ahead_ms: Some(ahead(facts.now_ms, span)) }
        }
        Err(error) => Examined { findings: vec![away(&error, settings)], ahead_ms: None },
    };
    ledger.close().await;
    examined
}

fn away(error: &ledger::Error, settings: &Settings) -> Finding {
    let (text, address) = (error.to_string(), Servers::of(settings).postgres);
    let fix = if text.contains("password authentication") || text.contains("role ") {
        format!("set FLASHSALE__POSTGRES__URL to the account's password, or make the account, {ACCOUNTS}")
    } else if text.contains("database ") {
        "CREATE DATABASE flashsale; then flashsale-reconcile, which makes its tables".to_owned()
    } else {
        format!("start PostgreSQL at {address}, or set FLASHSALE__POSTGRES__URL to where it is")
    };
    Finding::fail(AREA, "connection", format!("{address}: {text}"), fix)
}

fn of_facts(facts: &ServerFacts, settings: &Settings) -> Vec<Finding> {
    let ServerFacts { version, role, connections, max_connections, synchronous_commit, .. } = facts;
    let on = |name: &str| format!("ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();");
    // One more of an API, for statistics.
    let needs = i64::from(settings.postgres.max_connections) + 1;
    let mut findings = vec![
        Finding::ok(AREA, "connection", format!("{} as {role}", Servers::of(settings).postgres)),
        Finding::of(AREA, "version", facts.version_number >= LEAST_VERSION, version, "install PostgreSQL 15 or later"),
        Finding::of(AREA, "fsync", facts.fsync, if facts.fsync { "on" } else { "off" }, &on("fsync")),
        Finding::of(
            AREA,
            "synchronous_commit",
            synchronous_commit != "off",
            synchronous_commit,
            &on("synchronous_commit"),
        ),
        Finding::of(
            AREA,
            "writes",
            !facts.in_recovery,
            if facts.in_recovery { "a standby, which takes none" } else { "taken" },
            "set FLASHSALE__POSTGRES__URL to the primary, or promote this one: SELECT pg_promote();",
        ),
        Finding::or_warn(
            AREA,
            "connections",
            max_connections - connections >= needs,
            format!("{connections} of {max_connections} are open; a process opens up to {needs}"),
            "ALTER SYSTEM SET max_connections = 200; and restart it; or lower FLASHSALE__POSTGRES__MAX_CONNECTIONS",
        ),
    ];
    // Where one account does everything, that is said by the settings.
    let has_owner = !settings.postgres.owner_url.expose_secret().is_empty();
    let rights = if facts.may_create { "it may change the schema" } else { "rows and functions, no schema" };
    findings.push(Finding::or_warn(AREA, "rights", !facts.may_create || !has_owner, rights, ACCOUNTS));
    findings
}

fn of_schema(SchemaDrift { missing, unknown }: &SchemaDrift) -> Finding {
    let list = |versions: &[i64]| versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match (&missing[..], &unknown[..]) {
        ([], []) => Finding::ok(AREA, "migrations", "all of this version are applied"),
        ([], newer) => Finding::warn(
            AREA,
            "migrations",
            format!("the database is newer than this program: {}", list(newer)),
            "use the flashsale of the version that runs",
        ),
        (missing, _) => {
            let found = format!("not applied: {}", list(missing));
            Finding::fail(AREA, "migrations", found, "flashsale-reconcile, with FLASHSALE__POSTGRES__OWNER_URL set")
        }
    }
}
