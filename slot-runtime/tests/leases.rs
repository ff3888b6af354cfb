//! Leases on the embedded store: real files and locks in a directory of the test's own.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::cell::{Cell, RefCell};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guard::config::Roots;
use guard::diagnostic::{Code, Denial};
use guard::path::AbsolutePath;
use guard::slot::SlotId;
use slot_runtime::lease::{
    Admission, EmbeddedStore, Generation, Label, Lease, LeaseStore as _, Mode, Patience, Reaped,
    Request, admit, begin, claim, reap, release, renew,
};

const HOUR: Duration = Duration::from_secs(3600);
const NO_WAIT: Duration = Duration::ZERO;

/// A state root that is gone when dropped, and a clock that only the test moves.
struct Bench {
    place: tempfile::TempDir,
    store: EmbeddedStore,
    clock: Cell<SystemTime>,
    stopped: RefCell<Vec<SlotId>>,
}

impl Bench {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let state = AbsolutePath::parse(place.path().join("state").to_str().unwrap()).unwrap();
        let store = EmbeddedStore::new(&Roots { state, ..Roots::default() });
        let clock = Cell::new(UNIX_EPOCH + Duration::from_secs(1_000_000));
        Self { place, store, clock, stopped: RefCell::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join("state").join(name)
    }

    fn pass(&self, time: Duration) {
        self.clock.set(self.clock.get() + time);
    }

    fn patience(&self) -> Patience<impl Fn() -> SystemTime> {
        Patience { clock: || self.clock.get(), wait: NO_WAIT }
    }

    fn claim(&self, owner: &str) -> Result<Lease, Code> {
        let owner = Label::parse("owner", owner).unwrap();
        let request = Request { owner, purpose: None, term: HOUR };
        claim(&self.store, slot(), request, &self.patience(), &mut |slot| self.stop(slot))
            .map(|claimed| claimed.lease)
            .map_err(|denial| denial.code())
    }

    fn stop(&self, slot: SlotId) -> Result<(), Denial> {
        self.stopped.borrow_mut().push(slot);
        Ok(())
    }

    fn release(&self, given: Generation) -> Result<Lease, Code> {
        release(&self.store, slot(), given, NO_WAIT, &mut |slot| self.stop(slot))
            .map_err(|denial| denial.code())
    }

    fn reap(&self) -> Result<Reaped, Code> {
        let stop = &mut |slot| self.stop(slot);
        reap(&self.store, slot(), Duration::from_secs(600), &self.patience(), stop)
            .map_err(|denial| denial.code())
    }

    fn admit(&self, given: Option<Generation>) -> Result<Admission, Code> {
        admit(&self.store, slot(), given, self.clock.get()).map_err(|denial| denial.code())
    }
}

fn slot() -> SlotId {
    "preview-1".parse().unwrap()
}

#[test]
fn a_slot_is_claimed_by_one_and_released_by_the_same() {
    let bench = Bench::new();
    let first = bench.claim("worker-1").unwrap();
    assert_eq!(first.generation.number(), 1);
    assert_eq!(bench.claim("worker-2"), Err(Code::LeaseHeld));
    assert!(bench.admit(Some(first.generation)).is_ok());
    assert_eq!(bench.admit(None), Err(Code::LeaseHeld));

    assert_eq!(bench.release(first.generation).unwrap(), first);
    assert_eq!(*bench.stopped.borrow(), [slot()], "the backend is stopped before");
    assert_eq!(bench.release(first.generation), Err(Code::LeaseGeneration));
    assert_eq!(bench.admit(None), Ok(Admission::Unclaimed));
    assert_eq!(bench.claim("worker-2").unwrap().generation.number(), 2);
    assert_eq!(bench.admit(Some(first.generation)), Err(Code::LeaseGeneration));
}

#[test]
fn nothing_is_made_where_nothing_was_ever_claimed() {
    let bench = Bench::new();
    let before_the_root = || {
        assert_eq!(bench.admit(None), Ok(Admission::Unclaimed));
        let acting = begin(&bench.store, slot(), None, Mode::Shared, SystemTime::now, NO_WAIT);
        assert_eq!(acting.unwrap().admission(), Admission::Unclaimed);
        assert_eq!(bench.reap(), Ok(Reaped::Nothing));
    };
    before_the_root();
    assert!(!bench.path("").exists());
    std::fs::create_dir(bench.path("")).unwrap();
    before_the_root();
    assert!(!bench.path("leases").exists());
}

#[test]
fn a_store_that_cannot_be_trusted_is_never_taken_for_free() {
    let bench = Bench::new();
    let lease = bench.claim("worker-1").unwrap();
    let record = bench.path("leases/preview-1.json");
    let good = std::fs::read_to_string(&record).unwrap();
    let refused = |what: &str| {
        assert_eq!(bench.admit(None), Err(Code::LeaseStore), "{what}");
        assert_eq!(bench.claim("worker-2"), Err(Code::LeaseStore), "{what}");
        assert_eq!(bench.release(lease.generation), Err(Code::LeaseStore), "{what}");
        assert_eq!(bench.reap(), Err(Code::LeaseStore), "{what}");
    };
    for text in ["", "{}", &good[..good.len() - 1], &good.replace("preview-1", "preview-2")] {
        std::fs::write(&record, text).unwrap();
        refused(text);
    }
    std::fs::remove_file(&record).unwrap();
    std::os::unix::fs::symlink("/dev/null", &record).unwrap();
    refused("a link");
    std::fs::remove_file(&record).unwrap();
    std::fs::write(&record, &good).unwrap();
    assert!(bench.admit(Some(lease.generation)).is_ok());

    let set_mode = |name: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(bench.path(name), permissions).unwrap();
    };
    set_mode("leases", 0o777);
    refused("a directory that others can write to");
    set_mode("leases", 0o700);
    set_mode("", 0o777);
    assert_eq!(bench.admit(None), Err(Code::RootUnusable), "a root that others can write to");
    set_mode("", 0o755);
    assert!(bench.admit(Some(lease.generation)).is_ok());
}

