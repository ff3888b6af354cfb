//! Whether production may be deployed from here, and by which two commands.
//!
//! The commands come from the contract's variables (EN-10, EN-11). They are words and nothing else:
//! no shell reads them, so whatever only a shell understands is refused rather than passed on.

use crate::database_url::DatabaseTarget;
use crate::diagnostic::{Code, Denial, shown};
use crate::environment::{DATABASE_URL, Environment};
use crate::path::AbsolutePath;
use crate::program::{ApprovedProgram, Programs};
use crate::slot::SlotId;

/// The command that reloads production's backend.
pub const RELOAD: &str = "DEPLOY_BACKEND_RELOAD_CMD";

/// The command that decides whether the reloaded backend is healthy.
pub const HEALTHCHECK: &str = "DEPLOY_BACKEND_HEALTHCHECK_CMD";

/// Variables that only a slot's programs and a developer's shell have.
///
/// The contract's shared variables (`SLOT_IDS_CSV`, `WORKER_PREVIEW_…`) are not among them: whoever
/// deploys after a merge is the worker that has these.
const OF_A_PREVIEW: [&str; 7] = [
    "SLOT_ID",
    "SLOT_NUM",
    "SLOT_BACKEND_PORT",
    "SLOT_DB_NAME",
    "SLOT_WORKTREE_PATH",
    "WORKER_SLOT_API_DIRECT_TEMPLATE",
    "WORKER_SLOT_PREVIEW_HOST_TEMPLATE",
];

/// How the slice of a slot's processes begins and ends, as `install` writes it.
const SLICE: (&str, &str) = ("slotguard-preview-", ".slice");

/// Longest command, in bytes.
const LONGEST: usize = 4096;

/// Where a caller stands, beside its environment.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The working directory; none if it is unknown.
    pub directory: Option<&'a AbsolutePath>,
    /// What `/proc/self/cgroup` says; empty if it is unknown.
    pub cgroup: &'a str,
    /// Directories in which only previews work.
    pub of_previews: &'a [AbsolutePath],
}

/// Refuses a caller that is a preview, or works inside one.
///
/// # Errors
/// Refuses variables of a slot or of a developer's shell, a `DATABASE_URL` of a slot, a working
/// directory of previews, and a process in the slice of a slot.
pub fn refuse_preview(environment: &Environment, place: &Place<'_>) -> Result<(), Denial> {
    let names: Vec<String> = OF_A_PREVIEW
        .iter()
        .filter(|name| environment.value(name).is_some())
        .map(|name| format!("`{name}`"))
        .collect();
    if !names.is_empty() {
        return Err(refuse(format!("variables of a preview: {}", names.join(", "))));
    }
    if let Some(slot) = slot_of_url(environment) {
        return Err(refuse(format!("a `{DATABASE_URL}` of {slot}")));
    }
    if let Some(directory) = place.directory {
        let within = |root: &&AbsolutePath| directory == *root || directory.beneath(root).is_some();
        if let Some(root) = place.of_previews.iter().find(within) {
            let (directory, root) = (shown(directory.as_str()), shown(root.as_str()));
            return Err(refuse(format!("the working directory `{directory}`, in `{root}`")));
        }
    }
    match slot_of_cgroup(place.cgroup) {
        Some(slot) => Err(refuse(format!("a process of {slot}"))),
        None => Ok(()),
    }
}

fn refuse(found: String) -> Denial {
    Denial::new(
        Code::DeployInPreview,
        "production is not deployed from a preview",
        found,
        "an environment and a place without anything of a preview",
    )
}

fn slot_of_url(environment: &Environment) -> Option<SlotId> {
    let text = String::from_utf8_lossy(environment.value(DATABASE_URL)?).into_owned();
    SlotId::owning_database(DatabaseTarget::parse(&text).ok()?.database())
}

fn slot_of_cgroup(cgroup: &str) -> Option<SlotId> {
    let (begins, ends) = SLICE;
    let parts = cgroup.lines().flat_map(|line| line.split('/'));
    let mut slots = parts.filter_map(|part| {
        let number = part.strip_prefix(begins)?.strip_suffix(ends)?;
        format!("preview-{number}").parse().ok()
    });
    slots.next()
}

/// Reads one of the two commands and finds the entry of the allowlist that it is.
///
/// # Errors
/// Refuses a command that is missing, one with a character that only a shell understands, and one
/// that is not exactly an entry of `[programs]`. No word of it is repeated but its program.
pub fn command(
    name: &'static str,
    environment: &Environment,
    programs: &Programs,
) -> Result<ApprovedProgram, Denial> {
    let text = environment.value(name).unwrap_or_default();
    let words = split(name, text)?;
    let [path, args @ ..] = words.as_slice() else {
        return Err(Denial::new(
            Code::DeployCommandMissing,
            format!("`{name}` is not set"),
            "no command",
            "an entry of `[programs]`: its path and its arguments",
        ));
    };
    programs.approve_exactly(path, args).map_err(|denial| {
        let message = format!("`{name}`: {}", denial.message());
        Denial::new(denial.code(), message, denial.found(), denial.expected())
    })
}

