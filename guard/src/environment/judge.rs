//! Refuses an environment that moves a database connection although `DATABASE_URL` is right.

use super::address::is_database_address;
use super::{DATABASE_URL, Environment, Variable};
use crate::diagnostic::{Code, Denial, shown};
use crate::slot::SlotId;

/// Judges an environment in which an application of this slot would run.
///
/// `given` is the text of the target when it came from elsewhere than `DATABASE_URL`.
///
/// # Errors
/// Refuses malformed entries, a `DATABASE_URL` other than `given`, a variable that moves
/// connections, a second database address, and slot variables of another slot.
/// All names at fault are named at once; no value is, but that of a slot variable.
pub fn judge(slot: SlotId, environment: &Environment, given: Option<&str>) -> Result<(), Denial> {
    refuse_malformed(environment)?;
    refuse_conflict(environment, given)?;
    refuse_names(environment, moves_connections, Code::EnvMovesConnection, |names| {
        (format!("the environment moves database connections: {names}"), "no such variable")
    })?;
    refuse_names(environment, is_second_address, Code::EnvSecondDsn, |names| {
        (
            format!("the environment holds a second database address: {names}"),
            "`DATABASE_URL` as the only database address",
        )
    })?;
    refuse_other_slot(slot, environment)
}

fn refuse_malformed(environment: &Environment) -> Result<(), Denial> {
    let malformed = |variable: &&Variable| {
        variable.name.is_empty()
            || variable.name.iter().any(|byte| *byte == b'=' || byte.is_ascii_control())
            || variable.value.contains(&0)
    };
    let found = match environment.variables().iter().find(malformed) {
        Some(variable) => format!("an entry named `{}`", variable.shown_name()),
        // What it says is not repeated: it may be the end of a broken value.
        None if environment.entries_without_sign() > 0 => "an entry without `=`".to_owned(),
        None => return Ok(()),
    };
    Err(Denial::new(
        Code::EnvMalformed,
        "an environment entry is malformed",
        found,
        "`NAME=value`, with a name without control characters and a value without NUL",
    ))
}

fn refuse_conflict(environment: &Environment, given: Option<&str>) -> Result<(), Denial> {
    match (given, environment.value(DATABASE_URL)) {
        (Some(given), Some(own)) if given.as_bytes() != own => Err(Denial::new(
            Code::EnvUrlConflict,
            "the environment's `DATABASE_URL` is not the target that was given",
            "another text in `DATABASE_URL`",
            "the same text, or no `DATABASE_URL` in the environment",
        )),
        _ => Ok(()),
    }
}

fn refuse_names(
    environment: &Environment,
    at_fault: fn(&Variable) -> bool,
    code: Code,
    words: fn(&str) -> (String, &'static str),
) -> Result<(), Denial> {
    let names: Vec<String> = environment
        .variables()
        .iter()
        .filter(|variable| at_fault(variable))
        .map(Variable::shown_name)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let unset = format!("Unset {}", names.join(" "));
    let names = list(names);
    let (message, expected) = words(&names);
    Err(Denial::new(code, message, names, expected).help(unset))
}

/// Whether a variable moves a connection although `DATABASE_URL` is complete.
///
/// In any letter case: what one program writes in lower case, another may well ask for.
pub(super) fn moves_connections(variable: &Variable) -> bool {
    let name = &variable.name;
    let begins = name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"PG"));
    begins || name.eq_ignore_ascii_case(b"NODE_PG_FORCE_NATIVE")
}

/// Whether a variable is a database address beside `DATABASE_URL`.
fn is_second_address(variable: &Variable) -> bool {
    variable.name != DATABASE_URL.as_bytes() && is_database_address(variable)
}

