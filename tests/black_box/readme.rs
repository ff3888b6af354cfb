//! The transcript in the README is what the program says.

use crate::support::run::Run;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

#[test]
fn the_readme_shows_a_refusal_as_it_happens() {
    let readme = std::fs::read_to_string(README).unwrap();
    let checked: usize = console_blocks(&readme).iter().map(|block| check(block)).sum();
    assert!(checked > 0, "the README shows no `$ slotguard check …`");
}

/// Runs the checks of one block and returns how many there were.
fn check(block: &[&str]) -> usize {
    let mut checked = 0;
    let mut lines = block.iter().copied().peekable();
    let mut status = None;
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else { continue };
        let mut shown = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
            shown.push(line);
        }
        if let Some(arguments) = command.strip_prefix("slotguard ") {
            if !arguments.starts_with("check ") {
                status = None;
                continue;
            }
            let arguments: Vec<&str> = arguments.split(' ').collect();
            let outcome = Run::new("slotguard", &arguments).format("human").run();
            let said = outcome.said();
            assert_eq!(said.trim_end().lines().collect::<Vec<_>>(), shown, "{command}");
            status = outcome.status;
            checked += 1;
        } else if command == "echo $?" && status.is_some() {
            assert_eq!(shown, [status.map(|number| number.to_string()).unwrap_or_default()]);
        }
    }
    checked
}

/// Returns the lines of every block fenced as `console`.
fn console_blocks(text: &str) -> Vec<Vec<&str>> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while lines.by_ref().any(|line| line.trim() == "```console") {
        blocks.push(lines.by_ref().take_while(|line| line.trim() != "```").collect());
    }
    blocks
}

#[test]
fn blocks_are_found_by_their_fence() {
    let text = "a\n```console\n$ x\ny\n```\nb\n```sh\n$ z\n```\n";
    assert_eq!(console_blocks(text), [["$ x", "y"]]);
}

#[test]
fn the_configuration_of_the_readme_is_accepted() {
    let readme = std::fs::read_to_string(README).unwrap();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    guard::config::Config::parse(block).unwrap();
}
