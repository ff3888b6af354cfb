//! The one place that starts programs of this installation: absolute path, environment from the policy.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use guard::environment::{EnvPolicy, Environment};
use rustix::process::{Signal, set_parent_process_death_signal};

/// Prepares a child that ends when this process ends, however that happens.
///
/// It inherits nothing: one of our own programs that needs a variable is handed it by name.
///
/// Start it from the main thread: the kernel ties the end of a child to the thread that started it.
#[must_use]
pub fn command(program: &Path, args: &[&str]) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the one place that starts children")]
    let mut command = Command::new(program);
    let environment = EnvPolicy::default().build_for_tool(&Environment::default());
    command.args(args).env_clear().envs(environment.dangerous_expose()).stdin(Stdio::null());
    #[expect(unsafe_code, reason = "asks the kernel, in the child, to end it with its parent")]
    // SAFETY: the closure makes one system call and touches no memory, lock or allocator.
    unsafe {
        command.pre_exec(|| {
            set_parent_process_death_signal(Some(Signal::TERM)).map_err(std::io::Error::from)
        });
    }
    command
}

/// Shows a command as a person would type it; arguments with odd characters are quoted.
#[must_use]
pub fn typed(program: &Path, args: &[&str]) -> String {
    let name = program.file_name().unwrap_or(OsStr::new("?")).to_string_lossy();
    let plain = |arg: &str| {
        arg.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._:@=,+-".contains(&b)) || arg == "…"
    };
    let mut words = vec![name.into_owned()];
    words.extend(args.iter().map(
        |arg| {
            if plain(arg) { (*arg).to_owned() } else { format!("'{arg}'") }
        },
    ));
    words.join(" ")
}