#[test]
fn an_expired_lease_admits_nobody_and_is_freed_by_whoever_comes() {
    let bench = Bench::new();
    let lease = bench.claim("worker-1").unwrap();
    bench.pass(HOUR - Duration::from_secs(600));
    assert!(matches!(bench.reap(), Ok(Reaped::EndsSoon(_))));
    assert_eq!(bench.reap(), Ok(Reaped::Nothing), "it is said once");
    assert!(bench.admit(Some(lease.generation)).is_ok());

    let patience = bench.patience();
    let renewed = renew(&bench.store, slot(), lease.generation, HOUR, &patience).unwrap();
    assert_eq!(renewed.generation, lease.generation);
    bench.pass(HOUR);
    assert_eq!(bench.admit(Some(lease.generation)), Err(Code::LeaseExpired));
    let late = renew(&bench.store, slot(), lease.generation, HOUR, &patience).unwrap_err();
    assert_eq!(late.code(), Code::LeaseExpired);
    assert!(matches!(bench.reap(), Ok(Reaped::Freed(_))));
    assert_eq!(*bench.stopped.borrow(), [slot()]);

    bench.claim("worker-2").unwrap();
    bench.pass(HOUR);
    assert_eq!(bench.claim("worker-3").unwrap().generation.number(), 3);
    assert_eq!(bench.stopped.borrow().len(), 2, "a claim over an expired lease stops the backend");
}

#[test]
fn a_slot_is_not_freed_while_somebody_acts_on_it_or_its_backend_does_not_stop() {
    let bench = Bench::new();
    let lease = bench.claim("worker-1").unwrap();
    let given = Some(lease.generation);
    let clock = || bench.clock.get();
    let acting = begin(&bench.store, slot(), given, Mode::Shared, clock, NO_WAIT).unwrap();
    let beside = begin(&bench.store, slot(), given, Mode::Shared, clock, NO_WAIT).unwrap();
    let alone = begin(&bench.store, slot(), given, Mode::Exclusive, clock, NO_WAIT);
    assert_eq!(alone.unwrap_err().code(), Code::LeaseBusy);
    drop(beside);
    assert_eq!(bench.release(lease.generation), Err(Code::LeaseBusy));
    assert_eq!(*bench.stopped.borrow(), [slot()], "the backend does not wait for the act");
    assert!(bench.admit(given).is_ok());
    drop(acting);

    let stuck = Denial::new(Code::Internal, "the backend does not stop", "it", "its end");
    let mut stop = |_| Err(stuck.clone());
    let denial = release(&bench.store, slot(), lease.generation, NO_WAIT, &mut stop).unwrap_err();
    assert_eq!(denial, stuck);
    assert!(bench.admit(given).is_ok(), "it stays held");
    bench.release(lease.generation).unwrap();
}

#[test]
fn a_claim_waits_for_an_act_that_was_admitted_on_the_unclaimed_slot() {
    let bench = Bench::new();
    let lease = bench.claim("worker-1").unwrap();
    bench.release(lease.generation).unwrap();
    let clock = || bench.clock.get();
    let acting = begin(&bench.store, slot(), None, Mode::Shared, clock, NO_WAIT).unwrap();
    assert_eq!(bench.claim("worker-2"), Err(Code::LeaseBusy));
    drop(acting);
    assert!(bench.claim("worker-2").is_ok());
}

#[test]
fn an_act_waits_for_a_release_and_then_sees_it() {
    let bench = Bench::new();
    let lease = bench.claim("worker-1").unwrap();
    let begin_now = |wait| {
        let given = Some(lease.generation);
        begin(&bench.store, slot(), given, Mode::Shared, || bench.clock.get(), wait)
            .map(|acting| acting.admission())
            .map_err(|denial| denial.code())
    };
    let mut stop = |_| {
        assert_eq!(begin_now(NO_WAIT), Err(Code::LeaseBusy), "in the middle of a release");
        Ok(())
    };
    release(&bench.store, slot(), lease.generation, NO_WAIT, &mut stop).unwrap();
    assert_eq!(begin_now(NO_WAIT), Err(Code::LeaseGeneration));
}

#[test]
fn slots_do_not_share_their_leases() {
    let bench = Bench::new();
    let other: SlotId = "preview-2".parse().unwrap();
    let _one = bench.store.change(slot(), NO_WAIT).unwrap();
    assert!(bench.store.change(other, NO_WAIT).is_ok());
    let busy = bench.store.change(slot(), NO_WAIT).unwrap_err();
    assert_eq!(busy.code(), Code::LeaseBusy);
}

#[test]
fn others_may_read_how_a_slot_stands_and_lock_nothing() {
    let bench = Bench::new();
    bench.claim("worker-1").unwrap();
    let mode =
        |name: &str| std::fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("leases"), mode("leases/preview-1.json")), (0o755, 0o644));
    assert_eq!((mode("leases/preview-1.lock"), mode("leases/preview-1.activity")), (0o600, 0o600));
}

#[test]
fn what_a_crash_left_half_written_does_not_count() {
    let bench = Bench::new();
    let lease = bench.claim("worker-1").unwrap();
    std::fs::write(bench.path("leases/.preview-1.json.draft"), "{\"half").unwrap();
    assert!(bench.admit(Some(lease.generation)).is_ok());
    bench.release(lease.generation).unwrap();
    assert_eq!(bench.claim("worker-2").unwrap().generation.number(), 2);
}
