//! Log lines on standard error: time, level, message. How much is logged can be changed while the agent runs.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use env_logger::Logger;
use log::{LevelFilter, Log, Metadata, Record};
use serde::{Deserialize, Serialize};

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What an operator acts on
    Brief,
    /// What a developer wonders about as well
    Verbose,
}

impl LogLevel {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Brief => "brief",
            Self::Verbose => "verbose",
        }
    }
}

/// Two loggers, of which one is heard.
struct Switch {
    brief: Logger,
    verbose: Logger,
    is_verbose: AtomicBool,
}

static SWITCH: OnceLock<Switch> = OnceLock::new();

impl Switch {
    fn current(&self) -> &Logger {
        if self.is_verbose.load(Ordering::Relaxed) {
            &self.verbose
        } else {
            &self.brief
        }
    }

    fn set(&self, level: LogLevel) {
        self.is_verbose
            .store(level == LogLevel::Verbose, Ordering::Relaxed);
        log::set_max_level(self.current().filter());
    }
}

impl Log for Switch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.current().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.current().log(record);
    }

    fn flush(&self) {
        self.current().flush();
    }
}

/// Starts logging; what `RUST_LOG` says comes on top of the level. Called a second time it changes the level only.
pub fn start(level: LogLevel) {
    let switch = SWITCH.get_or_init(|| Switch {
        brief: logger(LevelFilter::Info),
        verbose: logger(LevelFilter::Debug),
        is_verbose: AtomicBool::new(false),
    });
    // Another logger, as of a test, stays.
    let _ = log::set_logger(switch);
    switch.set(level);
}

/// Changes how much is logged. Does nothing in a program that has not called [`start`].
pub fn switch(level: LogLevel) {
    if let Some(switch) = SWITCH.get() {
        switch.set(level);
    }
}

fn logger(level: LevelFilter) -> Logger {
    env_logger::Builder::new()
        .filter_level(LevelFilter::Warn)
        .filter_module("redirector", level)
        .parse_default_env()
        .format(|buffer, record| {
            let time = buffer.timestamp();
            writeln!(buffer, "{time} {} {}", record.level(), record.args())
        })
        .build()
}
