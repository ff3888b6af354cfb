//! What the slot's frontend shows while nobody holds the slot.

use std::os::fd::AsFd as _;

use guard::diagnostic::Denial;
use guard::io::Root;
use guard::path::AbsolutePath;
use guard::slot::SlotId;

use super::release;

/// Points the slot's frontend at a page that says that the slot is free.
///
/// The releases that were published stay where they are. Where nothing was ever published there is
/// no frontend to point anywhere.
///
/// # Errors
/// Refuses a web root that cannot be written.
pub(crate) fn show(slot: SlotId, web_root: &AbsolutePath) -> Result<(), Denial> {
    if !std::path::Path::new(web_root.as_str()).exists() {
        return Ok(());
    }
    let root = Root::open(web_root)?;
    if release::current(root.handle().as_fd()).is_none() {
        return Ok(());
    }
    let page = page(slot);
    release::stage_files(&[("index.html", page.as_bytes())], web_root)?.switch(usize::MAX)?;
    Ok(())
}

/// Returns whether a page is one of these.
pub(crate) fn is_one(page: &[u8]) -> bool {
    page.windows(MARK.len()).any(|window| window == MARK.as_bytes())
}

/// Stands in the page's head and nowhere else.
const MARK: &str = "<meta name=\"slotguard\" content=\"free\">";

fn page(slot: SlotId) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         {MARK}\n\
         <title>{slot} is free</title>\n\
         <style>:root{{color-scheme:light dark}}body{{font:18px/1.5 system-ui,sans-serif;\
         max-width:34rem;margin:18vh auto;padding:0 1rem}}</style></head><body>\n\
         <h1>{slot} is free</h1>\n\
         <p>Nobody holds this slot, and its backend is stopped. Claim it and publish a worktree:</p>\n\
         <pre>slotguard slot claim --slot {slot} …\nslotguard publish --slot {slot} --worktree …</pre>\n\
         </body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_frontend_gives_way_and_a_slot_without_one_stays_empty() {
        let place = tempfile::tempdir().unwrap();
        let web = place.path().join("web");
        let root = AbsolutePath::parse(web.to_str().unwrap()).unwrap();
        let slot = "preview-1".parse().unwrap();
        show(slot, &root).unwrap();
        assert!(!web.exists());
        let staged = release::stage_files(&[("index.html", b"<html>app</html>")], &root).unwrap();
        let app = staged.switch(1).unwrap().release;
        show(slot, &root).unwrap();
        let served = std::fs::read_to_string(web.join("current/index.html")).unwrap();
        assert!(served.contains("preview-1 is free"));
        assert!(is_one(served.as_bytes()) && !is_one(b"<html>app</html>"));
        assert!(web.join("releases").join(app).exists(), "what was published stays");
    }
}
