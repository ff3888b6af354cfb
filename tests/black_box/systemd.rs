//! `slotguard backend` on units of a real systemd.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use guard::diagnostic::Code;
use serde_json::{Value, json};

use crate::support::preview::{Connection, Preview, said};
use crate::support::programs;
use crate::support::run::{Run, say};
use crate::support::systemd_box::SystemdBox;

const UNIT: &str = "slot-backend@preview-1.service";

/// A preview whose backends are units.
struct Units {
    booted: SystemdBox,
    preview: Preview,
}

impl Units {
    /// Boots a manager with the unit of the backends and further units; `None` where it cannot be.
    fn new(further: &[(&str, String)]) -> Option<Self> {
        let preview = Preview::new();
        configure(&preview);
        let units = [&[("slot-backend@.service", unit(&preview))], further].concat();
        let booted = SystemdBox::boot(preview.place(), &units, &[])?;
        Some(Self { booted, preview })
    }

    fn backend(&self, verb: &str, slot: u8, more: &[&str]) -> Run {
        self.booted.inside(self.preview.backend(verb, slot, more))
    }

    fn start(&self, slot: u8, program: &str) -> Run {
        self.booted.inside(self.preview.start(slot, program))
    }

    #[track_caller]
    fn started(&self, slot: u8) -> i64 {
        let said = said(self.start(slot, "backend").run().accepted());
        assert_eq!(
            (&said["state"], &said["unit"]["active_state"]),
            (&json!("running"), &json!("active"))
        );
        said["pid"].as_i64().unwrap()
    }

    #[track_caller]
    fn stopped(&self, slot: u8) -> Value {
        let said = said(self.backend("stop", slot, &[]).run().accepted());
        assert_eq!(said["freed"]["processes"], 0, "{said}");
        said
    }

    fn is_running(&self, pid: i64) -> bool {
        let kill = self.booted.run("/bin/kill", &["-0", &pid.to_string()]).run();
        kill.status == Some(0)
    }
}

fn configure(preview: &Preview) {
    preview.configure("[lifecycle]\nmanager = \"systemd\"\n");
}

fn unit(preview: &Preview) -> String {
    let wrapper = programs::program("runtime-wrapper");
    format!(
        "[Unit]\nStartLimitIntervalSec=60\nStartLimitBurst=3\n\
         [Service]\nType=exec\n\
         ExecStart={} exec --format json --slot %i --config {} --from-record\n\
         Restart=on-failure\nRestartSec=50ms\n\
         RestartPreventExitStatus=64 65 66 69 70 75 77 78 126 127\nTimeoutStopSec=1\n",
        wrapper.display(),
        preview.place().config()
    )
}

#[test]
fn sc_1_lc_1_lc_3_lc_9_a_unit_lives_from_start_to_stop_and_leaves_others_alone() {
    let Some(units) = Units::new(&[]) else { return };
    let first = units.started(1);
    let other = units.started(2);
    let mut connection = Connection::open(2);
    assert_eq!(connection.ask(), "HTTP/1.1 200 OK");
    units.backend("health", 1, &[]).run().accepted();
    let again = said(units.start(1, "backend").run().accepted());
    assert_eq!((&again["outcome"], &again["pid"]), (&json!("already-running"), &json!(first)));
    units.start(1, "hangs").run().denied(Code::BackendDiffers);
    let restarted = said(units.backend("restart", 1, &[]).run().accepted());
    assert_ne!(restarted["pid"], first);
    assert!(!units.is_running(first));
    let stopped = units.stopped(1);
    assert_eq!(
        (&stopped["outcome"], &stopped["freed"]["port"]),
        (&json!("stopped"), &json!("free"))
    );
    assert_eq!(units.stopped(1)["outcome"], "already-stopped");
    units.backend("health", 1, &[]).run().denied(Code::BackendNotListening);
    // Nothing of this touched the other slot.
    let status = said(units.backend("status", 2, &[]).run().accepted());
    assert_eq!((&status["pid"], &status["unit"]["restarts"]), (&json!(other), &json!(0)));
    assert_eq!(connection.ask(), "HTTP/1.1 200 OK");
}

#[test]
fn a_unit_that_crashes_is_said_with_its_cause_and_blocks_nothing() {
    let Some(units) = Units::new(&[]) else { return };
    let denied = units.start(1, "crashes").run().denied(Code::BackendEnded);
    assert_eq!(denied["last_exit"]["code"], 3, "{denied}");
    let log = denied["log"].as_array().unwrap();
    assert!(log.iter().any(|line| line == "cannot go on"), "{denied}");
    // The limit of starts is used up; the manager itself would refuse the next one.
    units.booted.wait_for(UNIT, "ActiveState", "failed");
    assert_eq!(units.booted.property(UNIT, "NRestarts"), "3");
    units.backend("status", 1, &[]).run().denied(Code::BackendEnded);
    assert_ne!(units.booted.systemctl(&["start", UNIT]).status, Some(0));
    units.started(1);
}

