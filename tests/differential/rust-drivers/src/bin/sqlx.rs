//! sqlx, by `PgConnection::connect`.

use sqlx::{Connection as _, PgConnection};

fn main() -> std::io::Result<()> {
    differential_drivers::serve_async(async |url| {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::query_scalar::<_, String>(differential_drivers::WHERE)
            .fetch_one(&mut connection)
            .await
    })
}
