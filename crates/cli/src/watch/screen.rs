//! The picture: books, sales, traffic, processes. Pure: it draws what was seen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Sparkline, Table};

use super::look::{LiveSale, Look, Point, Process};
use crate::output::printable;

/// What the API has of the last seconds ends so many seconds ago: all processes have told theirs by then.
const SETTLED_SECONDS: i64 = 2;
const BAR_CHARS: usize = 10;
const SALE_HEADINGS: [&str; 9] = ["SALE", "STATE", "", "SOLD", "HELD", "FLYING", "QUEUE", "HANDS", "DEAD"];
const PROCESS_HEADINGS: [&str; 5] = ["PROCESS", "WHERE", "HEARD OF", "HANDLED", "A SECOND"];

/// Draws everything into the window.
pub(super) fn draw(frame: &mut Frame, url: &str, look: &Look) {
    let sales = u16::try_from(look.live.sales.len()).unwrap_or(u16::MAX).max(1).saturating_add(2);
    let processes = u16::try_from(look.live.processes.len()).unwrap_or(u16::MAX).max(1).saturating_add(2);
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Max(sales),
        Constraint::Min(6),
        Constraint::Max(processes),
    ])
    .split(frame.area());
    draw_head(frame, areas[0], url, look);
    draw_sales(frame, areas[1], look);
    draw_traffic(frame, areas[2], look);
    draw_processes(frame, areas[3], &look.live.processes);
}

fn draw_head(frame: &mut Frame, area: Rect, url: &str, look: &Look) {
    let rows = Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).split(area);
    let at = look.live.at.format("%H:%M:%S UTC").to_string();
    let sides = Layout::horizontal([Constraint::Min(0), Constraint::Length(22)]).split(rows[0]);
    frame.render_widget(Line::from(vec!["flashsale ".bold(), Span::from(printable(url))]), sides[0]);
    frame.render_widget(Line::from(format!("{at}  q quits")).right_aligned(), sides[1]);
    frame.render_widget(books(look), rows[1]);
}

/// One line, green or red.
fn books(look: &Look) -> Line<'static> {
    let bad = |text: String| Line::styled(printable(&text), Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
    if let Some(complaint) = &look.complaint {
        return bad(format!("what follows is old: {complaint}"));
    }
    let name_of = |id| look.live.sales.iter().find(|sale| sale.sale_id == id).map_or("", |sale| sale.name.as_str());
    for (sale, books) in &look.books {
        match books {
            Err(error) => return bad(format!("the books cannot be read: {error}")),
            Ok(books) if !books.ok => {
                let broken = books.invariants.iter().filter(|one| !one.ok).map(|one| one.name.as_str());
                let broken: Vec<&str> = broken.collect();
                return bad(format!("BOOKS BROKEN: {}: {}", name_of(*sale), broken.join(", ")));
            }
            Ok(_) => {}
        }
    }
    let on_its_way = look.books.iter().any(|(_, books)| books.as_ref().is_ok_and(|books| !books.settled));
    let state = if on_its_way { "the books are right, something is on its way" } else { "the books are right" };
    let away = match look.live.unavailable.as_slice() {
        [] => Span::default(),
        away => Span::from(format!("  cannot be read: {}", printable(&away.join(", ")))).red(),
    };
    Line::from(vec![Span::from(format!("{state} ({} sales)", look.books.len())).green(), away])
}

fn draw_sales(frame: &mut Frame, area: Rect, look: &Look) {
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(8),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(4),
        Constraint::Length(9),
        Constraint::Length(5),
        Constraint::Length(5),
        Constraint::Length(4),
    ];
    let rows: Vec<Row> = look.live.sales.iter().map(|sale| sale_row(sale, look)).collect();
    if rows.is_empty() {
        frame.render_widget(Paragraph::new("no sale is on, and none has ended in the last hour").dim(), area);
        return;
    }
    let headings = Row::new(SALE_HEADINGS).style(Style::new().dim());
    frame.render_widget(Table::new(rows, widths).header(headings).block(Block::new().borders(Borders::TOP)), area);
}