#[test]
fn a_unit_that_forks_twice_and_ignores_sigterm_is_ended() {
    let Some(units) = Units::new(&[]) else { return };
    let said = said(units.start(1, "escapes").and(&["--no-wait"]).run().accepted());
    let mut pids = vec![said["pid"].as_i64().unwrap()];
    let escaped = units.preview.place().path("previews/feature/escaped");
    for _ in 0..600 {
        if pids.len() == 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
        let text = std::fs::read_to_string(&escaped).unwrap_or_default();
        pids.truncate(1);
        pids.extend(text.lines().filter_map(|line| line.parse::<i64>().ok()));
    }
    assert!(pids.len() == 3 && pids.iter().all(|pid| units.is_running(*pid)), "{pids:?}");
    let stopped = units.stopped(1);
    assert!(!pids.iter().any(|pid| units.is_running(*pid)), "{pids:?}");
    assert_eq!(stopped["unit"]["result"], "timeout", "{stopped}");
    units.started(1);
}

#[test]
fn se_1_a_refusal_is_never_tried_again() {
    let Some(units) = Units::new(&[]) else { return };
    // No record, another slot's instance, and a program that is allowed no more.
    for (unit, status) in [
        ("slot-backend@preview-3.service", "66"),
        ("slot-backend@preview-7.service", "64"),
        ("slot-backend@preview1.service", "64"),
    ] {
        units.booted.systemctl(&["start", unit]);
        units.booted.wait_for(unit, "ActiveState", "failed");
        assert_eq!(units.booted.property(unit, "ExecMainStatus"), status, "{unit}");
        assert_eq!(units.booted.property(unit, "NRestarts"), "0", "{unit}");
    }
    units.started(1);
    units.stopped(1);
    let config = std::fs::read_to_string(units.preview.place().config()).unwrap();
    let without = config.replace("[programs.backend]", "[programs.other]");
    units.preview.place().write("slotguard.toml", 0o600, &without);
    units.booted.systemctl(&["start", UNIT]);
    units.booted.wait_for(UNIT, "ActiveState", "failed");
    assert_eq!(units.booted.property(UNIT, "ExecMainStatus"), "77");
    assert_eq!(units.booted.property(UNIT, "NRestarts"), "0");
    units.backend("start", 1, &[]).run().denied(Code::ProgramKey);
    units.backend("start", 7, &[]).run().denied(Code::SlotNotConfigured);
    units.preview.place().write("slotguard.toml", 0o600, &config);
    units.started(1);
}

#[test]
fn a_unit_that_hangs_is_ended_by_its_watchdog_and_said_so() {
    let hangs = "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=1\nRestart=no\n\
                 ExecStart=\nExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 1000'\n";
    let Some(units) = Units::new(&[("hangs@.service", hangs.to_owned())]) else { return };
    let config = std::fs::read_to_string(units.preview.place().config()).unwrap();
    let hanging = config.replace(
        "[lifecycle]",
        "[systemd]\nbackend_unit = \"hangs@preview-{slot}.service\"\n[lifecycle]",
    );
    units.preview.place().write("slotguard.toml", 0o600, &hanging);
    units.start(1, "hangs").and(&["--no-wait"]).run().accepted();
    units.booted.wait_for("hangs@preview-1.service", "ActiveState", "failed");
    let denied = units.backend("status", 1, &[]).run().denied(Code::BackendEnded);
    assert_eq!(denied["unit"]["result"], "watchdog", "{denied}");
}

#[test]
fn a_reboot_brings_the_same_preview_back() {
    let Some(units) = Units::new(&[]) else { return };
    units.started(1);
    let Units { booted, preview } = units;
    drop(booted);
    let again = SystemdBox::boot(preview.place(), &[], &[UNIT]).unwrap();
    let units = Units { booted: again, preview };
    let status = said(units.backend("status", 1, &[]).run().accepted());
    assert_eq!(
        (&status["state"], &status["record"]["program"]),
        (&json!("running"), &json!("backend"))
    );
    // A start waits for its health and changes nothing.
    let start = said(units.backend("start", 1, &[]).run().accepted());
    assert_eq!((&start["outcome"], &start["pid"]), (&json!("already-running"), &status["pid"]));
}

