//! `slotguard routes`: what a proxy in front of the slots must say, and whether one says it.

mod identity;
mod live;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::{FileProblem, SafeFile, environment_snapshot, load_config};
use guard::route::{Finding, Front, caddy, nginx};
use serde::Serialize;
use step_report::cli::ConfigOption;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

/// Commands of `routes`.
#[derive(Debug, Subcommand)]
pub(crate) enum Routes {
    /// Write the configuration of a proxy that keeps the slots apart
    #[command(subcommand)]
    Render(Kind),
    /// Judge the configuration of a proxy: near a slot, only what `render` writes
    ///
    /// With --live, ask what runs as well: every front must reach its own backend. 65 when anything
    /// is found, or when the configuration cannot be read.
    Verify(Verify),
}

/// A kind of proxy.
#[derive(Debug, Subcommand)]
pub(crate) enum Kind {
    /// For the `http` block of nginx
    Nginx(ConfigOption),
    /// The JSON that Caddy runs
    Caddy(ConfigOption),
}

/// Options of `verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// What `nginx -T` prints, or one file without includes; `-` is standard input
    #[arg(long, value_name = "FILE", required_unless_present_any = ["caddy_config", "live"])]
    nginx_config: Option<PathBuf>,
    /// What `caddy adapt` prints, or the JSON that Caddy runs; `-` is standard input
    #[arg(long, value_name = "FILE")]
    caddy_config: Option<PathBuf>,
    /// Prove of what runs that each front, and each backend's own port, is the slot's
    #[arg(long)]
    live: bool,
    /// Look at this slot only
    #[arg(long, value_name = "SLOT", requires = "live")]
    slot: Option<String>,
    #[command(flatten)]
    config: ConfigOption,
}

/// Largest configuration that is read.
const LARGEST: usize = 4 * 1024 * 1024;

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    configurations: Vec<Judged>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Vec<live::Route>>,
}

#[derive(Serialize)]
struct Judged {
    proxy: &'static str,
    path: String,
    findings: Vec<Finding>,
}

/// Runs the command.
pub(crate) fn run(console: &Console, command: &Routes) -> ExitStatus {
    let outcome = match command {
        Routes::Render(kind) => render(console, kind),
        Routes::Verify(options) => verify(console, options),
    };
    outcome.unwrap_or_else(|denial| console.refuse(None, &denial))
}

fn configured(option: &ConfigOption) -> Result<Config, Denial> {
    Ok(load_config(option.config.as_deref(), &environment_snapshot()?)?.config)
}

fn render(console: &Console, kind: &Kind) -> Result<ExitStatus, Denial> {
    let text = match kind {
        Kind::Nginx(option) => nginx::render(&Front::all(&configured(option)?)?),
        Kind::Caddy(option) => caddy::render(&Front::all(&configured(option)?)?),
    };
    console.line(text.trim_end());
    Ok(ExitStatus::Done)
}

fn verify(console: &Console, options: &Verify) -> Result<ExitStatus, Denial> {
    let config = configured(&options.config)?;
    let fronts = Front::all(&config)?;
    let mut configurations = Vec::new();
    if let Some(path) = &options.nginx_config {
        let findings = nginx::verify(&fronts, &read(path)?, &path.to_string_lossy());
        configurations.push(judged("nginx", path, findings));
    }
    if let Some(path) = &options.caddy_config {
        let findings = caddy::verify(&fronts, &read(path)?, &path.to_string_lossy());
        configurations.push(judged("caddy", path, findings));
    }
    let only = options.slot.as_deref().map(|slot| config.slot(slot)).transpose()?;
    let live = options.live.then(|| live::verify(&config, only)).transpose()?;
    let is_clean = configurations.iter().all(|judged| judged.findings.is_empty())
        && live.iter().flatten().all(|route| route.findings.is_empty());
    match console.format() {
        Format::Json => {
            console.object(&Report { schema: "slotguard.routes/1", configurations, live });
        }
        Format::Human => {
            configurations.iter().for_each(|judged| show(console, judged));
            live.iter().flatten().for_each(|route| show_route(console, route));
        }
    }
    Ok(if is_clean { ExitStatus::Done } else { ExitStatus::BadData })
}

fn judged(proxy: &'static str, path: &Path, findings: Vec<Finding>) -> Judged {
    Judged { proxy, path: shown(&path.to_string_lossy()), findings }
}

fn show(console: &Console, judged: &Judged) {
    for finding in &judged.findings {
        let (file, line) = (shown(&finding.file), finding.line);
        console.line(&format!("{file}:{line}: {}: {}", finding.code, finding.message));
        console.line(&format!("  found:    {}", finding.found));
        console.line(&format!("  expected: {}", finding.expected));
        console.line(&format!("  help:     {}", finding.help));
    }
    let count = judged.findings.len();
    let outcome = match count {
        0 => "clean".to_owned(),
        1 => "1 finding".to_owned(),
        _ => format!("{count} findings"),
    };
    console.line(&format!("{}: {} configuration: {outcome}", judged.path, judged.proxy));
}

fn show_route(console: &Console, route: &live::Route) {
    for finding in &route.findings {
        console.line(&format!("{}: {}", finding.code(), finding.message()));
        console.line(&format!("  found:    {}", finding.found()));
        console.line(&format!("  expected: {}", finding.expected()));
        console.line(&format!("  help:     {}", finding.next_step()));
    }
    console.line(&route.line());
}

fn read(path: &Path) -> Result<String, Denial> {
    let text = if path == Path::new("-") {
        read_standard_input()
    } else {
        SafeFile::of_anybody(LARGEST).read(path)
    };
    text.map_err(|problem| {
        Denial::new(
            Code::RouteFile,
            "the configuration of the proxy cannot be read",
            format!("`{}`: {problem}", shown(&path.to_string_lossy())),
            "a regular file of text, or `-`",
        )
    })
}

fn read_standard_input() -> Result<String, FileProblem> {
    let mut bytes = Vec::new();
    let bound = LARGEST as u64 + 1;
    std::io::stdin().take(bound).read_to_end(&mut bytes).map_err(FileProblem::Unreadable)?;
    if bytes.len() > LARGEST {
        return Err(FileProblem::TooLarge { limit: LARGEST });
    }
    String::from_utf8(bytes).map_err(|_| FileProblem::NotText)
}
