//! Ordinary work by tokio-postgres.

use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, future, stream};
use tokio_postgres::{AsyncMessage, Client, Error as DriverError, NoTls, error::SqlState};

fn main() -> std::io::Result<()> {
    differential_drivers::serve_work(async |url| work(url).await.map_err(|error| told(&*error)))
}

/// The driver keeps the server's words behind its own.
fn told(error: &(dyn Error + 'static)) -> String {
    let behind = error.source().map(|source| format!(": {source}"));
    format!("{error}{}", behind.unwrap_or_default())
}

async fn work(url: &str) -> Result<Vec<&'static str>, Box<dyn Error>> {
    let (client, mut connection) = connect(url).await?;
    let (news, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(|context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = news.send(notification.payload().to_owned());
            }
        }
    });
    let statement = client.prepare("select $1::int + 1").await?;
    let sums = (0..100i32).map(async |n| {
        let row = client.query_one(&statement, &[&n]).await?;
        Ok::<_, DriverError>(row.get::<_, i32>(0) == n + 1)
    });
    if !future::try_join_all(sums).await?.iter().all(|right| *right) {
        return Err("wrong sums".into());
    }
    copy(&client).await?;
    let rows = client.query("select repeat('y', 1000) from generate_series(1, 20000)", &[]).await?;
    if rows.len() != 20_000 {
        return Err("not all rows".into());
    }
    cancel(&client).await?;
    client.batch_execute("listen news; notify news, 'hello'").await?;
    let news = tokio::time::timeout(Duration::from_secs(10), heard.recv()).await?;
    if news.as_deref() != Some("hello") {
        return Err("no news".into());
    }
    Ok(vec!["prepared", "pipeline", "copy in", "copy out", "large", "cancel", "notify"])
}

async fn connect(
    url: &str,
) -> Result<
    (Client, tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>),
    DriverError,
> {
    #[expect(clippy::disallowed_methods, reason = "what this driver makes of the text is asked")]
    tokio_postgres::connect(url, NoTls).await
}

async fn copy(client: &Client) -> Result<(), Box<dyn Error>> {
    client.batch_execute("create temp table t (id int, words text)").await?;
    let mut sink = pin!(client.copy_in("copy t from stdin").await?);
    for n in 0..20_000 {
        sink.feed(bytes::Bytes::from(format!("{n}\t{}\n", "x".repeat(50)))).await?;
    }
    sink.close().await?;
    let rows = client.copy_out("copy t to stdout").await?;
    let rows: Vec<bytes::Bytes> = rows.try_collect().await?;
    if rows.len() == 20_000 { Ok(()) } else { Err("not all rows were copied".into()) }
}

async fn cancel(client: &Client) -> Result<(), Box<dyn Error>> {
    let token = client.cancel_token();
    let (slept, asked) = tokio::join!(client.batch_execute("select pg_sleep(60)"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await
    });
    asked?;
    let code = slept.err().and_then(|error| error.code().cloned());
    client.batch_execute("select 1").await?;
    if code == Some(SqlState::QUERY_CANCELED) { Ok(()) } else { Err("not cancelled".into()) }
}
