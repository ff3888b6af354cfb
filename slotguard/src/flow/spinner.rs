//! What a person at a terminal sees while a step works: its name, and how long it has taken.
//!
//! Drawn by a thread of its own, since a step works on the main one, and wiped before anything else is
//! said. A crate for progress bars is left out: this is one line.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

const BETWEEN_FRAMES: Duration = Duration::from_millis(100);

const WIPE: &str = "\r\u{1b}[K";

/// The line, drawn until this is dropped.
pub(super) struct Spinner {
    stop: Option<Sender<()>>,
    drawing: Option<JoinHandle<()>>,
}

impl Spinner {
    /// Begins to draw.
    pub(super) fn start(name: String) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let begun = Instant::now();
        let drawing = std::thread::spawn(move || {
            let mut stderr = std::io::stderr();
            for frame in FRAMES.iter().cycle() {
                // Drawing may fail; the step goes on.
                if stopped.recv_timeout(BETWEEN_FRAMES) != Err(RecvTimeoutError::Timeout) {
                    let _ = write!(stderr, "{WIPE}");
                    return;
                }
                let seconds = begun.elapsed().as_secs_f32();
                let _ = write!(stderr, "{WIPE}{frame} {name:<18} {seconds:>6.1} s");
            }
        });
        Self { stop: Some(stop), drawing: Some(drawing) }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(drawing) = self.drawing.take() {
            // It does nothing that could fail.
            let _ = drawing.join();
        }
    }
}
