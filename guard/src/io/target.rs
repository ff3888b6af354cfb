//! Where the text of the database target comes from, in the order of the command-line contract.

use std::path::Path;

use super::safe_file::{SafeFile, read_text};
use crate::config::Config;
use crate::database_url::DatabaseTarget;
use crate::diagnostic::{Code, Denial, Warning, shown};
use crate::environment::{DATABASE_URL, Environment};
use crate::secret::Secret;
use crate::slot::SlotId;
use crate::suggestion::parse_for;

const URL_LIMIT: usize = 4096;
/// A URL is judged whoever wrote it, so only its kind and size matter.
const URL_RULE: SafeFile = SafeFile::of_anybody(URL_LIMIT);
const PASSWORD_RULE: SafeFile = SafeFile::of_caller(4096, 0o077);

/// The options that give a target.
#[derive(Debug, Clone, Copy)]
pub struct TargetSource<'a> {
    /// `--database-url-file`, where `-` is standard input.
    pub file: Option<&'a Path>,
    /// `--database-url`.
    pub option: Option<&'a str>,
}

/// Obtains the target from the options, else from `DATABASE_URL`, else from the configuration.
///
/// Returns the target, the text that was given by option (for
/// [`crate::environment::judge`]), and warnings.
///
/// # Errors
/// Refuses two options at once, an unreadable file, a text outside the grammar, and no target.
pub fn obtain_target(
    source: TargetSource<'_>,
    environment: &Environment,
    config: &Config,
    slot: SlotId,
) -> Result<(DatabaseTarget, Option<Secret>, Vec<Warning>), Denial> {
    let parse = |text: &str| parse_for(slot, text, &config.database);
    match (source.file, source.option) {
        (Some(_), Some(_)) => Err(Denial::new(
            Code::TwoTargets,
            "the database target was given twice",
            "`--database-url-file` and `--database-url`",
            "one of them",
        )),
        (Some(file), None) => {
            let text = read_url(file)?;
            Ok((parse(&text)?, Some(Secret::new(text)), Vec::new()))
        }
        (None, Some(text)) => {
            let target = parse(text)?;
            let warnings = warn_of_password(&target);
            Ok((target, Some(Secret::new(text.to_owned())), warnings))
        }
        (None, None) => match environment.value(DATABASE_URL) {
            // A byte that is not UTF-8 becomes a character that the grammar refuses.
            Some(text) => {
                let target = parse(&String::from_utf8_lossy(text))?;
                Ok((target, None, Vec::new()))
            }
            None => Ok((render(config, slot)?, None, Vec::new())),
        },
    }
}

fn warn_of_password(target: &DatabaseTarget) -> Vec<Warning> {
    let message = "the password in `--database-url` can be read by every user of this host";
    let warning = || Warning::new(Code::PasswordOnCommandLine, message);
    target.password().map(|_| warning()).into_iter().collect()
}

/// Reads one URL from a file, or from standard input for `-`; a single line end is not part of it.
///
/// # Errors
/// Refuses a file that cannot be read, is no regular one or is too large.
pub fn read_url(path: &Path) -> Result<String, Denial> {
    let refuse = |why: String| {
        Denial::new(
            Code::TargetUnreadable,
            "the file with the database target cannot be read",
            format!("`{}`: {why}", shown(&path.to_string_lossy())),
            "a readable file with one URL",
        )
    };
    let text = if path == Path::new("-") {
        read_text(std::io::stdin().lock(), 0, URL_LIMIT)
    } else {
        URL_RULE.read(path)
    };
    let text = text.map_err(|problem| refuse(problem.to_string()))?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}

/// Renders the target that the configuration alone determines.
fn render(config: &Config, slot: SlotId) -> Result<DatabaseTarget, Denial> {
    let ([endpoint], Some(role)) = (&config.database.endpoints[..], &config.database.role) else {
        return Err(Denial::new(
            Code::NoTarget,
            format!("no database target was given for {slot}"),
            "no `--database-url-file`, no `--database-url`, no `DATABASE_URL`",
            "a target, or exactly one `[database] endpoints` and a `[database] role`",
        ));
    };
    let password =
        config.password_file.as_ref().map(|file| read_password(Path::new(&file.render(slot))));
    DatabaseTarget::from_parts(
        &role.render(slot),
        password.transpose()?,
        &endpoint.host,
        endpoint.port,
        &slot.database_name(),
    )
}