fn split(name: &str, text: &[u8]) -> Result<Vec<String>, Denial> {
    let refuse = |found: String| {
        Denial::new(
            Code::DeployCommandShape,
            format!("`{name}` is not a plain command"),
            found,
            "words of letters, digits and `/._-:=@,+%`, separated by blanks",
        )
    };
    if text.len() > LONGEST {
        return Err(refuse(format!("{} bytes", text.len())));
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" \t/._-:=@,+%".contains(byte);
    if let Some(at) = text.iter().position(|byte| !plain(byte)) {
        let character = shown(&char::from(text[at]).to_string());
        return Err(refuse(format!("`{character}` at byte {}", at + 1)));
    }
    let text = String::from_utf8_lossy(text);
    Ok(text.split([' ', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::entry;

    fn programs() -> Programs {
        Programs::new(vec![
            entry("reload", "/usr/bin/systemctl", &["reload", "app.service"], false),
            entry("tool", "/usr/bin/tool", &[], true),
        ])
    }

    fn code(text: &str) -> Option<Code> {
        let result = command(RELOAD, &[(RELOAD, text)].into(), &programs());
        result.err().map(|denial| denial.code())
    }

    #[test]
    fn en_10_a_command_is_exactly_an_entry_of_the_allowlist() {
        for good in [
            "/usr/bin/systemctl reload app.service",
            "  /usr/bin/systemctl \t reload  app.service ",
            "/usr/bin/tool",
        ] {
            assert_eq!(code(good), None, "{good}");
        }
        for (bad, why) in [
            ("", Code::DeployCommandMissing),
            ("  ", Code::DeployCommandMissing),
            ("systemctl reload app.service", Code::ProgramNotAllowed),
            ("/usr/bin/systemctl reload", Code::ProgramArguments),
            ("/usr/bin/systemctl reload app.service x", Code::ProgramArguments),
            ("/usr/bin/tool x", Code::ProgramArguments),
            ("/usr/bin/docker restart app", Code::ContainerRuntime),
        ] {
            assert_eq!(code(bad), Some(why), "{bad}");
        }
        let missing = command(HEALTHCHECK, &Environment::default(), &programs()).unwrap_err();
        assert_eq!(missing.code(), Code::DeployCommandMissing);
        assert!(missing.message().contains(HEALTHCHECK));
    }

    #[test]
    fn en_11_what_only_a_shell_understands_is_refused() {
        for sign in ";|&$`\"'\\<>(){}[]*?~#!^\n\0é".chars() {
            let text = format!("/usr/bin/tool{sign}");
            assert_eq!(code(&text), Some(Code::DeployCommandShape), "{sign:?}");
        }
        assert_eq!(code(&format!("/usr/bin/{}", "x".repeat(5000))), Some(Code::DeployCommandShape));
        let quoted = "/usr/bin/tool --token='hunter2'";
        let denial = command(RELOAD, &[(RELOAD, quoted)].into(), &programs()).unwrap_err();
        assert!(!format!("{denial:?}").contains("hunter2"), "{denial:?}");
    }

    #[test]
    fn a_preview_is_told_from_the_host() {
        let path = |text| AbsolutePath::parse(text).unwrap();
        let (previews, app, home) = (path("/srv/previews"), path("/srv/previews/a"), path("/root"));
        let host = Place {
            directory: Some(&home),
            cgroup: "",
            of_previews: std::slice::from_ref(&previews),
        };
        let refused = |environment: Environment, place: &Place<'_>| {
            let denial = refuse_preview(&environment, place).err();
            denial.map(|denial| {
                assert_eq!(denial.code(), Code::DeployInPreview);
                denial.found().to_owned()
            })
        };
        let shared = [
            ("SLOT_IDS_CSV", "preview-1"),
            ("WORKER_PREVIEW_WEB_ROOT_TEMPLATE", "/srv/web-{slot}"),
            ("DATABASE_URL", "postgresql://app@127.0.0.1:5432/app_production"),
        ];
        assert_eq!(refused(shared.into(), &host), None);
        for name in OF_A_PREVIEW {
            assert!(refused([(name, "x")].into(), &host).unwrap().contains(name));
        }
        let url = "postgresql://slot_2@127.0.0.1:5432/app_preview_2";
        assert!(refused([("DATABASE_URL", url)].into(), &host).unwrap().contains("preview-2"));
        let none = Environment::default;
        for directory in [&app, &previews] {
            let place = Place { directory: Some(directory), ..host };
            assert!(refused(none(), &place).is_some());
        }
        let cgroup =
            "0::/slotguard.slice/slotguard-preview.slice/slotguard-preview-3.slice/x.service\n";
        assert!(refused(none(), &Place { cgroup, ..host }).unwrap().contains("preview-3"));
        for other in ["0::/system.slice/cron.service\n", "0::/slotguard-preview-x.slice\n"] {
            assert_eq!(refused(none(), &Place { cgroup: other, ..host }), None);
        }
    }
}