fn refuse_other_slot(slot: SlotId, environment: &Environment) -> Result<(), Denial> {
    for (name, own) in slot_variables(slot) {
        match environment.value(name) {
            Some(value) if value != own.as_bytes() => {
                let value = shown(&String::from_utf8_lossy(value));
                return Err(Denial::new(
                    Code::EnvSlotConflict,
                    format!("the environment's `{name}` is not that of {slot}"),
                    format!("{name}={value}"),
                    format!("{name}={own}"),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The variables of the contract whose value follows from the slot alone (EN-4 to EN-7).
pub(super) fn slot_variables(slot: SlotId) -> [(&'static str, String); 4] {
    [
        ("SLOT_ID", slot.to_string()),
        ("SLOT_NUM", slot.number().to_string()),
        ("SLOT_BACKEND_PORT", slot.backend_port().to_string()),
        ("SLOT_DB_NAME", slot.database_name()),
    ]
}

pub(super) fn list(names: impl IntoIterator<Item = String>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "postgresql://slot_1:hunter2@127.0.0.1:5432/app_preview_1";

    fn verdict<const N: usize>(pairs: [(&str, &str); N]) -> Result<(), Denial> {
        judge("preview-1".parse().unwrap(), &pairs.into(), None)
    }

    fn code<const N: usize>(pairs: [(&str, &str); N]) -> Code {
        verdict(pairs).unwrap_err().code()
    }

    #[test]
    fn an_ordinary_environment_passes() {
        assert_eq!(
            verdict([
                ("PATH", "/usr/bin"),
                ("HOME", "/home/worker"),
                ("DATABASE_URL", URL),
                ("SLOT_ID", "preview-1"),
                ("API_URL", "https://api.example/v1"),
                ("PAGER", "less"),
                ("REDIS_URL", "redis://127.0.0.1:6379"),
                ("NOTE", "postgres: a database"),
            ]),
            Ok(())
        );
    }

    #[test]
    fn every_pg_variable_is_refused_and_named() {
        for name in [
            "PGHOSTADDR",
            "PGSERVICE",
            "PGOPTIONS",
            "PG_DATABASE",
            "PGHOST",
            "PGSSLMODE",
            "pghost",
            "PgHostAddr",
        ] {
            let denial = verdict([(name, "")]).unwrap_err();
            assert_eq!(denial.code(), Code::EnvMovesConnection);
            assert!(denial.message().contains(name));
        }
        assert_eq!(code([("NODE_PG_FORCE_NATIVE", "1")]), Code::EnvMovesConnection);
        assert!(verdict([("PAGER", "less"), ("MYPGHOST", "x")]).is_ok());
    }

    #[test]
    fn all_names_at_fault_are_named_at_once() {
        let denial = verdict([("PGHOST", "a"), ("PGPORT", "b")]).unwrap_err();
        assert_eq!(denial.found(), "`PGHOST`, `PGPORT`");
        assert_eq!(denial.next_step(), "Unset PGHOST PGPORT");
    }

    #[test]
    fn a_second_address_is_found_by_name_and_by_value() {
        for name in ["DIRECT_URL", "REPORTS_DATABASE_URL", "DATABASE_URL_RO", "JDBC_URL"] {
            assert_eq!(code([(name, "x")]), Code::EnvSecondDsn, "{name}");
        }
        for value in ["postgres://prod/x", "host=prod dbname=x"] {
            assert_eq!(code([("ANYTHING", value)]), Code::EnvSecondDsn, "{value}");
        }
        let twice = [("DATABASE_URL", URL), ("Database_Url", URL)];
        assert_eq!(code(twice), Code::EnvSecondDsn);
    }

    #[test]
    fn values_are_never_repeated() {
        let denial = verdict([("DIRECT_URL", URL)]).unwrap_err();
        assert!(!format!("{denial:?}").contains("hunter2"));
        let environment: Environment = [("DATABASE_URL", URL)].into();
        assert!(!format!("{environment:?}").contains("hunter2"));
    }

    #[test]
    fn malformed_entries_are_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\n", "x"), ("A", "x\0y")] {
            assert_eq!(code([(name, value)]), Code::EnvMalformed, "{name:?}");
        }
        let slot = "preview-1".parse().unwrap();
        let of =
            |entries: [&[u8]; 2]| judge(slot, &Environment::from_entries(entries).unwrap(), None);
        let denial = of([b"A=1", b"hunter2"]).unwrap_err();
        assert_eq!(denial.code(), Code::EnvMalformed);
        assert!(!format!("{denial:?}").contains("hunter2"));
        assert!(of([b"A=1", b"hunter2="]).is_ok());
        assert!(verdict([("BASH_FUNC_x%%", "() { :; }"), ("a.b-c", "")]).is_ok());
    }

    #[test]
    fn slot_variables_of_another_slot_are_refused() {
        for (name, value) in [
            ("SLOT_ID", "preview-2"),
            ("SLOT_ID", "preview1"),
            ("SLOT_NUM", "2"),
            ("SLOT_BACKEND_PORT", "8102"),
            ("SLOT_DB_NAME", "app_production"),
        ] {
            assert_eq!(code([(name, value)]), Code::EnvSlotConflict, "{name}={value}");
        }
        assert!(verdict([("SLOT_NUM", "1"), ("SLOT_BACKEND_PORT", "8101")]).is_ok());
    }

    #[test]
    fn a_target_given_elsewhere_must_be_the_same_text() {
        let slot = "preview-1".parse().unwrap();
        let environment: Environment = [("DATABASE_URL", URL)].into();
        assert!(judge(slot, &environment, Some(URL)).is_ok());
        let denial = judge(slot, &environment, Some("postgres://other")).unwrap_err();
        assert_eq!(denial.code(), Code::EnvUrlConflict);
        assert!(!format!("{denial:?}").contains("hunter2"));
    }
}
