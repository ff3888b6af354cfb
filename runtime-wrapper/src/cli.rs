//! The command line, from text to options; what the options mean is decided in [`crate::plan`].
//!
//! Options that every program shares come from `step-report`. `--config` is this crate's own,
//! because here it does not fall back to `SLOTGUARD_CONFIG`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use slot_runtime::lease::Generation;
use step_report::cli::{FormatOption, TargetOptions};

/// Starts programs of preview slots with nothing of the parent but what is allowed.
#[derive(Debug, Parser)]
#[command(name = "runtime-wrapper", version, after_help = exit_codes())]
pub struct Cli {
    /// `--format`.
    #[command(flatten)]
    pub format: FormatOption,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replace this process by an allowed program of a slot
    #[command(long_about = EXEC_ABOUT, after_help = exit_codes())]
    Exec(ExecOptions),
    /// Show everything that `exec` would do, and start nothing
    #[command(long_about = PLAN_ABOUT, mut_arg("events_fd", |arg| arg.hide(true)))]
    Plan(ExecOptions),
    /// Show what the running kernel can enforce, and the line of `[sandbox]` that fits it
    #[command(long_about = PROBE_ABOUT)]
    Probe,
    /// Say why a variable reaches the programs of a slot, or not
    #[command(long_about = EXPLAIN_ABOUT)]
    ExplainEnv(ExplainOptions),
}

/// The options of `explain-env`.
#[derive(Debug, Clone, Args)]
pub struct ExplainOptions {
    /// The slot whose programs are meant, such as `preview-1`
    #[arg(long, value_name = "SLOT")]
    pub slot: String,
    /// Configuration file [default: /etc/slotguard/slotguard.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The name of the variable; its value is never shown
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// What a program is started for, and so what it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// To serve the slot: its database and its port
    #[default]
    Backend,
    /// To fetch dependencies or to build: no database, no port to serve on, a home of its own
    Sync,
}

/// The options of `exec`.
#[derive(Debug, Clone, Args)]
pub struct ExecOptions {
    /// The slot the program belongs to, such as `preview-1`
    #[arg(long, value_name = "SLOT")]
    pub slot: String,
    /// Configuration file [default: /etc/slotguard/slotguard.toml]
    ///
    /// `SLOTGUARD_CONFIG` is not read: the environment must not choose the policy.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory beneath `[roots] worktree` to run in [default: the slot's private home]
    #[arg(long, value_name = "DIR")]
    pub worktree: Option<OsString>,
    /// What the program is started for
    #[arg(long, value_enum, value_name = "PURPOSE", default_value_t)]
    pub purpose: Purpose,
    /// `--database-url-file` and `--database-url`.
    #[command(flatten)]
    pub target: TargetOptions,
    /// Open descriptor, 3 or above, that gets events as JSON lines [default: standard error]
    #[arg(long, value_name = "N")]
    pub events_fd: Option<i32>,
    /// Take program, arguments and worktree from the slot's record
    ///
    /// What it says is judged as if it stood on the command line.
    #[arg(long, conflicts_with_all = ["worktree", "words"])]
    pub from_record: bool,
    /// Generation under which the slot was claimed [default: that of the record]
    ///
    /// A claimed slot needs it.
    #[arg(long, value_name = "GEN")]
    pub lease: Option<Generation>,
    /// The program, as an absolute path, and its arguments
    #[arg(last = true, required_unless_present = "from_record", value_name = "PROG ARGS")]
    pub words: Vec<OsString>,
}

const EXEC_ABOUT: &str = "\
Replace this process by an allowed program of a slot.

The database target, the program with its arguments and the worktree are checked first; any refusal \
ends with a code and starts nothing. The program then runs under the same process id, with an \
environment built from nothing, without inherited descriptors, and in its worktree or the slot's \
private home. Standard output belongs to the program alone; events and refusals go to standard \
error or --events-fd.

Examples:
  runtime-wrapper exec --slot preview-1 --worktree /srv/previews/feature-7 \\
      -- /usr/bin/node server.js
  runtime-wrapper exec --slot preview-2 --database-url-file /etc/slotguard/slot_2.url \\
      --events-fd 3 -- /usr/bin/node server.js 3>>events.jsonl
  runtime-wrapper exec --slot preview-3 --from-record
  runtime-wrapper exec --slot preview-1 --worktree /srv/previews/feature-7 --purpose sync \\
      -- /usr/bin/npm ci";

const PLAN_ABOUT: &str = "\
Show everything that `exec` would do, and start nothing.

Takes the options of `exec` and refuses what it would refuse. Shows the names of all variables with \
the reason of each, the rules on files and ports, and the limits; never a value. Makes the slot's \
private directories, as `exec` does.

Example:
  runtime-wrapper plan --slot preview-1 --format json -- /usr/bin/node server.js";

const PROBE_ABOUT: &str = "\
Show what the running kernel can enforce, and the line of `[sandbox]` that fits it.

Example:
  runtime-wrapper probe";

const EXPLAIN_ABOUT: &str = "\
Say why a variable reaches the programs of a slot, or not.

The variable of the present environment is judged as `exec` would judge it; without one, its name \
alone. Its value is never shown.

Example:
  runtime-wrapper explain-env --slot preview-1 NODE_OPTIONS";

fn exit_codes() -> String {
    format!(
        "{}\n  126 the program cannot be run\n  127 the program does not exist\n\
         After a successful start the status is the program's own.",
        step_report::exit::HELP
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(words: &[&str]) -> Result<ExecOptions, ErrorKind> {
        let line = ["runtime-wrapper", "exec"].iter().chain(words);
        match Cli::try_parse_from(line) {
            Ok(Cli { command: Command::Exec(options), .. }) => Ok(options),
            Ok(_) => unreachable!("the word `exec` is in front"),
            Err(error) => Err(error.kind()),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_the_dashes_is_the_program_s() {
        let options = parse(&["--slot", "preview-1", "--", "/bin/x", "--slot", "--", "y"]).unwrap();
        assert_eq!(options.slot, "preview-1");
        assert_eq!(options.words, ["/bin/x", "--slot", "--", "y"]);
    }

    #[test]
    fn a_program_needs_a_slot_the_dashes_and_a_path() {
        let missing = ErrorKind::MissingRequiredArgument;
        assert_eq!(parse(&["--", "/bin/x"]).unwrap_err(), missing);
        assert_eq!(parse(&["--slot", "preview-1"]).unwrap_err(), missing);
        assert_eq!(parse(&["--slot", "preview-1", "--"]).unwrap_err(), missing);
        let bare = parse(&["--slot", "preview-1", "/bin/x"]).unwrap_err();
        assert_eq!(bare, ErrorKind::UnknownArgument);
    }

    #[test]
    fn a_record_stands_for_program_and_worktree_and_goes_with_neither() {
        let record = ["--slot", "preview-1", "--from-record"];
        let options = parse(&record).unwrap();
        assert!(options.from_record && options.words.is_empty());
        for more in [&["--worktree", "/x"][..], &["--", "/bin/x"]] {
            let denial = parse(&[&record, more].concat()).unwrap_err();
            assert_eq!(denial, ErrorKind::ArgumentConflict, "{more:?}");
        }
    }

    #[test]
    fn the_help_teaches() {
        let help =
            Cli::command().find_subcommand_mut("exec").unwrap().render_long_help().to_string();
        assert_eq!(help.matches("  runtime-wrapper exec --slot").count(), 4);
        for number in ["64", "65", "66", "69", "77", "78", "126", "127"] {
            assert!(help.contains(&format!("\n  {number}")), "{number}\n{help}");
        }
    }
}
