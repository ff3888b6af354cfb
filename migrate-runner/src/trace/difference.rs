//! What a statement in no transaction did, by two looks over all relations.

use std::collections::BTreeSet;
use std::time::Duration;

use guard::migration::Piece;

use super::look::{Look, Seen};
use super::record::{Index, Lock, Relation, Statement, Touched};
use super::witness::Sight;

/// Says what is another behind a statement, and which locks were seen, of what was there before the
/// run. An index that was built anew takes the place of the one that it replaces.
pub(super) fn difference(
    (piece, duration): (&Piece<'_>, Duration),
    (then, now): (&Look, &Look),
    before: &mut BTreeSet<u32>,
    sight: &Sight,
) -> Statement {
    let mut statement = Statement::new(piece, duration);
    let locks = locks(then, before, sight, duration);
    statement.unseen = sight.unseen;
    statement.locks = (sight.unseen.is_none() || !locks.is_empty()).then_some(locks);
    for (number, seen) in now {
        // Production knows it by the name that it had.
        let old = then.get(number);
        let relation = old.and_then(|old| old.relation.as_ref()).or(seen.relation.as_ref());
        let Some(relation) = relation else { continue };
        let is_anew = seen.file > 0 && old.is_none_or(|old| old.file != seen.file);
        if let Some(old) = old.filter(|_| before.contains(number)) {
            let rows = seen.rows.since(old.rows);
            if rows.touched() > 0 {
                statement.rows.push(Touched { relation: relation.name.clone(), rows });
            }
            if is_anew && relation.has_rows() {
                statement.rewrites.push(relation.name.clone());
            }
        }
        if let Some(table) = table(then, *number, seen)
            && is_anew
            && before.contains(&seen.table)
        {
            let (index, table) = (relation.name.clone(), table.clone());
            statement.indexes.push(Index { index, table });
        }
    }
    for (number, old) in then.iter().filter(|(number, _)| !now.contains_key(number)) {
        let Some(relation) = old.relation.as_ref().filter(|_| before.contains(number)) else {
            continue;
        };
        match now.iter().find(|(_, seen)| seen.relation.as_ref() == Some(relation)) {
            Some((successor, _)) => {
                before.insert(*successor);
            }
            None => statement.drops.push(relation.name.clone()),
        }
    }
    statement
}

fn locks(then: &Look, before: &BTreeSet<u32>, sight: &Sight, duration: Duration) -> Vec<Lock> {
    let of_relation = |(number, modes): (&u32, &BTreeSet<_>)| {
        let seen = then.get(number).filter(|_| before.contains(number));
        let known = seen.and_then(|seen| Some((seen, seen.relation.as_ref()?)));
        let lock = |(seen, relation): (&Seen, &Relation)| -> Vec<Lock> {
            let table = table(then, *number, seen);
            let held_ms = duration.as_millis();
            let lock = |mode| Lock { held_ms, ..Lock::new(relation, table, mode) };
            modes.iter().copied().map(lock).collect()
        };
        known.map_or_else(Vec::new, lock)
    };
    sight.modes.iter().flat_map(of_relation).collect()
}

/// Returns the table of an index.
fn table<'a>(then: &'a Look, number: u32, seen: &Seen) -> Option<&'a String> {
    let table = then.get(&seen.table).filter(|_| seen.table != number)?;
    table.relation.as_ref().map(|table| &table.name)
}

#[cfg(test)]
mod tests {
    use guard::migration::pieces;

    use super::super::record::{Mode, Rows};
    use super::super::stages::Unseen;
    use super::*;

    fn seen(name: &str, kind: &str, file: u32) -> Seen {
        let relation = Relation::new("public", name, kind);
        let rows = Rows { scanned: 0, written: 0 };
        Seen { modes: BTreeSet::new(), relation, file, table: 1, rows }
    }

    fn look(index: Option<(u32, u32)>) -> Look {
        let index = index.map(|(number, file)| (number, seen("users_name", "i", file)));
        [(1, seen("users", "r", 10))].into_iter().chain(index).collect()
    }

    fn differs(looks: (&Look, &Look), before: &mut BTreeSet<u32>, sight: &Sight) -> Statement {
        difference((&pieces("VACUUM")[0], Duration::ZERO), looks, before, sight)
    }

    #[test]
    fn an_index_that_is_built_anew_is_as_old_as_it_was() {
        let (old, anew, gone) = (look(Some((2, 20))), look(Some((3, 30))), look(None));
        let mut before = BTreeSet::from([1, 2]);
        let sight = Sight::default();
        let built = differs((&old, &anew), &mut before, &sight);
        assert_eq!((built.indexes.len(), built.drops.len()), (1, 0));
        let dropped = differs((&anew, &gone), &mut before, &sight);
        assert_eq!((dropped.indexes.len(), dropped.drops), (0, vec!["users_name".to_owned()]));
        // What the run made is nobody's business, but for an index of an old table.
        let made = differs((&gone, &anew), &mut BTreeSet::from([1]), &sight);
        assert_eq!((made.indexes.len(), made.drops.len()), (1, 0));
        let unmade = differs((&anew, &gone), &mut BTreeSet::from([1]), &sight);
        assert_eq!((unmade.indexes.len(), unmade.drops.len()), (0, 0));
    }

    #[test]
    fn unknown_locks_are_told_from_none() {
        let (look, mut before) = (look(None), BTreeSet::from([1]));
        let mut locks = |unseen, modes: &[(u32, Mode)]| {
            let modes = modes.iter().map(|(number, mode)| (*number, [*mode].into())).collect();
            let sight = Sight { modes, unseen, ..Sight::default() };
            differs((&look, &look), &mut before, &sight).locks.map(|locks| locks.len())
        };
        let mode = Mode::Share;
        assert_eq!(locks(None, &[]), Some(0));
        assert_eq!(locks(None, &[(1, mode), (9, mode)]), Some(1));
        assert_eq!(locks(Some(Unseen::Lost), &[]), None);
        assert_eq!(locks(Some(Unseen::Lost), &[(1, mode)]), Some(1));
    }
}
