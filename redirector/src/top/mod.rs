//! `redirector top`: the state of the agent in the terminal, live.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the loop: ask, draw, listen to keys |
//! | `history.rs` | totals become rates |
//! | `view.rs` | what is drawn; pure, so that it is tested without a terminal |

mod history;
mod view;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use self::history::History;
use self::view::View;
use crate::control::{Client, Request, Response, Status};

/// How often the agent is asked.
const EVERY: Duration = Duration::from_secs(1);

/// Shows the agent that listens on `socket` until a key ends it.
///
/// # Errors
/// When standard output is no terminal, or the terminal fails. An agent that does not answer is shown as such, and
/// asked again.
pub fn run(socket: &Path) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() {
        bail!(
            "standard output is no terminal; for other programs there is `redirector show summary --json`"
        );
    }
    // Puts the terminal back on a panic as well.
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let result = follow(&mut terminal, socket);
    ratatui::try_restore().context("cannot put the terminal back; type `reset`")?;
    result
}

fn follow(terminal: &mut ratatui::DefaultTerminal, socket: &Path) -> anyhow::Result<()> {
    let mut view = View::default();
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            next = Instant::now() + EVERY;
            if !view.is_paused {
                view.take(ask(socket), Instant::now());
            }
        }
        terminal
            .draw(|frame| view.draw(frame))
            .context("cannot draw on the terminal")?;
        let wait = next.saturating_duration_since(Instant::now());
        if event::poll(wait).context("cannot listen to the terminal")? {
            // A change of size is drawn at once, like everything else.
            if let Event::Key(key) = event::read().context("cannot read from the terminal")?
                && press(&mut view, key)
            {
                return Ok(());
            }
        }
    }
}

fn ask(socket: &Path) -> Result<Status, String> {
    let answer = Client::connect(socket).and_then(|mut client| client.call(&Request::Status));
    match answer {
        Ok(Response::Status(status)) => Ok(*status),
        Ok(Response::Error { message }) => Err(message),
        Ok(other) => Err(format!(
            "the agent answered something else than was asked: {other:?}"
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// Does what a key asks for; says whether it asks for the end.
fn press(view: &mut View, key: KeyEvent) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    #[expect(clippy::wildcard_enum_match_arm, reason = "most keys mean nothing")]
    match key.code {
        KeyCode::Char('c') if control => return true,
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('p' | ' ') => view.is_paused = !view.is_paused,
        KeyCode::Char('a') => view.all_counters = !view.all_counters,
        KeyCode::Down | KeyCode::Char('j') => view.scroll(1),
        KeyCode::Up | KeyCode::Char('k') => view.scroll(-1),
        KeyCode::PageDown => view.scroll(10),
        KeyCode::PageUp => view.scroll(-10),
        KeyCode::Home | KeyCode::Char('g') => view.scroll(isize::MIN),
        _ => {}
    }
    false
}