fn sale_row(sale: &LiveSale, look: &Look) -> Row<'static> {
    let or_dash = |count: Option<i64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let flying = match (sale.in_flight, sale.outbox_age_ms) {
        (Some(units), Some(age)) if units > 0 => format!("{units} ({})", span(age)),
        (units, _) => or_dash(units),
    };
    let (state, style) = match (sale.state.as_str(), sale.halted.as_deref()) {
        ("ended", _) => ("ended", Style::new().dim()),
        (_, Some("ended")) => ("ending", Style::new().yellow()),
        (_, Some(_)) => ("paused", Style::new().yellow()),
        ("open", None) if sale.starts_at > look.live.at => ("upcoming", Style::new()),
        ("open", None) => ("open", Style::new().green()),
        ("draining", None) => ("rebuilt", Style::new().red()),
        _ => ("closed", Style::new().dim()),
    };
    let hands = sale.consumers.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let no_hands = sale.consumers == Some(0) && sale.state == "open";
    let dead = sale.dead_letters.is_some_and(|count| count > 0);
    let alarm = |is_on: bool| if is_on { Style::new().red() } else { Style::new() };
    Row::new([
        Cell::from(printable(&sale.name)),
        Cell::from(state).style(style),
        Cell::from(bar(sale.sold, sale.total_stock)).cyan(),
        Cell::from(format!("{}/{}", short(sale.sold), short(sale.total_stock))),
        Cell::from(or_dash(sale.held)),
        Cell::from(flying),
        Cell::from(or_dash(sale.queued_messages)),
        Cell::from(hands).style(alarm(no_hands)),
        Cell::from(or_dash(sale.dead_letters)).style(alarm(dead)),
    ])
}

fn draw_traffic(frame: &mut Frame, area: Rect, look: &Look) {
    let sides = Layout::horizontal([Constraint::Fill(1), Constraint::Length(2), Constraint::Fill(1)]).split(area);
    let end = look.live.at.timestamp() - SETTLED_SECONDS;
    let latest = look.live.traffic.iter().rev().find(|point| point.at.timestamp() >= end - 1);
    let rates = latest.map_or_else(
        || " no clicks ".to_owned(),
        |Point { attempts, successes, refusals, unknown, .. }| {
            let doubt = if *unknown > 0 { format!(", {unknown} in doubt") } else { String::new() };
            format!(" {attempts} clicks/s: {successes} won{doubt}, {refusals} refused ")
        },
    );
    let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
    let waits = latest.map_or_else(
        || " no answers ".to_owned(),
        |point| format!(" p50 {} p95 {} p99 {} ms ", ms(point.p50_ms), ms(point.p95_ms), ms(point.p99_ms)),
    );
    let width = usize::from(sides[0].width);
    let clicks = by_second(&look.live.traffic, end, width, |point| point.attempts);
    // Hundredths of a millisecond: a sparkline has whole numbers only.
    let p95 = by_second(&look.live.traffic, end, width, |point| hundredths(point.p95_ms));
    for (side, title, data, colour) in [(sides[0], rates, clicks, Color::Green), (sides[2], waits, p95, Color::Magenta)]
    {
        let block = Block::new().borders(Borders::TOP).title(title);
        frame.render_widget(Sparkline::default().block(block).data(&data).style(Style::new().fg(colour)), side);
    }
}

fn draw_processes(frame: &mut Frame, area: Rect, processes: &[Process]) {
    let widths = [
        Constraint::Length(10),
        Constraint::Fill(1),
        Constraint::Length(14),
        Constraint::Length(12),
        Constraint::Length(9),
    ];
    let row = |process: &Process| {
        let heard = format!("{} ago", span(process.age_ms));
        let style = if process.alive { Style::new() } else { Style::new().red() };
        Row::new([
            printable(&process.role),
            format!("{}:{}", printable(&process.host), process.pid),
            heard,
            process.handled.to_string(),
            format!("{:.1}", process.per_second),
        ])
        .style(style)
    };
    let headings = Row::new(PROCESS_HEADINGS).style(Style::new().dim());
    let table = Table::new(processes.iter().map(row), widths).header(headings);
    frame.render_widget(table.block(Block::new().borders(Borders::TOP)), area);
}

