//! The help of every program and command, whole.

use crate::support::programs::PROGRAMS;
use crate::support::redact::Redactor;
use crate::support::run::{Run, assert_whole};

#[test]
fn the_help_of_every_command_is_as_it_was_read() {
    for program in PROGRAMS {
        let top = Run::new(program, &["--help"]).run();
        let mut text = top.accepted().snapshot(&Redactor::default());
        let commands = commands(&top.stdout);
        assert!(!commands.is_empty(), "{program} has no commands");
        for command in commands.iter().filter(|command| *command != "help") {
            let outcome = Run::new(program, &[command.as_str(), "--help"]).run();
            text.push('\n');
            text.push_str(&outcome.accepted().snapshot(&Redactor::default()));
        }
        assert_whole(&format!("help-{program}"), &text);
    }
}

#[test]
fn the_short_help_and_the_version_go_to_standard_output() {
    for program in PROGRAMS {
        for flag in ["-h", "--version"] {
            let outcome = Run::new(program, &[flag]).run();
            assert!(outcome.accepted().stdout.contains(program), "{outcome:?}");
            assert_eq!(outcome.stderr, "");
        }
    }
}

/// Reads the names of the commands from a help text.
fn commands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}
