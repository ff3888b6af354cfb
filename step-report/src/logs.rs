//! Logs for people, through `tracing`, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::LevelFilter;

/// `--verbose`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct LogOption {
    /// Say more on standard error; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

impl LogOption {
    /// Starts logging: warnings and errors, with `-v` also what is going on, with `-vv` everything.
    pub fn start(self) {
        let level = match self.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        };
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .without_time()
            .init();
    }
}