/// One number for each of the last seconds up to `end`, 0 where nothing was clicked.
fn by_second(traffic: &[Point], end: i64, seconds: usize, value: impl Fn(&Point) -> u64) -> Vec<u64> {
    let mut data = vec![0; seconds];
    for point in traffic {
        let ago = usize::try_from(end - point.at.timestamp()).unwrap_or(usize::MAX);
        if let Some(slot) = seconds.checked_sub(ago.saturating_add(1)).and_then(|index| data.get_mut(index)) {
            *slot = value(point);
        }
    }
    data
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of a minute at most")]
fn hundredths(ms: Option<f64>) -> u64 {
    (ms.unwrap_or_default().max(0.0) * 100.0).round() as u64
}

/// So much of a bar as there is sold.
fn bar(sold: i64, total: i64) -> String {
    let filled = usize::try_from(sold * BAR_CHARS as i64 / total.max(1)).unwrap_or(0).min(BAR_CHARS);
    format!("{}{}", "█".repeat(filled), "░".repeat(BAR_CHARS - filled))
}

/// At most five characters.
fn short(count: i64) -> String {
    match count {
        ..10_000 => count.to_string(),
        10_000..10_000_000 => format!("{}k", count / 1_000),
        _ => format!("{}M", count / 1_000_000),
    }
}

fn span(ms: i64) -> String {
    match ms {
        ..10_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..120_000 => format!("{} s", ms / 1_000),
        _ => format!("{} min", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::look::tests::look;
    use super::*;

    fn drawn(look: &Look, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, "http://127.0.0.1:3000/", look)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n").collect()
    }

    #[test]
    fn a_window_of_80_by_24_shows_everything_that_matters() {
        let picture = drawn(&look(), 80, 24);
        for part in [
            "12:00:10 UTC",
            "the books are right, something is on its way (1 sales)",
            "Lamp",
            "60/100",
            "██████░░░░",
            "2 (1.5 s)",
            "200 clicks/s: 10 won, 1 in doubt, 189",
            "p50 2.5 p95 8.0 p99 12.0 ms",
            "keeper",
            "vm:8",
            "61 s ago",
        ] {
            assert!(picture.contains(part), "no {part} in\n{picture}");
        }
    }

    #[test]
    fn what_is_wrong_stands_in_the_line_of_the_books() {
        let mut look = look();
        if let (_, Ok(books)) = &mut look.books[0] {
            books.ok = false;
            let broken = serde_json::json!({ "name": "never_oversold", "expected": "1", "actual": "2", "ok": false });
            books.invariants.push(serde_json::from_value(broken).unwrap());
        }
        assert!(drawn(&look, 80, 24).contains("BOOKS BROKEN: Lamp: never_oversold"));
        look.complaint = Some("no answer".to_owned());
        assert!(drawn(&look, 80, 24).contains("what follows is old: no answer"));
        look.complaint = None;
        look.books[0].1 = Err("no gate".to_owned());
        assert!(drawn(&look, 80, 24).contains("the books cannot be read: no gate"));
    }

    #[test]
    fn no_window_is_too_small_and_none_too_large() {
        for (width, height) in [(1, 1), (20, 5), (40, 10), (300, 90)] {
            drawn(&look(), width, height);
        }
    }

    #[test]
    fn seconds_without_clicks_are_zero() {
        let look = look();
        let end = look.live.at.timestamp() - SETTLED_SECONDS;
        assert_eq!(by_second(&look.live.traffic, end, 4, |point| point.attempts), [0, 0, 50, 200]);
        assert_eq!(by_second(&look.live.traffic, end, 1, |point| point.attempts), [200]);
        assert!(by_second(&look.live.traffic, end, 0, |point| point.attempts).is_empty());
    }

    #[test]
    fn a_bar_is_as_full_as_the_sale_is_sold() {
        assert_eq!(bar(0, 0), "░".repeat(10));
        assert_eq!(bar(100, 100), "█".repeat(10));
        assert_eq!(bar(150, 100), "█".repeat(10));
    }
}
