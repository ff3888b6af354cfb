//! Options that every program shares, and how a command line that cannot be read ends.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Parser, ValueEnum as _};

use guard::config::Config;
use guard::database_url::DatabaseTarget;
use guard::diagnostic::{Code, Denial, Warning};
use guard::environment::{Environment, judge};
use guard::io::{TargetSource, obtain_target};
use guard::slot::SlotId;
use guard::verify::{VerifiedTarget, verify};

use crate::console::{Console, Format};
use crate::exit::ExitStatus;
use crate::verdict::Verdict;

/// Parses the command line; help and version end with 0, every error with 64.
///
/// # Errors
/// Returns the status to end with when there is nothing to run.
pub fn parse<C: Parser>() -> Result<C, ExitStatus> {
    C::try_parse().map_err(|mut error| {
        hide_values(&mut error);
        // A closed pipe under `--help` is nobody's failure.
        let _ = error.print();
        if error.use_stderr() { ExitStatus::Usage } else { ExitStatus::Done }
    })
}

/// Parses the command line of a program whose standard output is its own: an error is also said
/// there, as a verdict, when programs read it.
///
/// # Errors
/// As [`parse`].
pub fn parse_or_tell<C: Parser>() -> Result<C, ExitStatus> {
    parse().inspect_err(|status| {
        let console = Console::new(wanted_format(std::env::args_os().skip(1)));
        if *status == ExitStatus::Usage && console.format() == Format::Json {
            let denial = Denial::new(
                Code::Usage,
                "the command line cannot be read",
                "what standard error says",
                "a command line as `--help` shows it",
            );
            console.object(&Verdict::denied(None, &denial));
        }
    })
}

/// Looks for `--format` in a command line that could not be read as a whole.
fn wanted_format(mut words: impl Iterator<Item = OsString>) -> Option<Format> {
    let mut wanted = None;
    while let Some(word) = words.next() {
        let value = match word.to_str() {
            Some("--format") => words.next(),
            Some("--") => break,
            Some(word) => word.strip_prefix("--format=").map(OsString::from),
            None => None,
        };
        let value = value.and_then(|value| value.into_string().ok());
        wanted = value.and_then(|value| Format::from_str(&value, false).ok()).or(wanted);
    }
    wanted
}

/// Longest word of a command line that an error repeats.
const LONGEST_WORD: usize = 40;

/// Hides what a refused command line said, unless it is a plain word or the name of an option.
///
/// A database URL in the wrong place would otherwise be printed with its password.
fn hide_values(error: &mut clap::Error) {
    let kinds =
        [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand];
    for kind in kinds {
        let hidden = match error.get(kind) {
            Some(ContextValue::String(text)) => !is_plain_word(text),
            _ => false,
        };
        if hidden {
            error.insert(kind, ContextValue::String("(not shown)".to_owned()));
        }
    }
}

fn is_plain_word(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'-';
    // clap itself puts the placeholder behind the name of an option.
    let (name, placeholder) = text.split_once(' ').unwrap_or((text, "<X>"));
    let is_placeholder = placeholder.starts_with('<') && placeholder.ends_with('>');
    name.len() <= LONGEST_WORD && name.bytes().all(letter) && is_placeholder
}

/// `--format`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct FormatOption {
    /// Who reads the output [default: human on a terminal, else json]
    #[arg(long, value_enum, global = true)]
    pub format: Option<Format>,
}

/// `--config`.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigOption {
    /// Configuration file [default: $SLOTGUARD_CONFIG, else /etc/slotguard/slotguard.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `--database-url-file` and `--database-url`.
#[derive(Debug, Clone, clap::Args)]
pub struct TargetOptions {
    /// File that holds the database URL; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// The database URL itself [default: $DATABASE_URL, else rendered from the configuration]
    ///
    /// A password on the command line can be read by every user of the host.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
}

impl TargetOptions {
    /// Obtains the target from these options, the environment or the configuration.
    ///
    /// Returns the target, the text given by option, and warnings.
    ///
    /// # Errors
    /// As [`obtain_target`].
    pub fn obtain(
        &self,
        slot: SlotId,
        environment: &Environment,
        config: &Config,
    ) -> Result<(DatabaseTarget, Option<guard::secret::Secret>, Vec<Warning>), Denial> {
        let source = TargetSource {
            file: self.database_url_file.as_deref(),
            option: self.database_url.as_deref(),
        };
        obtain_target(source, environment, config, slot)
    }

    /// Obtains and verifies the target, judging the environment as the application's own.
    ///
    /// # Errors
    /// Every refusal of the target and of the environment.
    pub fn verify(
        &self,
        slot: SlotId,
        environment: &Environment,
        config: &Config,
    ) -> Result<(VerifiedTarget, Vec<Warning>), Denial> {
        let (target, given, mut warnings) = self.obtain(slot, environment, config)?;
        let given = given.as_ref().map(guard::secret::Secret::dangerous_expose);
        judge(slot, environment, given)?;
        let target = verify(slot, target, &config.database)?;
        warnings.extend(target.warnings(&config.database));
        Ok((target, warnings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        format: FormatOption,
        #[arg(long)]
        number: Option<u8>,
    }

    fn said(words: &[&str]) -> String {
        let line = ["example"].iter().chain(words);
        let mut error = Example::try_parse_from(line).unwrap_err();
        hide_values(&mut error);
        error.to_string()
    }

    #[test]
    fn a_misplaced_secret_is_not_repeated() {
        let url = "postgresql://u:hunter2@127.0.0.1/x";
        for words in [
            vec![url],
            vec!["--number", url],
            vec!["--format", url],
            vec!["--nmber", url],
            vec!["--", url],
            vec!["--nmber=postgresql://u:hunter2@127.0.0.1/x"],
            vec!["--format=hunter2"],
            vec!["hunter2"],
        ] {
            let text = said(&words);
            assert!(!text.contains("hunter2"), "{words:?}: {text}");
        }
    }

    #[test]
    fn the_format_is_found_in_a_command_line_that_cannot_be_read() {
        let wanted = |line: &str| wanted_format(line.split(' ').map(OsString::from));
        assert_eq!(wanted("chekc --format json"), Some(Format::Json));
        assert_eq!(wanted("--format=human chekc"), Some(Format::Human));
        assert_eq!(wanted("chekc --format xml"), None);
        assert_eq!(wanted("exec -- --format json"), None);
    }

    #[test]
    fn a_misspelt_option_is_still_named() {
        assert!(said(&["--nmber"]).contains("--nmber"));
        assert!(said(&["--number"]).contains("--number"));
        assert!(said(&["--format", "xml"]).contains("xml"));
    }
}
