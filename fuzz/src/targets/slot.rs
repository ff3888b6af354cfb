//! `SlotId::from_str` and `SlotSet::parse_csv`: nine spellings, and lists that survive printing.

use guard::diagnostic::Denial;
use guard::slot::{SlotId, SlotSet};

use super::{Target, refused};
use crate::engine::Signature;

pub(super) const TARGET: Target = Target {
    name: "slot",
    check,
    #[rustfmt::skip]
    dictionary: &[
        "preview-1", "preview-2", "preview-9", "preview-0", "preview-10", "preview1", "preview", "-", "_",
        ",", ",preview-3", ", ", "0", "1", "9", "Preview", "PREVIEW-", " ", "\n", "\t", "..", "/", "\0",
        "\u{ff11}", "\u{661}", "\u{2010}", "\u{202e}",
    ],
};

fn check(input: &[u8]) -> Signature {
    let text = String::from_utf8_lossy(input);
    let one = text.parse::<SlotId>();
    let canonical = SlotId::all().any(|slot| slot.to_string() == text);
    assert_eq!(one.is_ok(), canonical, "another spelling is accepted, or the own one is not");
    match &one {
        Ok(slot) => facts_agree(*slot),
        Err(denial) => advice_works(denial),
    }
    match (one, SlotSet::parse_csv(&text)) {
        (_, Ok(set)) => accepted(&text, &set),
        (Err(denial), Err(list)) => format!("{} {}", refused(&denial), list.code()),
        (Ok(slot), Err(denial)) => panic!("{slot} is a slot but no list of slots: {denial}"),
    }
}

fn facts_agree(slot: SlotId) {
    assert_eq!(slot.to_string().parse(), Ok(slot));
    assert_eq!(SlotId::owning_database(&slot.database_name()), Some(slot));
    for port in [slot.frontend_port(), slot.backend_port(), slot.sidecar_port()] {
        assert_eq!(SlotId::owning_port(port), Some(slot));
    }
}

/// A next step that tells what to write must tell something that is accepted.
fn advice_works(denial: &Denial) {
    let advice =
        denial.next_step().strip_prefix("Write `").and_then(|rest| rest.strip_suffix("`."));
    if let Some(spelling) = advice {
        assert!(spelling.parse::<SlotId>().is_ok(), "`{spelling}` is suggested and not accepted");
    }
}

fn accepted(text: &str, set: &SlotSet) -> Signature {
    let printed = set.to_string();
    assert_eq!(SlotSet::parse_csv(&printed).as_ref(), Ok(set), "{printed} is not the same set");
    let slots: Vec<SlotId> = set.iter().collect();
    assert!(slots.is_sorted_by(|one, next| one < next), "{printed} is not in order");
    assert_eq!(slots.first(), Some(&set.first()));
    let mut given: Vec<&str> = text.split(',').collect();
    given.sort_unstable();
    assert_eq!(given.join(","), printed, "the set is not what was written");
    for slot in SlotId::all() {
        assert_eq!(set.require(slot).is_ok(), slots.contains(&slot));
    }
    format!("accepted {} slots", slots.len())
}
