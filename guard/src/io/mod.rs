//! The few functions that read the machine on behalf of the decisions: the environment, files that
//! must be safe to read, directory roots and program files.
//!
//! Nothing here writes, connects or starts anything, except that [`Root::create_directory`] and
//! its kind make directories beneath a root.

mod config_file;
mod directory;
mod env_files;
mod process_environment;
mod program_file;
mod program_path;
mod root;
mod safe_file;
mod target;

pub use config_file::{LoadedConfig, load_config, load_config_at};
pub use directory::{Directory, open_configured};
pub use env_files::{judge_env_files, judge_worktree, warn_of_home};
pub use process_environment::environment_snapshot;
pub use program_file::inspect_program;
pub use root::Root;
pub use safe_file::{FileProblem, SafeFile};
pub use target::{TargetSource, obtain_target, read_password, read_url};
