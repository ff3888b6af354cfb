//! Whether a variable is the address of a database, by its name or by its value.
//!
//! Generous: a variable that is none and is taken for one costs a rename, the other mistake costs a
//! database. Names are compared in any letter case, since some frameworks ask for them so.

use super::{DATABASE_URL, Variable};

/// Names that frameworks take for the address of a database, in upper case.
const NAMES: &[&str] = &[
    DATABASE_URL,
    "DIRECT_URL",
    "DIRECT_DATABASE_URL",
    "SHADOW_DATABASE_URL",
    "DATABASE_URI",
    "DATABASE_DSN",
    "DB_URL",
    "DB_URI",
    "DB_DSN",
    "POSTGRES_URL",
    "POSTGRES_URI",
    "POSTGRES_DSN",
    "POSTGRESQL_URL",
    "SQLALCHEMY_DATABASE_URI",
    "SPRING_DATASOURCE_URL",
];

/// Schemes of database systems, without what some libraries add behind a `+`.
const SCHEMES: &[&str] = &[
    "postgres",
    "postgresql",
    "postgre",
    "pgsql",
    "psql",
    "postgis",
    "cockroachdb",
    "mysql",
    "mysql2",
    "mariadb",
    "sqlserver",
    "mssql",
    "oracle",
    "mongodb",
];

/// Schemes that are understood without any slash as well.
const POSTGRES: &[&str] = &["postgres", "postgresql", "pgsql"];

/// Returns whether a variable is a database address.
pub(super) fn is_database_address(variable: &Variable) -> bool {
    // A byte that is not UTF-8 hides nothing: what is around it is still looked at.
    let name = String::from_utf8_lossy(&variable.name).to_ascii_uppercase();
    NAMES.contains(&name.as_str())
        || name.ends_with("_DATABASE_URL")
        || name.starts_with("DATABASE_URL_")
        || name.starts_with("JDBC_")
        || name.starts_with("POSTGRES_URL_")
        || looks_like_database_url(&String::from_utf8_lossy(&variable.value))
}

/// Returns whether a value is or holds the address of a database, whatever its variable is called.
#[must_use]
pub fn looks_like_database_url(value: &str) -> bool {
    // Nearly every value is short and has neither sign; this runs for all of them.
    if !value.bytes().any(|byte| byte == b':' || byte == b'=') {
        return false;
    }
    let noise = |c: char| c.is_whitespace() || c.is_control() || "\u{feff}\"'`".contains(c);
    let value = value.trim_matches(noise).to_ascii_lowercase();
    value.starts_with("jdbc:")
        || begins_with_scheme(&value)
        || holds_url(&value)
        || is_keyword_value(&value)
}

/// `mysql:/…`, and of PostgreSQL also `postgres:user@…` and `pgsql:host=…`.
fn begins_with_scheme(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once(':') else { return false };
    let base = base_of(scheme);
    let bare = POSTGRES.contains(&base)
        && rest.contains(['@', '='])
        && !rest.starts_with(char::is_whitespace);
    bare || SCHEMES.contains(&base) && rest.starts_with('/')
}

/// An address somewhere inside, as in the JSON that platforms hand out.
fn holds_url(value: &str) -> bool {
    value.match_indices("://").any(|(at, _)| {
        let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        let scheme = value[..at].rsplit(|c| !in_scheme(c)).next().unwrap_or_default();
        SCHEMES.contains(&base_of(scheme))
    })
}

fn base_of(scheme: &str) -> &str {
    scheme.split('+').next().unwrap_or(scheme)
}

/// `host=… dbname=…` of libpq, `Host=…;Database=…` of ADO.NET and PDO.
fn is_keyword_value(value: &str) -> bool {
    const SERVER: &[&str] = &["host", "hostaddr", "server", "data source", "service"];
    const DATABASE: &[&str] = &["dbname", "database", "initial catalog"];
    const OTHER: &[&str] =
        &["port", "user", "username", "user id", "uid", "password", "pwd", "sslmode"];
    let has = |wanted: &[&str]| wanted.iter().filter(|word| has_keyword(value, word)).count();
    let (server, database) = (has(SERVER), has(DATABASE));
    server + database > 0 && server + database + has(OTHER) >= 2
}

/// Whether a keyword stands at the beginning of an item, before a `=`.
fn has_keyword(value: &str, keyword: &str) -> bool {
    value.match_indices(keyword).any(|(at, _)| {
        let begins = value[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == ';');
        begins && value[at + keyword.len()..].trim_start().starts_with('=')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_address(name: &[u8], value: &[u8]) -> bool {
        is_database_address(&Variable { name: name.to_vec(), value: value.to_vec() })
    }

    #[test]
    fn a_name_is_enough_in_any_letter_case() {
        for name in ["DIRECT_URL", "direct_url", "Reports_Database_Url", "jdbc_url", "DB_Dsn"] {
            assert!(is_address(name.as_bytes(), b"x"), "{name}");
        }
        for name in ["URL", "DATABASE", "DIRECT", "API_URL", "JDBC", "MY_DATABASE_URLS"] {
            assert!(!is_address(name.as_bytes(), b"x"), "{name}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_hide_nothing() {
        assert!(is_address(b"X\xff_DATABASE_URL", b"x"));
        assert!(is_address(b"X\xff", b"postgres://prod/x"));
        assert!(is_address(b"X", b"postgres://prod/x\xff"));
        assert!(is_address(b"X", b"\xffpostgres://prod/x"));
        assert!(!is_address(b"X\xff", b"\xff"));
    }

    #[test]
    fn an_address_is_found_in_every_form() {
        for value in [
            "postgres://prod/x",
            "POSTGRESQL://prod/x",
            " 'postgres://prod/x'",
            "\u{feff}postgres://prod/x",
            "postgresql+asyncpg://prod/x",
            "postgresql+a-name-of-a-driver-longer-than-forty-characters://prod/x",
            "postgres:/prod/x",
            "postgres:app@prod/x",
            "pgsql:host=prod;dbname=x",
            "jdbc:postgresql://prod/x",
            "JDBC:oracle:thin:@prod",
            "mysql://prod/x",
            "mongodb+srv://prod/x",
            "{\"uri\":\"postgres://prod/x\"}",
            "primary=postgres://prod/x",
            "host=prod dbname=x",
            "dbname = x user = app",
            "service=prod user=app",
            "password='a b' host=prod",
            "Host=prod;Database=x;Username=app",
            "Server=prod;User Id=app",
        ] {
            assert!(looks_like_database_url(value), "{value}");
        }
        for value in [
            "",
            "postgres",
            "postgres: a database",
            "https://api.example/v1",
            "redis://127.0.0.1:6379",
            "host=localhost",
            "user=app password=x",
            "a=b c=d",
            "ghost=x;dbnames=y",
            "the host and the database",
            "https://example/?host=a&dbname=b",
        ] {
            assert!(!looks_like_database_url(value), "{value}");
        }
    }
}