#[test]
fn a_manager_that_cannot_be_asked_is_no_stopped_backend() {
    let preview = Preview::new();
    configure(&preview);
    for verb in ["status", "health", "stop"] {
        preview.backend(verb, 1, &[]).run().denied(Code::ManagerUnavailable);
    }
    preview.start(1, "backend").run().denied(Code::ManagerUnavailable);
    let Some(booted) = SystemdBox::boot(preview.place(), &[], &[]) else { return };
    let status = booted.inside(preview.backend("status", 1, &[])).run();
    let denied = status.denied(Code::ManagerUnavailable);
    assert!(denied["found"].as_str().unwrap().contains("not-found"), "{denied}");
}

/// What a client saw of a port while something happened to it.
#[derive(Debug, Default)]
struct Seen {
    answered: u32,
    refused: u32,
    broken: u32,
    longest: Duration,
}

/// Asks the backend of slot 1 again and again while something happens.
fn watch(happens: impl FnOnce()) -> Seen {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut seen = Seen::default();
            let mut last = Instant::now();
            while !done.load(Ordering::Relaxed) {
                match ask() {
                    Ok(()) => {
                        seen.answered += 1;
                        seen.longest = seen.longest.max(last.elapsed());
                        last = Instant::now();
                    }
                    Err(ErrorKind::ConnectionRefused) => seen.refused += 1,
                    Err(_) => seen.broken += 1,
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            seen
        });
        happens();
        done.store(true, Ordering::Relaxed);
        client.join().unwrap()
    })
}

fn ask() -> Result<(), ErrorKind> {
    let converse = || {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8101));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(20))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream
            .write_all(b"GET /api/environment HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.starts_with("HTTP/1.1 200 ") {
            Ok(())
        } else {
            Err(ErrorKind::InvalidData.into())
        }
    };
    converse().map_err(|error: std::io::Error| error.kind())
}

const RESTARTS: u32 = 20;

#[test]
fn with_a_socket_unit_no_connection_is_refused_across_restarts() {
    let socket = "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=127.0.0.1:8101\n";
    let socket = [("slot-backend@.socket", socket.to_owned())];
    let Some(units) = Units::new(&socket) else { return };
    // The socket goes to the program as the manager hands it over.
    let place = units.preview.place();
    let url = units.preview.server.url(1, "app_preview_1");
    let url = url.replace('@', &format!(":{}@", crate::support::server::password(1)));
    let activated = format!(
        "[Service]\nExecStart=\nExecStart={}\nEnvironment=DATABASE_URL={url} SLOT_BACKEND_PORT=8101\n",
        place.text("bin/sample-backend")
    );
    let drop_in = format!("/run/systemd/system/{UNIT}.d");
    place.write("activated.conf", 0o644, &activated);
    let install =
        ["-D", "-m", "0644", &place.text("activated.conf"), &format!("{drop_in}/activated.conf")];
    assert_eq!(units.booted.run("/usr/bin/install", &install).run().status, Some(0));
    assert_eq!(units.booted.systemctl(&["daemon-reload"]).status, Some(0));
    assert_eq!(units.booted.systemctl(&["start", "slot-backend@preview-1.socket"]).status, Some(0));
    let restart = |units: &Units| {
        for _ in 0..RESTARTS {
            units.backend("restart", 1, &[]).run().accepted();
        }
    };
    units.started(1);
    let seen = watch(|| restart(&units));
    say(&format!("{RESTARTS} restarts with a socket unit: {seen:?}"));
    assert_eq!(seen.refused, 0, "{seen:?}");
    assert!(seen.answered > 0, "{seen:?}");
    assert_eq!(units.stopped(1)["freed"]["port"], "socket-unit");
    // A look at a stopped unit does not start it, though the manager listens for it.
    units.backend("health", 1, &[]).run().denied(Code::BackendNotListening);
    assert_eq!(units.booted.property(UNIT, "ActiveState"), "inactive");
    units.started(1);
    units.stopped(1);

    // Without the socket unit the same client is refused now and then; how long is only measured.
    assert_eq!(units.booted.systemctl(&["stop", "slot-backend@preview-1.socket"]).status, Some(0));
    assert_eq!(units.booted.run("/bin/rm", &["-r", &drop_in]).run().status, Some(0));
    let gone = ["/run/systemd/system/slot-backend@.socket"];
    assert_eq!(units.booted.run("/bin/rm", &gone).run().status, Some(0));
    assert_eq!(units.booted.systemctl(&["daemon-reload"]).status, Some(0));
    units.started(1);
    let seen = watch(|| restart(&units));
    say(&format!("{RESTARTS} restarts of a plain unit: {seen:?}"));
    assert_eq!(units.stopped(1)["freed"]["port"], "free");
}
