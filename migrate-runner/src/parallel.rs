//! Work on many files at once, on as many threads as there are processors.
//!
//! Reading and screening a thousand files is most of what a run with nothing to do costs.

use std::num::NonZero;
use std::thread;

/// Fewer items than this are not worth a thread.
const CHUNK: usize = 64;

/// More threads than this gain nothing.
const MOST_THREADS: usize = 8;

/// Returns what the work makes of each item, in the order of the items.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.min(MOST_THREADS).min(items.len().div_ceil(CHUNK)).max(1);
    let chunk = items.len().div_ceil(threads).max(1);
    let (mine, others) = items.split_at(chunk.min(items.len()));
    let all = |items: &[T]| items.iter().map(&work).collect::<Vec<R>>();
    thread::scope(|scope| {
        let all = &all;
        let spawned: Vec<_> =
            others.chunks(chunk).map(|part| scope.spawn(move || all(part))).collect();
        let mut results = all(mine);
        for handle in spawned {
            match handle.join() {
                Ok(part) => results.extend(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_in_order() {
        for count in [0, 1, CHUNK, CHUNK + 1, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let doubled: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(map(&items, |item| item * 2), doubled);
        }
    }
}
