//! Whether the rules for the network that were installed are in force.

use std::path::Path;

use guard::diagnostic::{Code, Denial, shown};
use guard::slot::{SlotId, SlotSet};

use super::layout::NETWORK_RULES;
use crate::child;

const NFT: &str = "/usr/sbin/nft";

/// Compares the kernel's rules with the slots; `None` where none were installed.
pub(crate) fn findings(slots: &SlotSet) -> Option<Vec<Denial>> {
    if !Path::new(NETWORK_RULES).exists() {
        return None;
    }
    let question = ["-u", "list", "table", "inet", "slotguard"];
    let listing = child::command(Path::new(NFT), &question).output();
    let findings = match listing {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let missing = slots.iter().filter(|slot| !confines(&text, *slot));
            missing.map(|slot| refuse(format!("no rules for {slot}"))).collect()
        }
        Ok(output) => {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            vec![refuse(format!("`nft`: {}", shown(words.lines().next().unwrap_or_default())))]
        }
        Err(error) => vec![refuse(format!("`{NFT}`: {error}"))],
    };
    Some(findings)
}

/// Whether the slot's user may answer on its own port, and everything that is not allowed is refused.
fn confines(listing: &str, slot: SlotId) -> bool {
    let user = format!("meta skuid \"slot-{slot}\" ");
    let answers = format!("ct direction reply tcp sport {} accept", slot.backend_port());
    let rules = || listing.lines().filter_map(|line| line.trim().strip_prefix(user.as_str()));
    let refuses = rules().next_back().is_some_and(|rule| rule.starts_with("reject"));
    refuses && rules().any(|rule| rule == answers)
}

fn refuse(found: String) -> Denial {
    Denial::new(
        Code::NetworkRules,
        "the rules for the network are not in force",
        found,
        format!("the rules of `{NETWORK_RULES}`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_confined_by_its_last_rule() {
        let slot: SlotId = "preview-1".parse().unwrap();
        let answers =
            "\t\tmeta skuid \"slot-preview-1\" ct direction reply tcp sport 8101 accept\n";
        let rejects = "\t\tmeta skuid \"slot-preview-1\" reject with icmpx port-unreachable\n";
        assert!(confines(&format!("{answers}{rejects}"), slot));
        assert!(!confines(&format!("{rejects}{answers}"), slot), "an exception behind the end");
        assert!(!confines(answers, slot));
        assert!(!confines(rejects, slot));
        assert!(!confines(&format!("{answers}{rejects}"), "preview-2".parse().unwrap()));
        let other = answers.replace("8101", "8102");
        assert!(!confines(&format!("{other}{rejects}"), slot));
    }
}
