//! nginx and Caddy of the distribution, in the foreground, with a configuration of a test.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::place::Place;
use super::run::{Run, Running, say};

/// A proxy and where the distribution puts it.
pub(crate) const NGINX: (&str, &str) = ("nginx", "/usr/sbin/nginx");
pub(crate) const CADDY: (&str, &str) = ("caddy", "/usr/bin/caddy");

/// Returns whether a proxy is installed; says so past the capture of the test runner if it is not.
pub(crate) fn installed((name, path): (&str, &str), test: &str) -> bool {
    let found = Path::new(path).is_file();
    if !found {
        say(&format!("SKIPPED {test}: {name} is missing (apt-get install {name})"));
    }
    found
}

/// Wraps what is made for the slots in a whole configuration of nginx, beneath a place.
pub(crate) fn write_nginx(place: &Place, rendered: &str) -> String {
    let at = place.text("nginx");
    std::fs::create_dir_all(&at).unwrap();
    // A worker of another user could not enter the private directory.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {at}/{kind};\n"))
        .concat();
    place.write("nginx/slots.conf", 0o644, rendered);
    place.write(
        "nginx/nginx.conf",
        0o644,
        &format!(
            "{user}daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr crit;\n\
             events {{\n    worker_connections 512;\n}}\nhttp {{\n    access_log off;\n    keepalive_timeout 1s;\n{temporary}    \
             include slots.conf;\n}}\n"
        ),
    );
    format!("{at}/nginx.conf")
}

/// Prepares nginx with a whole configuration.
pub(crate) fn nginx(config: &str, args: &[&str]) -> Run {
    let prefix = Path::new(config).parent().unwrap().to_str().unwrap().to_owned();
    Run::at(Path::new(NGINX.1), &[&["-p", &prefix, "-c", config, "-e", "stderr"], args].concat())
}

/// Prepares Caddy with a JSON configuration and a private home.
pub(crate) fn caddy(place: &Place, config: &str) -> Run {
    let run = Run::at(Path::new(CADDY.1), &["run", "--config", config]);
    run.with("HOME", &place.text("state")).with("XDG_DATA_HOME", &place.text("state"))
}

/// Prepares Caddy's own check of a JSON configuration.
pub(crate) fn caddy_validate(place: &Place, config: &str) -> Run {
    let run = Run::at(Path::new(CADDY.1), &["validate", "--config", config]);
    run.with("HOME", &place.text("state")).with("XDG_DATA_HOME", &place.text("state"))
}

/// Runs a proxy until the work is done.
pub(crate) fn proxying(proxy: Run, work: impl FnOnce()) {
    proxy.run_while(|running: &mut Running| {
        wait_for_listener();
        work();
        running.signal(Signal::TERM);
    });
}

fn wait_for_listener() {
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", 3101)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("no front listens on 3101");
}