/// Reads a password from a file that only its owner can read; one line end is not part of it.
///
/// # Errors
/// Refuses a file that is missing, not regular, of somebody else, or open to others.
pub fn read_password(path: &Path) -> Result<Secret, Denial> {
    let text = PASSWORD_RULE.read(path).map_err(|problem| {
        Denial::new(
            Code::TargetUnreadable,
            "a password file cannot be used",
            format!("`{}`: {problem}", shown(&path.to_string_lossy())),
            "a regular file of root or the caller with mode 0600",
        )
    })?;
    Ok(Secret::new(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const URL: &str = "postgresql://slot_1:pw@127.0.0.1:5432/app_preview_1";

    fn obtain(source: TargetSource<'_>, environment: &Environment) -> Result<String, Code> {
        let slot = "preview-1".parse().unwrap();
        obtain_target(source, environment, &Config::default(), slot)
            .map(|(target, _, _)| target.canonical())
            .map_err(|denial| denial.code())
    }

    #[test]
    fn options_beat_the_environment_and_exclude_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("url");
        std::fs::write(&file, format!("{URL}\n")).unwrap();
        let environment: Environment = [(DATABASE_URL, "postgresql://e@127.0.0.1:1/e")].into();
        let none = TargetSource { file: None, option: None };
        let both = TargetSource { file: Some(&file), option: Some(URL) };
        let canonical = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";
        let by_file = TargetSource { option: None, ..both };
        let by_option = TargetSource { file: None, ..both };
        assert_eq!(obtain(by_file, &environment).unwrap(), canonical);
        assert_eq!(obtain(by_option, &environment).unwrap(), canonical);
        assert_eq!(obtain(none, &environment).unwrap(), "postgresql://e@127.0.0.1:1/e");
        assert_eq!(obtain(both, &environment).unwrap_err(), Code::TwoTargets);
        assert_eq!(obtain(none, &Environment::default()).unwrap_err(), Code::NoTarget);
    }

    #[test]
    fn a_file_holds_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("url");
        let source = TargetSource { file: Some(&file), option: None };
        assert_eq!(obtain(source, &Environment::default()).unwrap_err(), Code::TargetUnreadable);
        std::fs::write(&file, format!("{URL}\r\n")).unwrap();
        assert!(obtain(source, &Environment::default()).is_ok());
        std::fs::write(&file, format!("{URL}\n\n")).unwrap();
        assert_eq!(obtain(source, &Environment::default()).unwrap_err(), Code::UrlBytes);
        std::fs::write(&file, "x".repeat(URL_LIMIT + 1)).unwrap();
        assert_eq!(obtain(source, &Environment::default()).unwrap_err(), Code::TargetUnreadable);
    }

    #[test]
    fn db_3_configuration_alone_determines_the_target() {
        let directory = tempfile::tempdir().unwrap();
        let password = directory.path().join("slot_2.pw");
        std::fs::write(&password, "p w\n").unwrap();
        let text = format!(
            "version = 1\n[database]\nendpoints = [\"127.0.0.1:5432\"]\nrole = \"slot_{{slot}}\"\n\
             password_file = \"{}/slot_{{slot}}.pw\"\n",
            directory.path().display()
        );
        let config = Config::parse(&text).unwrap();
        let source = TargetSource { file: None, option: None };
        let slot = "preview-2".parse().unwrap();
        let obtained = || obtain_target(source, &Environment::default(), &config, slot);
        let mode = |mode| {
            std::fs::set_permissions(&password, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(0o644);
        assert_eq!(obtained().unwrap_err().code(), Code::TargetUnreadable);
        mode(0o600);
        let (target, _, _) = obtained().unwrap();
        assert_eq!(
            target.connection_url().dangerous_expose(),
            "postgresql://slot_2:p%20w@127.0.0.1:5432/app_preview_2"
        );
    }
}
