//! What is printed. Tables go to standard output and complaints to standard error, so that a pipe gets answers only.

use std::io::{Write, stderr, stdout};
use std::ops::RangeInclusive;

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

/// Prints a line, with what is not [`printable`] spelled out. A reader that has gone (`| head`) is no error.
pub(crate) fn print(line: &str) {
    let _ = writeln!(stdout().lock(), "{}", printable(line));
}

/// Prints JSON over several lines.
pub(crate) fn print_json(value: &Value) {
    let _ = writeln!(stdout().lock(), "{}", printable_json(value));
}

/// The same JSON, with what is not [`printable`] as `\u` and four digits. Only strings can have it, and serde_json
/// itself escapes ASCII's control characters except the last, so the line ends that are left are its own.
fn printable_json(value: &Value) -> String {
    let mut text = String::new();
    for c in format!("{value:#}").chars() {
        if c == '\n' || is_safe(c) {
            text.push(c);
        } else {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
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
    text.chars().map(|c| if is_safe(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// Whether a character is shown, where it stands, and does nothing else.
fn is_safe(character: char) -> bool {
    !character.is_control() && !INVISIBLE.iter().any(|range| range.contains(&character))
}

/// Line and paragraph separators, and the format characters (general category Cf) of Unicode 16, those that turn the
/// direction of writing among them: <https://www.unicode.org/Public/16.0.0/ucd/extracted/DerivedGeneralCategory.txt>.
const INVISIBLE: [RangeInclusive<char>; 21] = [
    '\u{ad}'..='\u{ad}',
    '\u{600}'..='\u{605}',
    '\u{61c}'..='\u{61c}',
    '\u{6dd}'..='\u{6dd}',
    '\u{70f}'..='\u{70f}',
    '\u{890}'..='\u{891}',
    '\u{8e2}'..='\u{8e2}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{2064}',
    '\u{2066}'..='\u{206f}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{110bd}'..='\u{110bd}',
    '\u{110cd}'..='\u{110cd}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0001}'..='\u{e0001}',
    '\u{e0020}'..='\u{e007f}',
];

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
        for hidden in ['\u{7f}', '\u{85}', '\u{9b}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{e0041}'] {
            let text = format!("a{hidden}é");
            assert_eq!(printable(&text), format!("a{}é", hidden.escape_default()));
            let value = Value::from(vec![text]);
            let json = printable_json(&value);
            assert!(!json.contains(hidden), "{json}");
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
        }
        assert_eq!(printable_json(&Value::from(vec!["\u{9b}\n"])), "[\n  \"\\u009b\\n\"\n]");
    }

    #[test]
    fn a_shortened_text_says_that_it_is() {
        assert_eq!((shortened("seven c", 7), shortened("eight ch", 7)), ("seven c".to_owned(), "eigh...".to_owned()));
    }
}
