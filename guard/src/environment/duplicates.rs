//! Refuses a name that stands twice: getenv takes the first value, shells take the last.

use std::collections::BTreeSet;

use super::Variable;
use super::judge::list;
use crate::diagnostic::{Code, Denial};

/// Names every name that stands more than once; no value is repeated.
pub(super) fn refuse(variables: &[Variable]) -> Result<(), Denial> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<String> = variables
        .iter()
        .filter(|variable| !seen.insert(variable.name.as_slice()))
        .map(Variable::shown_name)
        .collect();
    if twice.is_empty() {
        return Ok(());
    }
    let names = list(twice);
    Err(Denial::new(
        Code::EnvDuplicate,
        format!("the environment holds a variable twice: {names}"),
        format!("{names} more than once"),
        "each variable once",
    ))
}

#[cfg(test)]
mod tests {
    use crate::diagnostic::Code;
    use crate::environment::Environment;

    fn refused(entries: &[&str]) -> bool {
        match Environment::from_entries(entries.iter().map(|entry| entry.as_bytes())) {
            Ok(_) => false,
            Err(denial) => {
                assert_eq!(denial.code(), Code::EnvDuplicate);
                assert!(!format!("{denial:?}").contains("hunter2"), "{denial:?}");
                true
            }
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_even_with_equal_values() {
        assert!(refused(&["A=1", "B=1", "A=1"]));
        assert!(refused(&["DATABASE_URL=hunter2", "DATABASE_URL=hunter3"]));
        assert!(refused(&["=1", "=2"]), "the empty name is a name as well");
        assert!(!refused(&["A=1", "AA=1", "a=1", "B=A=1"]));
    }

    #[test]
    fn entries_without_a_sign_are_counted_and_names_end_at_the_first_sign() {
        let entries: [&[u8]; 5] = [b"A=x=y", b"hunter2", b"", b"=z", b"hunter2"];
        let environment = Environment::from_entries(entries).unwrap();
        assert_eq!(environment.entries_without_sign(), 3);
        assert_eq!(environment.value("A"), Some(&b"x=y"[..]));
        assert_eq!(environment.value(""), Some(&b"z"[..]));
    }
}
