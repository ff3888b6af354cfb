//! A seed whose copies can tell whether they are whole.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use throwaway_postgres::SqlError;

use super::server::{Server, password};

/// Builds a seed with `observe()`.
///
/// As the slot's role, it fails unless stamp, database and content belong together and everything
/// that was noted was noted in this very database; then it notes the database and returns its object
/// id. So a copy with a part of another generation fails every client that looks.
pub(crate) fn build_seed(server: &Server) {
    server.place.write(
        "previews/observed/V1__note.sql",
        0o644,
        "CREATE TABLE note (database oid);",
    );
    server.place.write("observe.sql", 0o644, OBSERVE);
    let migrations = server.place.text("previews/observed");
    server.seed(&migrations, &[&server.place.text("observe.sql")]).run().accepted();
}

/// Looks at the slot's database as its role and returns the object id.
pub(crate) fn observe(server: &Server, slot: u8) -> Result<u32, SqlError> {
    let (role, database) = (format!("slot_{slot}"), format!("app_preview_{slot}"));
    let cluster = server.cluster();
    let seen = cluster.run_sql_as(&role, &password(slot), &database, "SELECT observe()")?;
    Ok(seen.trim().parse().unwrap())
}

/// Returns how much was noted in a slot's database.
#[track_caller]
pub(crate) fn noted(server: &Server, slot: u8) -> u32 {
    let database = format!("app_preview_{slot}");
    server.sql(&database, "SELECT count(*) FROM note").trim().parse().unwrap()
}

const OBSERVE: &str = "\
CREATE TABLE content AS SELECT n, repeat('x', 100) AS text FROM generate_series(1, 5000) n;
CREATE FUNCTION observe() RETURNS oid LANGUAGE plpgsql AS $$
DECLARE
    own oid;
    stamp json;
BEGIN
    SELECT d.oid, shobj_description(d.oid, 'pg_database') INTO STRICT own, stamp
        FROM pg_database d WHERE d.datname = current_database();
    IF (stamp ->> 'oid')::oid <> own
        OR stamp ->> 'nonce' IS DISTINCT FROM (SELECT nonce FROM slotguard.identity)
        OR EXISTS (SELECT FROM note WHERE database <> own)
        OR (SELECT count(*) FROM content) <> 5000
    THEN RAISE EXCEPTION 'a half state: % %', own, stamp;
    END IF;
    INSERT INTO note VALUES (own);
    RETURN own;
END $$;
";
