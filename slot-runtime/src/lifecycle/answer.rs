//! What a keeper tells the command that started it: one line of JSON.

use guard::diagnostic::{Code, Denial};
use serde::{Deserialize, Serialize};

use super::process::Process;

/// How a start went.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The wrapper has become the backend.
    Started(Process),
    /// Nothing runs.
    Refused(Said),
}

/// A refusal as another program printed it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Said {
    code: String,
    message: String,
    found: String,
    expected: String,
    help: String,
}

impl Said {
    /// Returns it as a refusal of ours.
    pub(super) fn into_denial(self) -> Denial {
        let code = Code::parse(&self.code).unwrap_or(Code::Internal);
        Denial::new(code, self.message, self.found, self.expected).help(self.help)
    }
}

impl Answer {
    pub(super) fn refused(denial: &Denial) -> Self {
        Self::Refused(Said {
            code: denial.code().to_string(),
            message: denial.message().to_owned(),
            found: denial.found().to_owned(),
            expected: denial.expected().to_owned(),
            help: denial.next_step().to_owned(),
        })
    }

    /// Returns the answer as a line.
    pub(super) fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// Reads a line.
    pub(super) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// Reads a line of the wrapper's events, if it is a refusal.
    pub(super) fn read_verdict(line: &str) -> Option<Denial> {
        #[derive(Deserialize)]
        struct Verdict {
            verdict: String,
            #[serde(flatten)]
            said: Said,
        }
        let verdict: Verdict = serde_json::from_str(line).ok()?;
        (verdict.verdict == "denied").then(|| verdict.said.into_denial())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_arrives_as_it_was_said() {
        let denial = Denial::new(Code::ForeignDatabase, "m", "f", "e").help("h");
        let line = Answer::refused(&denial).line();
        let Some(Answer::Refused(said)) = Answer::read(line.trim_end()) else { panic!("{line}") };
        assert_eq!(said.into_denial(), denial);
    }

    #[test]
    fn only_a_denial_among_the_events_is_a_refusal() {
        let denied = r#"{"schema":"s","verdict":"denied","code":"SG2101","message":"m","found":"f","expected":"e","help":"h","warnings":[]}"#;
        assert_eq!(Answer::read_verdict(denied).unwrap().code(), Code::ForeignDatabase);
        assert!(Answer::read_verdict(&denied.replace("denied", "allowed")).is_none());
        assert!(Answer::read_verdict(r#"{"event":"exec.start"}"#).is_none());
        assert!(Answer::read_verdict("harbour: listening").is_none());
    }
}
