//! psql, one run per URL; its path is the only argument.
//!
//! The time limit is `PGCONNECT_TIMEOUT`, which whoever starts this sets.

use std::io;
use std::process::{Command, Stdio};

fn main() -> io::Result<()> {
    let psql = std::env::args_os().nth(1).ok_or(io::ErrorKind::InvalidInput)?;
    differential_drivers::serve(|url| {
        #[expect(
            clippy::disallowed_methods,
            reason = "a driver has no secrets; psql gets all of it"
        )]
        let mut command = Command::new(&psql);
        let output = command
            .args(["-X", "-w", "-q", "-A", "-t", "-d", url, "-c", differential_drivers::WHERE])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    })
}
