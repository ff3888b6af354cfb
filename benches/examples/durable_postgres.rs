//! A throw-away Postgres that keeps what it commits, for `benches/migrations.sh`.
//!
//! It writes its port and its superuser's password into a directory and ends with its standard
//! input.

use std::error::Error;
use std::io::Read as _;
use std::path::PathBuf;

use throwaway_postgres::{Cluster, ServerPrograms};

/// What the tests turn off for speed.
const DURABLE: [(&str, &str); 4] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "128MB"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(base), Some(tell)) = (args.next(), args.next()) else {
        return Err("usage: durable_postgres BASE TELL".into());
    };
    let mut builder = Cluster::builder(ServerPrograms::find(None, None)?).base_directory(base);
    for (name, value) in DURABLE {
        builder = builder.setting(name, value);
    }
    let cluster = builder.start()?;
    std::fs::write(tell.join("password"), cluster.password())?;
    std::fs::write(tell.join("psql"), cluster.programs().psql().as_os_str().as_encoded_bytes())?;
    // The last one: who reads it may read the others.
    std::fs::write(tell.join("port.new"), cluster.port().to_string())?;
    std::fs::rename(tell.join("port.new"), tell.join("port"))?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(cluster.stop()?)
}
