//! Ordinary work by sqlx, which has no cancel request.

use std::error::Error;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::postgres::{PgConnection, PgListener};
use sqlx::{Connection as _, Executor as _};

fn main() -> std::io::Result<()> {
    differential_drivers::serve_work(async |url| work(url).await.map_err(|error| error.to_string()))
}

async fn work(url: &str) -> Result<Vec<&'static str>, Box<dyn Error>> {
    let mut connection = PgConnection::connect(url).await?;
    for n in 0..10i32 {
        let sum = sqlx::query_scalar::<_, i32>("select $1::int + 1").bind(n);
        if sum.fetch_one(&mut connection).await? != n + 1 {
            return Err("a wrong sum".into());
        }
    }
    connection.execute("create temp table t (id int, words text)").await?;
    let mut copy = connection.copy_in_raw("copy t from stdin").await?;
    let rows: String = (0..20_000).map(|n| format!("{n}\t{}\n", "x".repeat(50))).collect();
    copy.send(rows.as_bytes()).await?;
    copy.finish().await?;
    let copied: Vec<_> = connection.copy_out_raw("copy t to stdout").await?.try_collect().await?;
    if copied.iter().map(|bytes| bytes.len()).sum::<usize>() != rows.len() {
        return Err("not all rows were copied".into());
    }
    let large = "select repeat('y', 1000) from generate_series(1, 20000)";
    if sqlx::query(large).fetch_all(&mut connection).await?.len() != 20_000 {
        return Err("not all rows".into());
    }
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect(url).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("news").await?;
    connection.execute("notify news, 'hello'").await?;
    let news = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await??;
    if news.payload() != "hello" {
        return Err("other news".into());
    }
    Ok(vec!["prepared", "copy in", "copy out", "large", "notify"])
}
