//! What the drivers share: a URL per line comes in, and where it led goes out.
//!
//! Nothing here looks into a URL; that is the driver's work.

use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

/// Lets the server say where it is, as one JSON object.
pub const WHERE: &str = "select json_build_object('database', current_database(), \
                         'port', inet_server_port(), 'user', current_user)::text";

/// How long one attempt may take.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Answers every line of standard input on standard output.
///
/// # Errors
///
/// When a line is not `{"url":…}` or the answers are not read.
pub fn serve(mut connect: impl FnMut(&str) -> Result<String, String>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let url = request["url"].as_str().ok_or(io::ErrorKind::InvalidInput)?;
        let answer = connect(url).and_then(|text| {
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
        });
        writeln!(out, "{}", answer.unwrap_or_else(|error| json!({ "error": error })))?;
        out.flush()?;
    }
    Ok(())
}

/// Answers every line with one attempt each, given up after [`PATIENCE`].
///
/// # Errors
///
/// As [`serve`].
#[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
pub fn serve_async<E: std::fmt::Display>(
    connect: impl AsyncFn(&str) -> Result<String, E>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    serve(|url| {
        runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, connect(url)).await {
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(late) => Err(late.to_string()),
            }
        })
    })
}

/// How long the ordinary work of one driver may take.
pub const WORK: Duration = Duration::from_secs(60);

/// Answers every line with what was done, as `{"done":[…]}`.
///
/// # Errors
///
/// As [`serve`].
#[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
pub fn serve_work(
    work: impl AsyncFn(&str) -> Result<Vec<&'static str>, String>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    serve(|url| {
        let done = async { tokio::time::timeout(WORK, work(url)).await };
        let done = runtime.block_on(done).unwrap_or_else(|late| Err(late.to_string()))?;
        Ok(json!({ "done": done }).to_string())
    })
}
