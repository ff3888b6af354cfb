//! What one check costs, beside what other readers of the same URL cost.
//!
//! Everything is measured in one run, so that the ratios at the end compare like with like. No
//! reader connects anywhere. How many lines a second the program answers is measured by `stream.sh`.

#![expect(clippy::expect_used, reason = "a bench that cannot measure must stop")]

use std::ffi::{CString, c_char, c_void};
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr as _;

use criterion::{BatchSize, Criterion};
use guard::database_url::DatabaseTarget;
use guard::environment::{Environment, judge};
use guard::policy::DatabasePolicy;
use guard::slot::SlotId;
use guard::verify::verify;
use libloading::Library;

const URL: &str = "postgresql://slot_1:s3cret@127.0.0.1:5432/app_preview_1\
                   ?sslmode=disable&application_name=web&connect_timeout=5";

/// What the ratios are relative to.
const YARDSTICK: &str = "url";

/// Where the measurements are kept, from which the ratios are read.
const RESULTS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/criterion");

fn main() {
    let mut criterion =
        Criterion::default().output_directory(Path::new(RESULTS)).configure_from_args();
    guard_alone(&mut criterion);
    others(&mut criterion);
    criterion.final_summary();
    print_ratios();
}

fn guard_alone(criterion: &mut Criterion) {
    let slot: SlotId = "preview-1".parse().expect("a slot of the contract");
    let policy = DatabasePolicy::default();
    let environment = environment();
    let check = || verify(slot, DatabaseTarget::parse(black_box(URL))?, &policy);
    judge(slot, &environment, Some(URL)).expect("the environment passes");
    check().expect("the URL passes");
    criterion.bench_function("guard_parse", |bencher| {
        bencher.iter(|| DatabaseTarget::parse(black_box(URL)));
    });
    criterion.bench_function("guard_parse_verify", |bencher| bencher.iter(check));
    criterion.bench_function("guard_check_60_variables", |bencher| {
        bencher.iter(|| {
            judge(slot, black_box(&environment), Some(URL))?;
            check()
        });
    });
    criterion.bench_function("guard_judge_60_variables", |bencher| {
        bencher.iter(|| judge(slot, black_box(&environment), Some(URL)));
    });
    criterion.bench_function("guard_canonical", |bencher| {
        let parse = || DatabaseTarget::parse(URL).expect("the URL passes");
        bencher.iter_batched_ref(parse, |target| target.canonical(), BatchSize::SmallInput);
    });
}

/// Sixty variables as a worker has them, the target and the slot among them.
fn environment() -> Environment {
    let own = [
        ("DATABASE_URL", URL),
        ("SLOT_ID", "preview-1"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/home/worker"),
        ("API_BASE", "https://api.example/v1"),
        ("REDIS_URL", "redis://127.0.0.1:6379"),
    ];
    let own = own.map(|(name, value)| (name.into(), value.into()));
    let rest = (own.len()..60)
        .map(|n| (format!("SERVICE_SETTING_{n}").into(), format!("value-{n}").repeat(3).into()));
    Environment::new(own.into_iter().chain(rest)).expect("each name once")
}

fn others(criterion: &mut Criterion) {
    url::Url::parse(URL).expect("the url crate reads it");
    criterion.bench_function(YARDSTICK, |bencher| {
        bencher.iter(|| url::Url::parse(black_box(URL)));
    });
    tokio_postgres::Config::from_str(URL).expect("tokio-postgres reads it");
    criterion.bench_function("tokio_postgres", |bencher| {
        bencher.iter(|| tokio_postgres::Config::from_str(black_box(URL)));
    });
    match Libpq::load() {
        Ok(libpq) => {
            assert!(libpq.reads(&text()), "libpq refuses the URL");
            criterion.bench_function("libpq", |bencher| {
                let text = text();
                bencher.iter(|| libpq.reads(black_box(&text)));
            });
        }
        Err(error) => {
            say(&format!("\n*** libpq IS NOT MEASURED: {error}"));
            say("*** Install libpq5 to compare with it.\n");
        }
    }
}

fn text() -> CString {
    CString::new(URL).expect("a URL without NUL")
}

type Parse = unsafe extern "C" fn(*const c_char, *mut *mut c_char) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);

/// The parser of libpq, loaded while running so that nothing here links to it.
struct Libpq {
    parse: Parse,
    free: Free,
    /// Keeps the two functions in memory.
    _library: Library,
}

impl Libpq {
    #[expect(unsafe_code, reason = "loads a C library and its functions")]
    fn load() -> Result<Self, libloading::Error> {
        // SAFETY: libpq's initialisers only set up its own state and that of its TLS library.
        let library = unsafe { Library::new("libpq.so.5") }?;
        // SAFETY: the type is that of `PQconninfoParse` in libpq-fe.h, with the list as a pointer
        // to something unknown; the library outlives the copied function.
        let parse = unsafe { *library.get::<Parse>(b"PQconninfoParse\0")? };
        // SAFETY: as above, with `PQconninfoFree`.
        let free = unsafe { *library.get::<Free>(b"PQconninfoFree\0")? };
        Ok(Self { parse, free, _library: library })
    }

    /// Parses a URL and returns whether libpq accepts it.
    #[expect(unsafe_code, reason = "calls C functions")]
    fn reads(&self, url: &CString) -> bool {
        // SAFETY: the text ends with NUL and outlives the call; no message is asked for.
        let options = unsafe { (self.parse)(url.as_ptr(), std::ptr::null_mut()) };
        if options.is_null() {
            return false;
        }
        // SAFETY: the list came from `PQconninfoParse` and is freed once.
        unsafe { (self.free)(options) };
        true
    }
}

fn print_ratios() {
    let Some(yardstick) = median(YARDSTICK) else { return };
    say("\nmedians, and as multiples of Url::parse:");
    for name in [
        "guard_parse",
        "guard_parse_verify",
        "guard_judge_60_variables",
        "guard_check_60_variables",
        "guard_canonical",
        YARDSTICK,
        "tokio_postgres",
        "libpq",
    ] {
        if let Some(median) = median(name) {
            say(&format!("  {name:26} {median:8.0} ns {:7.2}×", median / yardstick));
        }
    }
}

/// Reads a median in nanoseconds; there is none when the bench is only tested, not measured.
fn median(name: &str) -> Option<f64> {
    let file = Path::new(RESULTS).join(name).join("new").join("estimates.json");
    let estimates: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    estimates["median"]["point_estimate"].as_f64()
}

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
