//! `slotguard check --stdin`: JSON lines in, one verdict line each, in order.
//!
//! A line is the whole world: its `env` is the environment, the process's own is not read. Whatever
//! cannot be understood is a denied line, never a skipped one.

use std::io::{BufRead, BufReader, BufWriter, Read};

use guard::config::Config;
use guard::diagnostic::{Code, Denial, Warning};
use guard::environment::{DATABASE_URL, Environment, judge};
use guard::io::load_config_at;
use guard::slot::SlotId;
use guard::suggestion::parse_for;
use guard::verify::{VerifiedTarget, verify};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use step_report::console::Console;
use step_report::exit::ExitStatus;
use step_report::verdict::Verdict;

use crate::options::Check;

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 1024 * 1024;

const BUFFER: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    id: Value,
    slot: String,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    env: Pairs,
}

/// The members of a JSON object in their order, so that a name that stands twice is seen.
#[derive(Default)]
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Answers every line of standard input; the exit status is 0 when all were answered.
pub(crate) fn answer_all(console: &Console, options: &Check) -> ExitStatus {
    let config = match load_config_at(options.config.config.as_deref()) {
        Ok(loaded) => loaded.config,
        Err(denial) => return console.refuse(None, &denial),
    };
    let mut input = BufReader::with_capacity(BUFFER, std::io::stdin().lock());
    let mut output = BufWriter::with_capacity(BUFFER, std::io::stdout().lock());
    match answer_stream(&mut input, &mut output, &config) {
        Ok(()) => ExitStatus::Done,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitStatus::Done,
        Err(error) => {
            let message = "the stream of requests broke";
            let denial = Denial::new(Code::Internal, message, error.to_string(), "a whole stream");
            console.refuse(None, &denial)
        }
    }
}

fn answer_stream(
    input: &mut BufReader<impl Read>,
    output: &mut impl std::io::Write,
    config: &Config,
) -> std::io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            return output.flush();
        }
        let whole = line.pop_if(|byte| *byte == b'\n').is_some();
        if !whole && read as u64 > MAX_LINE {
            skip_line(input)?;
            line.clear(); // Too long to be a request; an empty line is none either.
        }
        answer(&line, config, output)?;
        // Whoever asks one at a time waits for the answer; whoever sends many does not.
        if !input.buffer().contains(&b'\n') {
            output.flush()?;
        }
    }
}

fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffered = input.fill_buf()?;
        let end = buffered.iter().position(|byte| *byte == b'\n');
        let (used, done) = match end {
            Some(at) => (at + 1, true),
            None => (buffered.len(), buffered.is_empty()),
        };
        input.consume(used);
        if done {
            return Ok(());
        }
    }
}

fn answer(line: &[u8], config: &Config, output: &mut impl std::io::Write) -> std::io::Result<()> {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            let denial = unreadable(&error);
            return write(output, &Verdict::denied(None, &denial).answering(&Value::Null));
        }
    };
    let Request { id, slot, url, env } = request;
    match decide(&slot, url.as_deref(), env, config) {
        Ok((target, warnings)) => {
            write(output, &Verdict::allowed(&slot, &target, &warnings).answering(&id))
        }
        Err(denial) => write(output, &Verdict::denied(Some(&slot), &denial).answering(&id)),
    }
}

fn write(output: &mut impl std::io::Write, verdict: &Verdict<'_>) -> std::io::Result<()> {
    serde_json::to_writer(&mut *output, verdict)?;
    output.write_all(b"\n")
}

/// Says where a line cannot be read; its words are not repeated, they may hold a secret.
fn unreadable(error: &serde_json::Error) -> Denial {
    Denial::new(
        Code::RequestLine,
        "the line is not a request",
        format!("{} at column {}", kind_of(error), error.column()),
        "one JSON object with `slot` and, if wanted, `id`, `url` and `env`",
    )
}

fn kind_of(error: &serde_json::Error) -> &'static str {
    let words = error.to_string();
    match error.classify() {
        Category::Data if words.starts_with("unknown field") => "an unknown key",
        Category::Data if words.starts_with("duplicate field") => "a key that stands twice",
        Category::Data if words.starts_with("missing field") => "no `slot`",
        Category::Data => "a value of the wrong type",
        Category::Eof => "no whole object",
        Category::Syntax | Category::Io => "no JSON",
    }
}

