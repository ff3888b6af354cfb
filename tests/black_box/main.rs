//! One black-box test binary over the built programs.

mod adoption;
mod artifacts;
mod backend;
mod backend_codes;
mod browser;
mod contract;
mod demo;
mod deploy;
mod diagnostics;
mod differential;
mod doctor;
mod exec_views;
mod hazards;
mod help;
mod hostile_parent;
mod identity;
mod install;
mod layering;
mod layouts;
mod lease_soak;
mod leases;
mod migrations;
mod misconfigurations;
mod privileges;
mod provision;
mod publish;
mod publish_crash;
mod publish_failures;
mod readme;
mod recipes;
mod release;
mod reset;
mod reset_crash;
mod reset_interrupted;
mod reset_load;
mod routes;
mod routes_live;
mod runs;
mod sandbox;
mod screening;
mod seed;
mod sidecar;
mod sidecar_audit;
mod sidecar_backend;
mod sidecar_drivers;
mod sidecar_lease;
mod sidecar_life;
mod sidecar_refusals;
mod sidecar_tls;
mod sidecar_wire;
mod status;
mod stepwise;
mod stepwise_kills;
mod stream;
mod suggestions;
mod support;
mod systemd;
mod three_slots;
mod tls;
mod trace;
mod trace_alone;
mod traps;
mod units;
mod web;
mod web_corpus;

#[test]
fn every_file_is_a_module_of_this_binary() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("black_box");
    for (directory, root) in [("", "main.rs"), ("support", "support/mod.rs")] {
        let declared = std::fs::read_to_string(here.join(root)).unwrap();
        for entry in std::fs::read_dir(here.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if ["main", "mod", "snapshots"].contains(&name.as_str()) {
                continue;
            }
            let is_declared = declared.lines().any(|line| {
                line.trim_start_matches("pub(crate) ").trim_end() == format!("mod {name};")
            });
            assert!(is_declared, "{} is no module of {root}", path.display());
        }
    }
}
