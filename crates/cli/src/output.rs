//! What is printed. Tables go to standard output and complaints to standard error, so that a pipe gets answers only.

use std::io::{Write, stderr, stdout};

use clap::ValueEnum;
use serde_json::Value;

/// How answers are printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs: what the API says
    Json,
}

/// Prints a line. A reader that has gone (`| head`) is no error.
pub(crate) fn print(line: &str) {
    let _ = writeln!(stdout().lock(), "{line}");
}

/// Prints JSON over several lines.
pub(crate) fn print_json(value: &Value) {
    print(&format!("{value:#}"));
}

/// Prints what went wrong.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(stderr().lock(), "error: {}", printable(text));
}

/// Prints rows below these headings, each column as wide as its widest cell.
pub(crate) fn print_table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    let widths: [usize; N] = std::array::from_fn(|n| {
        rows.iter().map(|row| row[n].chars().count()).chain([headings[n].len()]).max().unwrap_or_default()
    });
    let line = |cells: [&str; N]| {
        let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        print(padded.join("  ").trim_end());
    };
    line(headings);
    for row in rows {
        line(std::array::from_fn(|n| row[n].as_str()));
    }
}

/// The text without anything that a terminal would take for a command: messages come from anywhere.
pub(crate) fn printable(text: &str) -> String {
    let is_safe = |character: char| !character.is_control();
    text.chars().map(|c| if is_safe(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// The text's beginning, for a column.
pub(crate) fn shortened(text: &str, most_chars: usize) -> String {
    if text.chars().count() <= most_chars {
        return text.to_owned();
    }
    text.chars().take(most_chars - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(printable("a\u{1b}[2Jb\nü"), "a\\u{1b}[2Jb\\nü");
    }

    #[test]
    fn a_shortened_text_says_that_it_is() {
        assert_eq!((shortened("seven c", 7), shortened("eight ch", 7)), ("seven c".to_owned(), "eigh...".to_owned()));
    }
}
