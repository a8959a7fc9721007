//! The rules of the house: who may import whom, licences, sizes, names. Held here and not by memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Which of our crates each crate may import, outside of tests.
const IMPORTS: &[(&str, &[&str])] = &[
    ("flashsale-domain", &[]),
    ("flashsale-failpoints", &[]),
    ("flashsale-inventory", &["flashsale-domain", "flashsale-failpoints"]),
    ("flashsale-broker", &["flashsale-domain", "flashsale-failpoints"]),
    ("flashsale-ledger", &["flashsale-domain"]),
    ("flashsale-identity", &["flashsale-domain"]),
    ("flashsale-payments", &["flashsale-domain"]),
    ("flashsale-boot", BOOT),
    (
        "flashsale-reconcile",
        &[
            "flashsale-domain",
            "flashsale-failpoints",
            "flashsale-boot",
            "flashsale-inventory",
            "flashsale-broker",
            "flashsale-ledger",
        ],
    ),
    ("flashsale-api", PROCESS),
    ("flashsale-worker", PROCESS),
    (
        "flashsale-cli",
        &[
            "flashsale-domain",
            "flashsale-boot",
            "flashsale-identity",
            "flashsale-inventory",
            "flashsale-broker",
            "flashsale-ledger",
            "flashsale-payments",
        ],
    ),
    ("flashsale-browser", &["flashsale-servers", "flashsale-testkit"]),
    ("flashsale-model", &[]),
    (
        "flashsale-bench",
        &[
            "flashsale-domain",
            "flashsale-inventory",
            "flashsale-broker",
            "flashsale-ledger",
            "flashsale-servers",
            "flashsale-testkit",
        ],
    ),
    ("flashsale-servers", &[]),
    ("flashsale-nemesis", &[]),
    ("xtask", &["flashsale-servers"]),
    (
        "flashsale-testkit",
        &[
            "flashsale-domain",
            "flashsale-boot",
            "flashsale-inventory",
            "flashsale-broker",
            "flashsale-ledger",
            "flashsale-payments",
            "flashsale-servers",
        ],
    ),
];
/// Each service's settings stand with its client.
const BOOT: &[&str] =
    &["flashsale-identity", "flashsale-inventory", "flashsale-broker", "flashsale-ledger", "flashsale-payments"];
const PROCESS: &[&str] = &[
    "flashsale-domain",
    "flashsale-failpoints",
    "flashsale-boot",
    "flashsale-identity",
    "flashsale-inventory",
    "flashsale-broker",
    "flashsale-ledger",
    "flashsale-payments",
    "flashsale-reconcile",
];

/// The one crate that may use each client of an outside service.
const CLIENTS: &[(&str, &[&str])] = &[
    ("redis", &["flashsale-inventory"]),
    ("lapin", &["flashsale-broker"]),
    // The testkit makes the databases of the tests; the bench writes to one without us.
    ("sqlx", &["flashsale-ledger", "flashsale-testkit", "flashsale-bench"]),
];

const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE-MIT",
    "README.md",
    "crates",
    "docker-compose.yml",
    "docs",
    "k6",
    "lua",
    "migrations",
];

const LONGEST_FUNCTION: usize = 70;
const LONGEST_FILE: usize = 450;
const LONGEST_SCRIPT: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("crates/xtask is two below the root").to_owned()
}

/// What is compiled on this machine: packages for other systems need not even be downloaded.
fn metadata() -> Metadata {
    let version = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let options = ["--locked", "--filter-platform", host].map(str::to_owned);
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).other_options(options).exec().unwrap()
}

/// Every file of ours with this ending.
fn sources(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn each_crate_imports_only_what_the_plan_allows() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    let planned: BTreeMap<&str, &[&str]> = IMPORTS.iter().copied().collect();
    assert_eq!(ours, planned.keys().copied().collect(), "every crate has a row in the plan");
    for package in metadata.workspace_packages() {
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            let name = dependency.name.as_str();
            if ours.contains(name) {
                assert!(planned[package.name.as_str()].contains(&name), "{} must not import {name}", package.name);
            }
        }
    }
}

#[test]
fn each_outside_service_has_one_crate_that_speaks_to_it() {
    for package in metadata().workspace_packages() {
        for dependency in package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development) {
            if let Some((client, crates)) = CLIENTS.iter().find(|(client, _)| *client == dependency.name) {
                assert!(crates.contains(&package.name.as_str()), "{} must not use {client}", package.name);
            }
        }
    }
}

#[test]
fn every_dependency_has_a_licence_that_we_accept() {
    for package in metadata().packages {
        let licence = package.license.clone().unwrap_or_default().replace('/', " OR ");
        let accepted = licence
            .split(" OR ")
            .any(|choice| choice.split(" AND ").all(|part| LICENCES.contains(&part.trim_matches(['(', ')', ' ']))));
        assert!(accepted, "{} {} is under {licence:?}", package.name, package.version);
    }
}

#[test]
fn the_top_level_holds_the_plan_and_nothing_else() {
    let allowed: BTreeSet<&str> = TOP_LEVEL.iter().copied().collect();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || name == "target" || allowed.contains(name.as_str()), "{name} has no place");
    }
}

#[test]
fn functions_and_files_stay_short() {
    for path in sources(&root().join("crates"), "rs") {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= LONGEST_FILE, "{} has {} lines", path.display(), lines.len());
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            let length = lines[start..].iter().position(|line| *line == end).map_or(1, |last| last + 1);
            assert!(length <= LONGEST_FUNCTION, "{}:{} has {length} lines", path.display(), start + 1);
        }
    }
}

/// Whether a function with a body begins on this line, in code formatted by rustfmt.
fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let modifiers = ["pub", "pub(crate)", "pub(super)", "async", "const"];
    let keyword = words.find(|word| !modifiers.contains(word));
    keyword == Some("fn") && !line.ends_with([';', '}'])
}

#[test]
fn every_script_is_short_and_states_its_contract() {
    for path in sources(&root().join("lua"), "lua") {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() <= LONGEST_SCRIPT, "{} is too long", path.display());
        assert!(text.starts_with("#!lua\n-- epoch=0 nonce=0\n-- "), "{} has no place for its epoch", path.display());
        for part in ["-- KEYS ", "-- ARGV ", "-- Reply "] {
            assert!(text.contains(part), "{} says nothing of its {part}", path.display());
        }
    }
}

#[test]
fn no_room_is_named_after_nothing() {
    for path in sources(&root().join("crates"), "rs") {
        let inside = path.strip_prefix(root()).unwrap();
        for part in inside.with_extension("").iter().filter_map(|part| part.to_str()) {
            assert!(
                !["common", "utils", "util", "shared", "helpers", "misc", "mod"].contains(&part),
                "{}",
                inside.display()
            );
        }
    }
}

#[test]
fn tests_wait_for_conditions_and_skip_nothing() {
    // Put together here so that this file does not find itself.
    let anywhere = [["#[ign", "ore"], ["todo", "!("], ["unimplem", "ented!("]].map(|parts| parts.concat());
    let in_tests = [["thread::", "sleep("], ["time::", "sleep("]].map(|parts| parts.concat());
    for path in sources(&root().join("crates"), "rs") {
        let text = fs::read_to_string(&path).unwrap();
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        let banned = anywhere.iter().chain(in_tests.iter().filter(|_| is_test));
        for word in banned {
            assert!(!text.contains(word), "{} has {word}", path.display());
        }
    }
}
