//! refinery as it comes, over tokio-postgres, for `benches/migrations.sh` to compare with.
//!
//! Nothing is checked here: it is only ever pointed at the throw-away server of that script.

use std::error::Error;

use tokio_postgres::{Config, NoTls};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, database, password_file, migrations] = &args[..] else {
        return Err("usage: plain_refinery PORT DATABASE PASSWORD-FILE MIGRATIONS".into());
    };
    let mut settings = Config::new();
    settings.host("127.0.0.1").port(port.parse()?).user("bench").dbname(database);
    settings.password(std::fs::read_to_string(password_file)?);
    let migrations = refinery::load_sql_migrations(migrations)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        #[expect(clippy::disallowed_methods, reason = "what we compare with has no proof")]
        let (mut client, connection) = settings.connect(NoTls).await?;
        tokio::spawn(connection);
        #[expect(clippy::disallowed_methods, reason = "what we compare with has no proof")]
        let report = refinery::Runner::new(&migrations).run_async(&mut client).await?;
        drop(report);
        Ok(())
    })
}
