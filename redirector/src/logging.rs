//! Log lines on standard error: time, level, message.

use std::io::Write as _;

use log::LevelFilter;

use crate::cli::LogLevel;

/// Starts logging; what `RUST_LOG` says comes on top of the level.
pub(crate) fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Brief => LevelFilter::Info,
        LogLevel::Verbose => LevelFilter::Debug,
    };
    env_logger::Builder::new()
        .filter_level(LevelFilter::Warn)
        .filter_module("redirector", level)
        .parse_default_env()
        .format(|buffer, record| {
            let time = buffer.timestamp();
            writeln!(buffer, "{time} {} {}", record.level(), record.args())
        })
        .init();
}