fn decide(
    slot: &str,
    url: Option<&str>,
    env: Pairs,
    config: &Config,
) -> Result<(VerifiedTarget, Vec<Warning>), Denial> {
    let pairs = env.0.into_iter().map(|(name, value)| (name.into(), value.into()));
    let environment = Environment::new(pairs)?;
    let slot: SlotId = config.slot(slot)?;
    judge(slot, &environment, url)?;
    let own = environment.value(DATABASE_URL).map(String::from_utf8_lossy);
    let Some(text) = url.or(own.as_deref()) else {
        return Err(Denial::new(
            Code::NoTarget,
            format!("no database target was given for {slot}"),
            "neither `url` nor `env.DATABASE_URL`",
            "one of them",
        ));
    };
    let target = verify(slot, parse_for(slot, text, &config.database)?, &config.database)?;
    let warnings = target.warnings(&config.database);
    Ok((target, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(input: &str) -> Vec<Value> {
        let mut output = Vec::new();
        answer_stream(&mut BufReader::new(input.as_bytes()), &mut output, &Config::default())
            .unwrap();
        let text = String::from_utf8(output).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn answer_to(line: &str) -> Value {
        let mut all = answers(&format!("{line}\n"));
        assert_eq!(all.len(), 1, "{line}");
        all.remove(0)
    }

    const URL: &str = "postgresql://slot_1:hunter2@127.0.0.1:5432/app_preview_1";

    #[test]
    fn every_line_is_answered_in_order() {
        let input = format!(
            "{{\"id\":1,\"slot\":\"preview-1\",\"url\":\"{URL}\",\"env\":{{}}}}\n\
             not json\n\n\
             {{\"id\":\"two\",\"slot\":\"preview-9\",\"url\":\"{URL}\"}}\n\
             {{\"id\":3,\"slot\":\"preview-1\",\"env\":{{\"DATABASE_URL\":\"{URL}\"}}}}"
        );
        let all = answers(&input);
        let short: Vec<(Value, &str, Option<&str>)> = all
            .iter()
            .map(|a| (a["id"].clone(), a["verdict"].as_str().unwrap(), a["code"].as_str()))
            .collect();
        assert_eq!(
            short,
            [
                (1.into(), "allowed", None),
                (Value::Null, "denied", Some("SG9003")),
                (Value::Null, "denied", Some("SG9003")),
                ("two".into(), "denied", Some("SG1003")),
                (3.into(), "allowed", None),
            ]
        );
        assert_eq!(all[0]["canonical"], "postgresql://slot_1@127.0.0.1:5432/app_preview_1");
        assert_eq!(all[0]["port"], 5432);
        assert!(!format!("{all:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_odd_is_denied() {
        let code = |line: &str| answer_to(line)["code"].as_str().map(str::to_owned);
        let with = |rest: &str| code(&format!("{{\"slot\":\"preview-1\",{rest}}}"));
        assert_eq!(with(&format!("\"url\":\"{URL}\"")), None);
        assert_eq!(with(&format!("\"url\":\"{URL}\",\"extra\":1")).unwrap(), "SG9003");
        assert_eq!(with(&format!("\"url\":\"{URL}\",\"url\":\"{URL}\"")).unwrap(), "SG9003");
        assert_eq!(with("\"url\":5").unwrap(), "SG9003");
        assert_eq!(with(&format!("\"url\":\"{URL}\",\"env\":{{\"A\":1}}")).unwrap(), "SG9003");
        assert_eq!(with("\"env\":{}").unwrap(), "SG2201");
        let twice = format!("\"url\":\"{URL}\",\"env\":{{\"A\":\"1\",\"A\":\"2\"}}");
        assert_eq!(with(&twice).unwrap(), "SG3001");
        let other = format!("\"url\":\"{URL}\",\"env\":{{\"DATABASE_URL\":\"x\"}}");
        assert_eq!(with(&other).unwrap(), "SG3004");
        let moved = format!("\"url\":\"{URL}\",\"env\":{{\"PGHOSTADDR\":\"x\"}}");
        assert_eq!(with(&moved).unwrap(), "SG3002");
        assert_eq!(code("{\"slot\":\"preview1\"}").unwrap(), "SG1002");
        assert_eq!(code("[1]").unwrap(), "SG9003");
    }

    #[test]
    fn a_line_without_end_is_bounded_and_the_next_is_answered() {
        let long = "x".repeat(usize::try_from(MAX_LINE).unwrap() + 10);
        let next = format!("{{\"id\":2,\"slot\":\"preview-1\",\"url\":\"{URL}\"}}");
        let all = answers(&format!("{long}\n{next}\n"));
        assert_eq!(all.len(), 2);
        assert_eq!(all[0]["code"], "SG9003");
        assert_eq!(all[1]["verdict"], "allowed");
    }
}
