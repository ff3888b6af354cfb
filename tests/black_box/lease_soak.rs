//! Random operations on leases from many processes, many of them killed, held against what each of
//! them saw.
//!
//! Nothing is asked of the program afterwards that it could tell wrongly: every operation's begin and
//! end are written down here, and [`judge`] looks for an order in which all of it can be true.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use guard::config::Config;
use guard::diagnostic::Code;
use guard::slot::SlotId;
use slot_runtime::lease::{EmbeddedStore, LeaseStore as _, Mode, begin};

use crate::support::dice::Dice;
use crate::support::place::Place;
use crate::support::run::Run;

/// How many programs run at once.
const PROCESSES: u64 = 16;

/// Longer than most operations take, so that kills fall into them and behind them.
const LONGEST_LIFE: Duration = Duration::from_millis(15);

/// How often a soak goes on that lacks a rare thing by chance.
const ROUNDS: u64 = 10;

/// How long a lock is waited for.
const WAIT: Duration = Duration::from_secs(2);

#[test]
fn random_operations_never_give_a_slot_to_two() {
    soak(500);
}

#[test]
#[ignore = "the long version of the test above, for ./test --soak"]
fn soak_random_operations_on_leases() {
    soak(10_000);
}

fn soak(operations: u64) {
    let mut dice = Dice::new("leases");
    let place = Place::new();
    let mut history = Vec::new();
    for round in 0..ROUNDS {
        history.extend(work(&place, &mut dice, operations, round * PROCESSES));
        if counts(&history).iter().all(|count| *count > 0) {
            break;
        }
    }
    assert_eq!(judge(&history, &in_the_end(&place)), Vec::<String>::new());
    // A soak in which nothing happens shows nothing.
    let counts = counts(&history);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// Lets workers with numbers from `first` on do so many operations, all at once.
fn work(place: &Place, dice: &mut Dice, operations: u64, first: u64) -> Vec<Seen> {
    let each = operations.div_ceil(PROCESSES);
    std::thread::scope(|scope| {
        let start = |number| {
            let worker = Worker::new(place, first + number, dice.fork());
            scope.spawn(move || worker.work(each))
        };
        let workers: Vec<_> = (0..PROCESSES).map(start).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

/// Returns how often each thing happened that a soak is about.
fn counts(history: &[Seen]) -> [usize; 6] {
    let count = |what: fn(&What) -> bool| history.iter().filter(|seen| what(&seen.what)).count();
    [
        count(|what| matches!(what, What::Claimed { .. })),
        count(|what| matches!(what, What::Renewed(_))),
        count(|what| matches!(what, What::Acted(_))),
        count(|what| matches!(what, What::Released(_))),
        count(|what| matches!(what, What::KilledClaim)),
        count(|what| matches!(what, What::KilledRelease(_))),
    ]
}

/// Microseconds since 1970, the clock by which leases expire too.
type Time = u64;

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// An operation as its worker saw it.
#[derive(Debug, Clone)]
struct Seen {
    slot: SlotId,
    start: Time,
    end: Time,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Claimed {
        generation: u64,
        expires_at: Time,
    },
    Renewed(u64),
    /// Admitted, and the lease was still there at the end of the act.
    Acted(u64),
    /// Admitted, and the lease was gone before the end of the act.
    ChangedMeanwhile(u64),
    Released(u64),
    Refused,
    /// Killed, and the slot is not found claimed by it.
    KilledClaim,
    /// Killed; nobody knows whether it released.
    KilledRelease(u64),
    /// Killed, of no consequence.
    Killed,
}

/// How a slot stands in the end: the last generation, and who holds it.
type End = BTreeMap<SlotId, (u64, Option<u64>)>;

fn in_the_end(place: &Place) -> End {
    let store = store(place);
    let stands = |slot: SlotId| {
        let standing = store.read(slot).unwrap();
        (slot, (standing.last(), standing.lease().map(|lease| lease.generation.number())))
    };
    SlotId::all().take(3).map(stands).collect()
}

fn store(place: &Place) -> EmbeddedStore {
    let text = std::fs::read_to_string(place.config()).unwrap();
    EmbeddedStore::new(&Config::parse(&text).unwrap().roots)
}

/// One process at a time, again and again, with what it believes to hold.
struct Worker<'a> {
    place: &'a Place,
    store: EmbeddedStore,
    number: u64,
    dice: Dice,
    held: BTreeMap<SlotId, u64>,
}

impl<'a> Worker<'a> {
    fn new(place: &'a Place, number: u64, dice: Dice) -> Self {
        Self { place, store: store(place), number, dice, held: BTreeMap::new() }
    }

    fn work(mut self, operations: u64) -> Vec<Seen> {
        (0..operations).map(|round| self.operate(round)).collect()
    }

    fn operate(&mut self, round: u64) -> Seen {
        let slot: SlotId = format!("preview-{}", 1 + self.dice.below(3)).parse().unwrap();
        let start = now();
        let what = match (self.held.get(&slot).copied(), self.dice.below(6)) {
            (_, 0) => self.reap(),
            (Some(generation), 1) => self.renew(slot, generation),
            (Some(generation), 2..4) => self.act(slot, generation),
            (Some(generation), _) => self.release(slot, generation),
            (None, _) => self.claim(slot, round),
        };
        Seen { slot, start, end: now(), what }
    }

    /// Runs a command to its end or to its death; `None` when it died before it said a thing.
    fn run(&mut self, command: &str, args: &[&str]) -> Option<(i32, serde_json::Value)> {
        let config = self.place.config();
        let front = ["slot", command, "--format", "json", "--config", &config];
        let mut child = Run::new("slotguard", &[&front, args].concat()).start();
        if self.dice.below(5) == 0 {
            std::thread::sleep(self.dice.within(LONGEST_LIFE));
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let object = said.lines().last().map(|line| serde_json::from_str(line).unwrap());
        match output.status.code() {
            // What was said counts, even when death came right behind it.
            None => object.map(|object: serde_json::Value| {
                let denied = object["verdict"] == "denied";
                (if denied { 75 } else { 0 }, object)
            }),
            Some(status @ (0 | 75)) => Some((status, object.unwrap())),
            Some(other) => panic!("{other}: {said}"),
        }
    }

    fn claim(&mut self, slot: SlotId, round: u64) -> What {
        let (name, owner) = (slot.to_string(), format!("worker-{}-{round}", self.number));
        let term = format!("{}s", 1 + self.dice.below(3));
        let args = ["--slot", &name, "--owner", &owner, "--for", &term, "--timeout", "2s"];
        match self.run("claim", &args) {
            Some((0, said)) => {
                let generation = said["generation"].as_u64().unwrap();
                self.claimed(slot, &owner).unwrap_or(What::Claimed { generation, expires_at: 0 })
            }
            Some(_) => What::Refused,
            None => self.claimed(slot, &owner).unwrap_or(What::KilledClaim),
        }
    }

    /// Returns the claim of this very operation, if the store holds it.
    fn claimed(&mut self, slot: SlotId, owner: &str) -> Option<What> {
        let standing = self.store.read(slot).unwrap();
        let lease = standing.lease().filter(|lease| lease.owner.as_str() == owner)?;
        let generation = lease.generation.number();
        let left = lease.expires_at.since(SystemTime::now().into());
        self.held.insert(slot, generation);
        // Whole seconds are counted, so that the lease may end up to one earlier.
        let left = u64::try_from(left.as_micros()).unwrap().saturating_sub(1_000_000);
        Some(What::Claimed { generation, expires_at: now() + left })
    }

    fn renew(&mut self, slot: SlotId, generation: u64) -> What {
        let (name, text) = (slot.to_string(), generation.to_string());
        match self.run("renew", &["--slot", &name, "--lease", &text, "--for", "2s"]) {
            Some((0, _)) => What::Renewed(generation),
            Some((_, said)) => self.refused(slot, said["code"].as_str().unwrap()),
            None => What::Killed,
        }
    }

    fn release(&mut self, slot: SlotId, generation: u64) -> What {
        let (name, text) = (slot.to_string(), generation.to_string());
        match self.run("release", &["--slot", &name, "--lease", &text, "--timeout", "2s"]) {
            Some((0, _)) => {
                self.held.remove(&slot);
                What::Released(generation)
            }
            Some((_, said)) => self.refused(slot, said["code"].as_str().unwrap()),
            None => What::KilledRelease(generation),
        }
    }

    fn act(&mut self, slot: SlotId, generation: u64) -> What {
        let given = Some(generation.to_string().parse().unwrap());
        match begin(&self.store, slot, given, Mode::Shared, SystemTime::now, WAIT) {
            Ok(_acting) => {
                std::thread::sleep(self.dice.within(Duration::from_millis(5)));
                let standing = self.store.read(slot).unwrap();
                let holder = standing.lease().map(|lease| lease.generation.number());
                if holder == Some(generation) {
                    What::Acted(generation)
                } else {
                    What::ChangedMeanwhile(generation)
                }
            }
            Err(denial) => self.refused(slot, denial.code().id()),
        }
    }

    fn reap(&mut self) -> What {
        self.run("reap", &["--timeout", "1s"]).map_or(What::Killed, |_| What::Refused)
    }

    fn refused(&mut self, slot: SlotId, code: &str) -> What {
        if code != Code::LeaseBusy.id() {
            assert!(
                [Code::LeaseGeneration.id(), Code::LeaseExpired.id()].contains(&code),
                "{code}"
            );
            self.held.remove(&slot);
        }
        What::Refused
    }
}

/// Says what cannot have happened.
fn judge(history: &[Seen], end: &End) -> Vec<String> {
    let slots = end.iter().map(|(slot, end)| {
        let own: Vec<&Seen> = history.iter().filter(|seen| seen.slot == *slot).collect();
        judge_slot(&own, *end)
    });
    slots.flatten().collect()
}

fn judge_slot(history: &[&Seen], (last, holder): (u64, Option<u64>)) -> Vec<String> {
    let mut problems = Vec::new();
    let mut claims: BTreeMap<u64, (&Seen, Time)> = BTreeMap::new();
    for seen in history {
        if let What::Claimed { generation, expires_at } = seen.what
            && claims.insert(generation, (seen, expires_at)).is_some()
        {
            problems.push(format!("two holders of generation {generation}"));
        }
    }
    let killed = history.iter().filter(|seen| seen.what == What::KilledClaim).count();
    let unseen = last.checked_sub(claims.len() as u64);
    if unseen.is_none_or(|unseen| unseen > killed as u64) {
        problems.push(format!("{last} generations, {} claims, {killed} killed", claims.len()));
    }
    for (generation, (claim, expires_at)) in &claims {
        problems.extend(overtaken(history, &claims, *generation, claim, *expires_at));
    }
    for seen in history {
        problems.extend(stale(history, &claims, seen));
        if matches!(seen.what, What::Released(generation) if Some(generation) == holder) {
            problems.push(format!("a lost release: {seen:?}"));
        }
    }
    problems
}

/// Says which claims came while a slot was surely held, or out of order.
fn overtaken(
    history: &[&Seen],
    claims: &BTreeMap<u64, (&Seen, Time)>,
    generation: u64,
    claim: &Seen,
    expires_at: Time,
) -> Vec<String> {
    let gives_up = |seen: &&&Seen| {
        let (What::Released(given) | What::KilledRelease(given)) = seen.what else { return false };
        given == generation
    };
    let given_up = history.iter().filter(gives_up).map(|seen| seen.start).min();
    let until = given_up.unwrap_or(Time::MAX).min(expires_at);
    let wrong = |(other, (next, _)): &(&u64, &(&Seen, Time))| {
        let within = next.start > claim.end && next.end < until;
        let out_of_order = **other < generation && next.start > claim.end;
        **other != generation && (within || out_of_order)
    };
    let shown = |(_, (next, _)): (&u64, &(&Seen, Time))| format!("{claim:?}, but then {next:?}");
    claims.iter().filter(wrong).map(shown).collect()
}

/// Says whether a generation was accepted after it was released or another one was given out.
fn stale(history: &[&Seen], claims: &BTreeMap<u64, (&Seen, Time)>, seen: &Seen) -> Option<String> {
    let accepted = match seen.what {
        What::ChangedMeanwhile(_) => return Some(format!("not held to its end: {seen:?}")),
        What::Renewed(generation) | What::Acted(generation) | What::Released(generation) => {
            generation
        }
        _ => return None,
    };
    let released =
        |other: &&&Seen| other.what == What::Released(accepted) && other.end < seen.start;
    let mut later = claims.range(accepted + 1..).map(|(_, (claim, _))| *claim);
    let over = history.iter().find(released).copied();
    let over = over.or_else(|| later.find(|claim| claim.end < seen.start));
    over.map(|over| format!("{over:?}, but then {seen:?}"))
}

#[test]
fn what_cannot_have_happened_is_found() {
    let slot: SlotId = "preview-1".parse().unwrap();
    let seen = |start, end, what| Seen { slot, start, end, what };
    let claimed = |generation| What::Claimed { generation, expires_at: 100 };
    let problems = |history: &[Seen], last, holder| {
        judge(history, &BTreeMap::from([(slot, (last, holder))])).len()
    };
    let good = [
        seen(0, 10, claimed(1)),
        seen(11, 12, What::Acted(1)),
        seen(20, 30, What::Released(1)),
        seen(25, 40, claimed(2)),
        seen(41, 42, What::KilledClaim),
    ];
    assert_eq!(problems(&good, 3, Some(3)), 0);
    assert_eq!(problems(&good, 2, Some(2)), 0);

    assert_eq!(problems(&good, 4, None), 1, "a generation from nowhere");
    assert_eq!(problems(&good, 2, Some(1)), 1, "a lost release");
    let with = |more: Seen| problems(&[&good[..], &[more]].concat(), 3, Some(3));
    assert!(with(seen(50, 51, claimed(2))) > 0, "a generation twice, while it is held");
    assert!(with(seen(12, 18, claimed(3))) > 0, "a claim of a held slot, and out of order");
    assert!(with(seen(31, 32, What::Renewed(1))) > 0, "a renewal after the release");
    assert!(with(seen(31, 32, What::Acted(1))) > 0, "an act after the release");
    assert!(with(seen(41, 43, What::Released(1))) > 0, "a release after the next claim");
    assert!(with(seen(50, 51, What::ChangedMeanwhile(2))) > 0, "a change during an act");
    assert_eq!(with(seen(50, 51, What::Acted(2))), 0);
}
