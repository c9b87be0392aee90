//! A program that draws on a terminal, and what is on its screen.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroU16;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nix::pty::{OpenptyResult, Winsize, openpty};

/// How large the screen is, in characters.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Characters in a line.
    pub columns: NonZeroU16,
    /// Lines.
    pub rows: NonZeroU16,
}

impl Size {
    /// So many columns and rows.
    ///
    /// # Panics
    /// When one of them is 0.
    pub const fn new(columns: u16, rows: u16) -> Self {
        match (NonZeroU16::new(columns), NonZeroU16::new(rows)) {
            (Some(columns), Some(rows)) => Self { columns, rows },
            _ => panic!("a screen has columns and rows"),
        }
    }
}

/// A program at a terminal of its own; ended when dropped.
pub struct Terminal {
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts `command` at a terminal of that size, one that knows colours.
    ///
    /// # Errors
    /// When there is no terminal to be had, or the program does not start.
    pub fn start(mut command: Command, size: Size) -> Result<Self> {
        let window = Winsize {
            ws_row: size.rows.get(),
            ws_col: size.columns.get(),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } =
            openpty(Some(&window), None).context("can't open a terminal")?;
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave)
            .spawn()
            .context("can't start a program at a terminal")?;
        // The command keeps its ends of the terminal open, and with them the reader.
        drop(command);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(size.rows, size.columns, 0)));
        let drawn = Arc::clone(&screen);
        let mut master = File::from(master);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails once the program has ended and nothing is left.
            while let Ok(length @ 1..) = master.read(&mut bytes) {
                let mut screen = drawn.lock().unwrap_or_else(PoisonError::into_inner);
                screen.process(&bytes[..length]);
            }
        });
        Ok(Self {
            child,
            screen,
            reader: Some(reader),
        })
    }

    /// What is on the screen, without colours.
    pub fn text(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.screen().contents()
    }

    /// The screen as a page of HTML.
    pub fn page(&self) -> String {
        let parser = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let mut page = String::from(
            "<!DOCTYPE html><meta charset=utf-8><style>body{margin:12px;background:#11151c}pre{margin:0;color:#d8dee9;\
             font:14px/18px 'DejaVu Sans Mono',monospace}</style><pre>",
        );
        for row in 0..rows.get() {
            for column in 0..columns.get() {
                if let Some(cell) = screen
                    .cell(row, column)
                    .filter(|c| !c.is_wide_continuation())
                {
                    write_cell(&mut page, cell);
                }
            }
            page.push('\n');
        }
        page.push_str("</pre>");
        page
    }
}

fn write_cell(page: &mut String, cell: &vt100::Cell) {
    let (mut ink, mut ground) = (colour(cell.fgcolor()), colour(cell.bgcolor()));
    if cell.inverse() {
        ink = Some(ground.unwrap_or_else(|| "#11151c".to_owned()));
        ground = Some(colour(cell.fgcolor()).unwrap_or_else(|| "#d8dee9".to_owned()));
    }
    let mut style = String::new();
    let parts = [("color", ink), ("background", ground)];
    for (name, value) in parts {
        if let Some(value) = value {
            // Writing to a string does not fail.
            let _ = write!(style, "{name}:{value};");
        }
    }
    if cell.bold() {
        style.push_str("font-weight:bold;");
    }
    let text = match cell.contents() {
        "" => " ",
        "<" => "&lt;",
        "&" => "&amp;",
        text => text,
    };
    if style.is_empty() {
        page.push_str(text);
    } else {
        let _ = write!(page, "<span style=\"{style}\">{text}</span>");
    }
}

/// The sixteen colours that every terminal has, in a palette that can be read on the dark ground; of the rest those
/// that are given as they are.
fn colour(colour: vt100::Color) -> Option<String> {
    const PALETTE: [&str; 16] = [
        "#3b4252", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#d8dee9",
        "#6b7689", "#ff7b86", "#b5e08f", "#ffd68a", "#82c4ff", "#dd94f0", "#7fd5de", "#ffffff",
    ];
    match colour {
        vt100::Color::Default => None,
        vt100::Color::Idx(index) => PALETTE.get(usize::from(index)).map(|c| (*c).to_owned()),
        vt100::Color::Rgb(red, green, blue) => Some(format!("rgb({red},{green},{blue})")),
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_a_program_draws_is_on_the_screen_in_its_colours() {
        let mut command = Command::new("printf");
        command.arg("\\033[31ma<b\\033[0m done");
        let size = Size::new(20, 2);
        let terminal = Terminal::start(command, size).expect("a terminal");
        let start = Instant::now();
        while !terminal.text().contains("done") {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "nothing is drawn"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(terminal.text(), "a<b done");
        let page = terminal.page();
        assert!(
            page.contains("<span style=\"color:#e06c75;\">&lt;</span>"),
            "{page}"
        );
        assert!(page.contains("done") && !page.contains(">done"), "{page}");
    }
}
