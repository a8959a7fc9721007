//! What is printed. Tables go to standard output and complaints to standard error, so that a pipe gets answers only.

use std::io::{Write, stdout};
use std::ops::RangeInclusive;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde_json::Value;
use tabled::builder::Builder;
use tabled::settings::Padding;

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
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let mut err = anstream::stderr().lock();
    let _ = writeln!(err, "{}: {}", painted(BAD, "error"), printable(first));
    for line in lines {
        let _ = writeln!(err, "{}", printable(line));
    }
}

/// Prints one line of JSON. False where the reader has gone.
pub(crate) fn print_json_line(value: &Value) -> bool {
    // What is not printable stands in strings only, and nothing but line ends differs from the pretty form.
    let line: String = printable_json(value).lines().map(str::trim_start).collect();
    let mut out = stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

/// A text in a colour, where it is shown on a terminal. It must be [`printable`] already.
pub(crate) fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const STRONG: Style = Style::new().bold();

/// Prints a line that has colours; they are left out where standard output is no terminal, or NO_COLOR is set.
pub(crate) fn print_painted(line: &str) {
    let _ = writeln!(anstream::stdout().lock(), "{line}");
}

/// Prints rows below these headings, each column as wide as its widest cell. Cells may be [`painted`], and must be
/// [`printable`].
pub(crate) fn print_table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut table = Builder::from_iter(rows);
    table.insert_record(0, headings.map(|heading| painted(FAINT, heading)));
    for line in columns(table).lines() {
        print_painted(line);
    }
}

/// What is there, printable, and shorter where a long text is what was expected.
pub(crate) fn compared(expected: &str, actual: &str) -> String {
    const LONG_CHARS: usize = 16;
    if actual == expected && actual.chars().count() > LONG_CHARS { "same".to_owned() } else { printable(actual) }
}

/// Prints names and values side by side; a value may have several lines.
pub(crate) fn print_fields<const N: usize>(fields: [(&str, String); N]) {
    let rows = fields.map(|(name, value)| [painted(FAINT, name), value]);
    for line in columns(Builder::from_iter(rows)).lines() {
        print_painted(line);
    }
}

fn columns(table: Builder) -> String {
    let mut table = table.build();
    table.with(tabled::settings::Style::empty()).with(Padding::new(0, 2, 0, 0));
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
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
