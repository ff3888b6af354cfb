//! tokio-postgres, by `tokio_postgres::connect`.

use tokio_postgres::NoTls;

fn main() -> std::io::Result<()> {
    differential_drivers::serve_async(async |url| {
        #[expect(
            clippy::disallowed_methods,
            reason = "what this driver makes of the text is asked"
        )]
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let task = tokio::spawn(connection);
        let row = client.query_one(differential_drivers::WHERE, &[]).await;
        task.abort();
        row?.try_get::<_, String>(0)
    })
}
