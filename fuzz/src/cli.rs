//! The command line: one target, a time, and what came of it.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::engine::{Engine, last_input};
use crate::random::Random;
use crate::{seeds, targets};

/// Steps between two looks at the clock.
const BATCH: u32 = 256;

/// Tries random inputs on one reader of outside text.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The target: database_url, environment, path, slot, config, migration or wire
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(targets::names()))]
    target: String,
    /// How long to run
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The number that repeats a run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs this file once instead, to look at a finding again
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Where an input that is a finding is written
    #[arg(long, value_name = "FILE", default_value = "finding.bin")]
    finding: PathBuf,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let options = Options::parse();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: Options) -> io::Result<()> {
    let Options { target, seconds, seed, replay, finding } = options;
    let target = *targets::find(&target).ok_or_else(|| io::Error::other("no such target"))?;
    let mut output = io::stdout();
    if let Some(file) = replay {
        let signature = (target.check)(&std::fs::read(file)?);
        return writeln!(output, "{}: {signature}", target.name);
    }
    report_findings_to(finding);
    let start = Instant::now();
    let mut engine = Engine::new(target, &seeds::read(target.name)?, Random::new(seed));
    while start.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..BATCH {
            engine.step();
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    for signature in engine.signatures() {
        writeln!(output, "  {signature}")?;
    }
    writeln!(
        output,
        "{} (seed {seed}): {} executions in {elapsed:.1} s, {:.0} a second, {} distinct verdicts, \
         no finding",
        target.name,
        engine.executions(),
        rate(engine.executions(), elapsed),
        engine.signatures().len(),
    )
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(executions: u64, elapsed: f64) -> f64 {
    executions as f64 / elapsed.max(f64::EPSILON)
}

/// Makes a panic write its input and end the program with 1.
fn report_findings_to(file: PathBuf) {
    std::panic::set_hook(Box::new(move |panic| {
        let mut errors = io::stderr();
        let _ = writeln!(errors, "fuzz: finding: {panic}");
        let _ = match std::fs::write(&file, last_input()) {
            Ok(()) => writeln!(errors, "fuzz: the input is in {}", file.display()),
            Err(error) => writeln!(errors, "fuzz: {error}; the input was {:?}", last_input()),
        };
        std::process::exit(1);
    }));
}
