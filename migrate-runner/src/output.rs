//! `--format`: what every command writes, and what only some do.

use clap::{Args, ValueEnum};
use guard::diagnostic::{Code, Denial};
use step_report::console::Format;

/// Who reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// People.
    Human,
    /// Programs: one JSON object, or one a line.
    Json,
    /// Code scanners: SARIF 2.1.0, of `lint`.
    Sarif,
    /// The log of a GitHub workflow, which shows it beside the lines: of `lint`.
    Github,
    /// The reviewer of a pull request: Markdown, of `trace`.
    Markdown,
}

/// `--format`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputOption {
    /// Who reads the output [default: human on a terminal, else json]
    #[arg(long, value_enum, global = true)]
    format: Option<Output>,
}

impl OutputOption {
    /// Returns the format of everything that has no format of its own, such as a refusal.
    pub(crate) fn console(self) -> Option<Format> {
        self.format.map(|output| match output {
            Output::Json => Format::Json,
            Output::Human | Output::Sarif | Output::Github | Output::Markdown => Format::Human,
        })
    }

    /// Returns the format, if the command that `has` some of its own has it.
    ///
    /// # Errors
    /// Refuses a format that only other commands have.
    pub(crate) fn among(self, has: &[Output]) -> Result<Option<Output>, Denial> {
        let usual = [Output::Human, Output::Json];
        match self.format {
            Some(output) if !usual.contains(&output) && !has.contains(&output) => {
                let name = output.to_possible_value();
                Err(Denial::new(
                    Code::Usage,
                    "this command has no such format",
                    format!(
                        "`--format {}`",
                        name.map_or_else(String::new, |name| name.get_name().to_owned())
                    ),
                    "`human`, `json`, and what its --help says",
                ))
            }
            format => Ok(format),
        }
    }
}
