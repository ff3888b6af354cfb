//! Examines texts: the screening of each, and the hazards of those that are pending.

use std::path::Path;

use guard::migration::Execution;

use crate::hazard::{Judgement, pending};
use crate::parallel;
use crate::screening::{ScreenedFile, screened};

/// A text to examine.
#[derive(Debug, Clone)]
pub(crate) struct Text<'a> {
    /// Where it was read.
    pub(crate) path: &'a Path,
    /// What it says.
    pub(crate) text: &'a str,
    /// How it runs.
    pub(crate) execution: Execution<'a>,
    /// Whether production does not have it yet.
    pub(crate) is_pending: bool,
}

/// Screens texts, and judges the pending ones as one set in their order.
pub(crate) fn examine(texts: &[Text<'_>], judgement: Judgement) -> Vec<ScreenedFile> {
    let examined = parallel::map(texts, |file| {
        let screening = screened(file.text, &file.execution);
        let judged =
            file.is_pending.then(|| judgement.judge(file.text, &screening, file.execution.mode));
        (screening, judged.unwrap_or_default())
    });
    let (screenings, set): (Vec<_>, Vec<_>) = examined.into_iter().unzip();
    let files = texts.iter().zip(screenings).zip(pending(set));
    let file = |((file, screening), hazards): ((&Text<'_>, _), _)| {
        ScreenedFile::with_hazards(file.path, file.text, &screening, hazards)
    };
    files.map(file).collect()
}
