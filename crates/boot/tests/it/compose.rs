//! `docker-compose.yml`: its services, their settings, and what they wait for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use boot::Settings;
use yaml_rust2::Yaml;

use crate::compose_file::{depends_on, environment, keys, load, loaded, texts};
use crate::dockerfile::PROCESSES;
use crate::repository;

const SERVERS: [&str; 3] = ["postgres", "redis", "rabbitmq"];

/// Each process with its service.
pub(crate) fn processes(compose: &Yaml) -> impl Iterator<Item = (&'static str, &Yaml)> {
    PROCESSES.into_iter().map(|(name, _)| (name, &compose["services"][name]))
}

#[test]
fn the_services_are_three_servers_and_our_processes() {
    let compose = loaded();
    let expected: BTreeSet<&str> = SERVERS.into_iter().chain(PROCESSES.map(|(name, _)| name)).collect();
    assert_eq!(keys(&compose["services"]).into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn three_persisters_run_and_one_of_everything_else() {
    let compose = loaded();
    for name in keys(&compose["services"]) {
        let replicas = compose["services"][name]["deploy"]["replicas"].as_i64().unwrap_or(1);
        assert_eq!(replicas, if name == "persister" { 3 } else { 1 }, "{name}");
    }
}

#[test]
fn each_process_is_built_from_its_stage() {
    for (name, service) in processes(&loaded()) {
        let build = ["context", "dockerfile", "target"].map(|key| service["build"][key].as_str());
        assert_eq!(build, [Some("."), Some("crates/Dockerfile"), Some(name)]);
    }
}

#[test]
fn every_variable_is_a_setting() {
    for (name, service) in processes(&loaded()) {
        let variables = environment(service);
        for variable in variables.keys() {
            assert!(variable.starts_with("FLASHSALE__"), "{name}: {variable} would not be read");
        }
        let settings = Settings::from_variables(variables);
        assert!(settings.is_ok(), "{name}: {}", settings.unwrap_err());
    }
}

#[test]
fn a_misspelt_variable_is_no_setting() {
    let variables = environment(&loaded()["services"]["api"]);
    for (variable, value) in variables {
        let (section, field) = variable.rsplit_once("__").unwrap();
        for misspelt in [format!("{variable}X"), format!("{section}X__{field}")] {
            let settings = Settings::from_variables(HashMap::from([(misspelt.clone(), value.clone())]));
            assert!(settings.is_err(), "{misspelt}");
        }
    }
}

#[test]
fn without_an_admin_token_nothing_starts() {
    let problem = load(&[]).unwrap_err();
    assert!(problem.contains("FLASHSALE_ADMIN_TOKEN"), "{problem}");
    let api = environment(&loaded()["services"]["api"]);
    assert!(Settings::from_variables(api).unwrap().api.admin_token().unwrap().is_some());
}

#[test]
fn the_api_listens_on_the_port_that_is_published_and_probed() {
    let compose = loaded();
    let service = &compose["services"]["api"];
    let api = Settings::from_variables(environment(service)).unwrap().api;
    assert_eq!(api.host, "0.0.0.0");
    assert_eq!(texts(&service["ports"]), [format!("127.0.0.1:3000:{}", api.port)]);
    assert!(repository::read("crates/Dockerfile").contains(&format!("EXPOSE {}\n", api.port)));
    let probe = texts(&service["healthcheck"]["test"]).join(" ");
    assert!(probe.contains(&format!("/dev/tcp/127.0.0.1/{} ", api.port)), "{probe}");
    assert!(probe.contains("GET /readyz HTTP/1.0") && probe.contains("[ \"$status\" = 200 ]"), "{probe}");
    assert!(repository::read("crates/api/src/routes.rs").contains("\"/readyz\""));
}

#[test]
fn every_port_is_published_on_loopback_only() {
    let compose = loaded();
    for name in keys(&compose["services"]) {
        for port in texts(&compose["services"][name]["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
}

#[test]
fn reconcile_waits_for_healthy_servers_and_everything_else_for_reconcile() {
    for (name, service) in processes(&loaded()) {
        let expected = match name {
            "reconcile" => SERVERS.map(|server| (server, "service_healthy")).into(),
            _ => BTreeMap::from([("reconcile", "service_completed_successfully")]),
        };
        assert_eq!(depends_on(service), expected, "{name}");
    }
}

#[test]
fn reconcile_runs_once_with_an_argument_it_knows_and_everything_else_goes_on() {
    let compose = loaded();
    for name in keys(&compose["services"]) {
        let restart = if name == "reconcile" { "no" } else { "unless-stopped" };
        assert_eq!(compose["services"][name]["restart"].as_str(), Some(restart), "{name}");
    }
    assert_eq!(texts(&compose["services"]["reconcile"]["command"]), ["--seed"]);
    assert!(repository::read("crates/reconcile/src/main.rs").contains(" seed: bool,"));
}

#[test]
fn each_server_is_checked_and_keeps_its_data_in_a_volume() {
    let compose = loaded();
    let volumes = keys(&compose["volumes"]);
    for name in SERVERS {
        let service = &compose["services"][name];
        assert!(!texts(&service["healthcheck"]["test"]).is_empty(), "{name}");
        let mounted = texts(&service["volumes"]);
        let kept = mounted.iter().filter_map(|volume| volume.split_once(':')).map(|(volume, _)| volume);
        assert_eq!(kept.collect::<Vec<_>>(), [name]);
    }
    assert_eq!(volumes.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(SERVERS));
}

#[test]
fn redis_loses_nothing_that_it_has_answered() {
    let compose = loaded();
    let command = texts(&compose["services"]["redis"]["command"]);
    for option in ["--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"] {
        assert!(command.contains(&option), "{option}");
    }
}

#[test]
fn a_stop_leaves_time_for_what_was_accepted() {
    let compose = loaded();
    let stop_seconds = Settings::from_variables(environment(&compose["services"]["api"])).unwrap().api.stop_seconds;
    for (name, service) in processes(&compose) {
        let grace = service["stop_grace_period"].as_str().and_then(|text| text.strip_suffix('s')).unwrap();
        assert!(grace.parse::<u64>().unwrap() >= stop_seconds + 5, "{name}: {grace}");
    }
}
