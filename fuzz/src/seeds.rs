//! The committed inputs that a run starts from, one file each in `seeds/<target>/`.

use std::io;
use std::path::Path;

/// Reads the seeds of a target, in the order of their file names.
///
/// # Errors
/// When the directory or one of its files cannot be read.
pub fn read(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut paths = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    paths.iter().map(std::fs::read).collect()
}
