//! The accounts in `docker-compose.yml`: those that private servers have too, with the passwords of the environment.

use servers::{POSTGRES_ACCOUNTS, REDIS_RULES, rabbitmq_definitions};
use yaml_rust2::Yaml;

use crate::compose::processes;
use crate::compose_file::{environment, keys, load, texts};
use crate::repository;

const TOKEN: (&str, &str) = ("FLASHSALE_ADMIN_TOKEN", "a-token-of-the-operator");

/// The passwords that may be set.
const PASSWORDS: [&str; 7] = [
    "FLASHSALE_POSTGRES_PASSWORD",
    "FLASHSALE_POSTGRES_OWNER_PASSWORD",
    "FLASHSALE_POSTGRES_OPERATOR_PASSWORD",
    "FLASHSALE_REDIS_PASSWORD",
    "FLASHSALE_REDIS_OPERATOR_PASSWORD",
    "FLASHSALE_RABBITMQ_PASSWORD",
    "FLASHSALE_RABBITMQ_OPERATOR_PASSWORD",
];

/// The file with each password set to its variable's name in small letters.
fn with_passwords() -> Yaml {
    let values = PASSWORDS.map(str::to_lowercase);
    let mut variables: Vec<(&str, &str)> = PASSWORDS.into_iter().zip(values.iter().map(String::as_str)).collect();
    variables.push(TOKEN);
    load(&variables).unwrap()
}

/// The configs of a service, each with the path it is found at.
fn mounted(service: &Yaml) -> Vec<(&str, &str)> {
    let configs = service["configs"].as_vec().into_iter().flatten();
    configs.map(|config| (config["source"].as_str().unwrap(), config["target"].as_str().unwrap())).collect()
}

#[test]
fn every_process_logs_in_as_the_one_account_of_all_processes() {
    let compose = with_passwords();
    for (name, service) in processes(&compose) {
        let variables = environment(service);
        for (server, url) in [
            ("POSTGRES", "postgres://flashsale:flashsale_postgres_password@postgres:5432/flashsale"),
            ("REDIS", "redis://flashsale:flashsale_redis_password@redis:6379/0"),
            ("RABBITMQ", "amqp://flashsale:flashsale_rabbitmq_password@rabbitmq:5672/%2f"),
        ] {
            assert_eq!(variables[&format!("FLASHSALE__{server}__URL")], url, "{name}");
        }
        let expected =
            "postgres://flashsale_owner:flashsale_postgres_owner_password@postgres:5432/flashsale".to_owned();
        let owner = variables.get("FLASHSALE__POSTGRES__OWNER_URL");
        assert_eq!(owner, (name == "reconcile").then_some(&expected), "{name}");
        assert!(variables.values().all(|value| !value.contains("operator_password")), "{name}");
    }
}

#[test]
fn postgres_runs_the_script_with_the_accounts_in_the_database_of_the_sale() {
    let compose = with_passwords();
    let service = &compose["services"]["postgres"];
    let variables = environment(service);
    assert_eq!(variables["POSTGRES_PASSWORD"], "flashsale_postgres_operator_password");
    assert_eq!(variables["POSTGRES_DB"], "flashsale");
    assert!(!variables.contains_key("POSTGRES_USER"), "the image's own, `postgres`");
    let passwords = "-c password.flashsale=flashsale_postgres_password \
                     -c password.flashsale_owner=flashsale_postgres_owner_password";
    assert_eq!(variables["PGOPTIONS"], passwords);
    assert_eq!(mounted(service), [("postgres-accounts", "/docker-entrypoint-initdb.d/accounts.sql")]);
    let script = compose["configs"]["postgres-accounts"]["file"].as_str().unwrap();
    assert_eq!(repository::read(script), POSTGRES_ACCOUNTS);
}

#[test]
fn redis_has_the_user_of_our_processes_with_the_rules_of_the_code() {
    let compose = with_passwords();
    let service = &compose["services"]["redis"];
    let command = texts(&service["command"]);
    let user = format!("--user flashsale on >flashsale_redis_password {REDIS_RULES}");
    assert!(command.contains(&user.as_str()), "{command:?}");
    assert!(command.contains(&"--requirepass flashsale_redis_operator_password"), "{command:?}");
    assert_eq!(environment(service)["REDISCLI_AUTH"], "flashsale_redis_operator_password");
}

#[test]
fn rabbitmq_reads_the_definitions_of_the_code() {
    let compose = with_passwords();
    let configs = &compose["configs"];
    let service = &compose["services"]["rabbitmq"];
    let [conf, accounts] = mounted(service).try_into().unwrap();
    assert_eq!(conf, ("rabbitmq-conf", "/etc/rabbitmq/conf.d/20-accounts.conf"));
    assert_eq!(configs["rabbitmq-conf"]["content"].as_str(), Some(&*format!("load_definitions = {}\n", accounts.1)));
    let definitions = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let expected = rabbitmq_definitions("flashsale_rabbitmq_operator_password", "flashsale_rabbitmq_password");
    assert_eq!(definitions(configs[accounts.0]["content"].as_str().unwrap()), definitions(&expected));
    assert_eq!(keys(service).into_iter().find(|key| *key == "environment"), None, "the definitions have its users");
}

#[test]
fn every_password_has_a_default_for_development_and_is_named_at_the_top() {
    let text = repository::read("docker-compose.yml");
    let (top, rest) = text.split_once("\nname:").unwrap();
    load(&[TOKEN]).unwrap();
    for password in PASSWORDS {
        assert!(top.contains(password), "{password}");
        assert!(rest.contains(&format!("${{{password}:-development}}")), "{password}");
    }
    assert_eq!(rest.matches("_PASSWORD:-").count(), rest.matches("_PASSWORD:-development}").count());
}
