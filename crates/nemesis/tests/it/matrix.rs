//! The table of `docs/RELIABILITY.md` and the tests here are the same list.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

const ROWS: RangeInclusive<u32> = 1..=29;

fn tests() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut names = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        // As a function, or as a line of a macro that makes one.
        let lines = text.lines().map(|line| line.trim_start().trim_start_matches("async fn "));
        let names_here = lines.filter_map(|line| line.split(['(', ':']).next());
        let tests = names_here.filter(|name| name.starts_with("row_") || name.starts_with("planted_"));
        names.extend(tests.map(str::to_owned));
    }
    names
}

/// What the document names in backticks.
fn documented() -> BTreeSet<String> {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/RELIABILITY.md");
    let text = std::fs::read_to_string(text).unwrap();
    let names = text.split('`').skip(1).step_by(2);
    names.filter(|name| name.starts_with("row_") || name.starts_with("planted_")).map(str::to_owned).collect()
}

#[test]
fn every_row_of_the_matrix_has_a_test() {
    let tests = tests();
    for row in ROWS {
        let prefix = format!("row_{row:02}_");
        assert!(tests.iter().any(|name| name.starts_with(&prefix)), "row {row} has no test");
    }
}

#[test]
fn the_document_names_every_test_of_the_matrix_and_no_other() {
    assert_eq!(documented(), tests());
}
