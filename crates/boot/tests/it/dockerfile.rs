//! `crates/Dockerfile`: one stage per process, each with the one binary that cargo builds for it.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::semver::Version;
use cargo_metadata::{MetadataCommand, Package};

use crate::repository;

/// Each process of ours: its service, which is its stage, and its binary.
pub(crate) const PROCESSES: [(&str, &str); 4] = [
    ("reconcile", "flashsale-reconcile"),
    ("api", "flashsale-api"),
    ("persister", "flashsale-persister"),
    ("keeper", "flashsale-keeper"),
];

/// The stages by name; each with its instructions, a continued one on a single line.
fn stages() -> BTreeMap<String, Vec<String>> {
    let text = repository::read("crates/Dockerfile").replace("\\\n", " ");
    let mut stages = BTreeMap::new();
    let mut stage = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((_, name)) = line.strip_prefix("FROM ").and_then(|from| from.split_once(" AS ")) {
            stage = Some(name.to_owned());
        }
        let stage = stage.clone().expect("an instruction stands in a named stage");
        stages.entry(stage).or_insert_with(Vec::new).push(line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    stages
}

/// The words that follow `flag` in an instruction.
fn after_each<'a>(flag: &str, instruction: &'a str) -> BTreeSet<&'a str> {
    let words: Vec<&str> = instruction.split(' ').collect();
    words.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1]).collect()
}

/// The workspace's packages, as cargo sees them.
fn packages() -> Vec<Package> {
    let manifest = repository::path("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap().packages
}

#[test]
fn each_process_has_a_stage_that_runs_its_binary_and_nothing_else() {
    let stages = stages();
    let expected: BTreeSet<&str> = PROCESSES.iter().map(|(stage, _)| *stage).chain(["builder", "runtime"]).collect();
    assert_eq!(stages.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    for (stage, binary) in PROCESSES {
        let instructions = stages[stage].iter().filter(|line| !line.starts_with("EXPOSE ")).collect::<Vec<_>>();
        let expected = [
            format!("FROM runtime AS {stage}"),
            format!("COPY --from=builder /out/{binary} /usr/local/bin/"),
            format!("ENTRYPOINT [\"{binary}\"]"),
        ];
        assert_eq!(instructions, expected.iter().collect::<Vec<_>>());
    }
}

#[test]
fn the_builder_builds_and_keeps_the_binaries_that_cargo_knows() {
    let stages = stages();
    let build = stages["builder"].iter().find(|line| line.contains("cargo build")).unwrap();
    let packages = packages();
    let built = after_each("--package", build);
    let binaries: BTreeSet<&str> = packages
        .iter()
        .filter(|package| built.contains(package.name.as_str()))
        .flat_map(|package| package.targets.iter().filter(|target| target.is_bin()).map(|target| target.name.as_str()))
        .collect();
    assert_eq!(binaries, PROCESSES.iter().map(|(_, binary)| *binary).collect());
    let kept: BTreeSet<&str> = build.split(' ').filter_map(|word| word.strip_prefix("target/release/")).collect();
    assert_eq!(kept, binaries);
}

#[test]
fn what_is_copied_is_there_and_let_into_the_build() {
    let ignore = repository::read(".dockerignore");
    let let_in: BTreeSet<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let stages = stages();
    let copied: BTreeSet<&str> = stages["builder"]
        .iter()
        .filter_map(|line| line.strip_prefix("COPY ")?.rsplit_once(' '))
        .flat_map(|(sources, _)| sources.split(' '))
        .collect();
    assert_eq!(copied, let_in);
    for source in copied {
        assert!(repository::path(source).exists(), "{source}");
    }
}

#[test]
fn the_builder_is_no_older_than_the_language_we_write() {
    let stages = stages();
    let (version, _debian) = stages["builder"][0].strip_prefix("FROM rust:").unwrap().split_once('-').unwrap();
    let builder: Version = format!("{version}.0").parse().unwrap();
    for package in packages() {
        assert!(builder >= package.rust_version.unwrap(), "{}", package.name);
    }
}

#[test]
fn the_processes_do_not_run_as_root() {
    assert_eq!(stages()["runtime"].last().unwrap(), "USER 10001:10001");
}
