//! `flashsale watch`: everything that moves, each second; on a terminal as a picture, elsewhere as a line of JSON.

mod look;
mod screen;

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::api::Client;
use crate::error::Error;
use crate::output::{Output, print_json_line};
use crate::which;
use look::{Look, Onlooker};

const EVERY: Duration = Duration::from_secs(1);

/// What to look at.
#[derive(Args)]
pub(crate) struct Command {
    /// One sale only: its id, its name or what its name begins with
    sale: Option<String>,
    /// Without a terminal: end after so many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    lines: Option<u32>,
}

/// Looks until `q` is pressed, the reader is gone, or the process is told to end.
///
/// # Errors
/// The API does not answer the first time, or the terminal cannot be used.
pub(crate) async fn run(client: Client, output: Output, command: &Command) -> Result<ExitCode, Error> {
    let sale = match &command.sale {
        Some(wanted) => Some(which::find(&client, wanted).await?.1.sale_id),
        None => None,
    };
    let onlooker = Onlooker::new(client, sale);
    let first = onlooker.look().await?;
    if output == Output::Json || !stdout().is_terminal() {
        print_lines(onlooker, first, command.lines).await;
    } else {
        show(onlooker, first).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn print_lines(onlooker: Onlooker, first: Look, lines: Option<u32>) {
    let mut look = Ok(first);
    let mut ticks = tokio::time::interval(EVERY);
    ticks.tick().await;
    let mut printed = 0;
    loop {
        let line = match &look {
            Ok(look) => look.json(),
            Err(error) => serde_json::json!({ "error": Error::to_string(error) }),
        };
        printed += 1;
        if !print_json_line(&line) || lines == Some(printed) {
            return;
        }
        ticks.tick().await;
        look = onlooker.look().await;
    }
}

/// Draws each look, and each time a key is pressed or the window changes.
async fn show(onlooker: Onlooker, first: Look) -> Result<(), Error> {
    let url = onlooker.url();
    let (looks, mut looked) = watch::channel(Arc::new(first));
    let looking = tokio::spawn(keep_looking(onlooker, looks));
    // Puts the terminal back where the program panics, too.
    let mut terminal = ratatui::try_init()?;
    let mut events = events();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let ended = loop {
        let look = Arc::clone(&looked.borrow_and_update());
        if let Err(error) = terminal.draw(|frame| screen::draw(frame, &url, &look)) {
            break Err(error.into());
        }
        tokio::select! {
            _ = looked.changed() => {}
            event = events.recv() => if event.is_none_or(|event| is_end(&event)) { break Ok(()) },
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
        }
    };
    looking.abort();
    ratatui::restore();
    ended
}

async fn keep_looking(onlooker: Onlooker, looks: watch::Sender<Arc<Look>>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let look = match onlooker.look().await {
            Ok(look) => look,
            Err(error) => looks.borrow().outdated(&error),
        };
        looks.send_replace(Arc::new(look));
    }
}

/// What happens at the terminal. The thread ends with the process.
fn events() -> mpsc::UnboundedReceiver<Event> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

fn is_end(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return false };
    let is_interrupt = *code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL);
    is_interrupt || matches!(code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
}
