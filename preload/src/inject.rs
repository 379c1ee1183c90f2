//! Faults on purpose: which call fails, waits or falls short. Parsed once, at the beginning; each strike is an event
//! and a line in the report. Next: `spec.rs`, how they are written down.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::account::{self, Facts};
use crate::calls::report;
use crate::checks::words::Call;
use crate::error::{errno_name, errno_number};
use crate::record::Kind;
use crate::spec::{self, What, When};
use crate::sys::{self, process};

const MOST: usize = 64;

struct Fault {
    call: Call,
    what: What,
    when: When,
    seen: AtomicU64,
}

struct Faults(core::cell::UnsafeCell<[Option<Fault>; MOST]>);

// SAFETY: written before `COUNT` is, at the beginning, by one thread; only read afterwards, but for atomics.
unsafe impl Sync for Faults {}

static FAULTS: Faults = Faults(core::cell::UnsafeCell::new([const { None }; MOST]));
static COUNT: AtomicUsize = AtomicUsize::new(0);
static SEED: AtomicU64 = AtomicU64::new(0);

/// Reads a specification. What cannot be read is told; `shmkit run` refused it already.
pub fn begin(text: &str, seed: u64) {
    SEED.store(seed, Relaxed);
    let mut count = 0;
    for part in spec::parts(text, errno_number) {
        let known = part.ok().and_then(|part| {
            let call = Call::ALL.iter().find(|call| call.name() == part.call)?;
            Some(Fault { call: *call, what: part.what, when: part.when, seen: AtomicU64::new(0) })
        });
        if let (Some(fault), true) = (known, count < MOST) {
            // SAFETY: before `COUNT` says that there are any, and by the constructor alone.
            unsafe { (*FAULTS.0.get())[count] = Some(fault) };
            count += 1;
        }
    }
    COUNT.store(count, Relaxed);
}

/// In a forked child: each process counts by itself.
pub fn after_fork() {
    // SAFETY: only read since the constructor, but for atomics.
    let faults = unsafe { &*FAULTS.0.get() };
    faults.iter().flatten().for_each(|fault| fault.seen.store(0, Relaxed));
}

/// Whether any faults were asked for.
#[inline(always)]
pub fn is_on() -> bool {
    COUNT.load(Relaxed) != 0
}

/// What happens to the next call of this kind.
#[inline(always)]
pub fn next(call: Call) -> Option<What> {
    if is_on() { look(call) } else { None }
}

#[cold]
fn look(call: Call) -> Option<What> {
    // SAFETY: only read since the constructor.
    let faults = unsafe { &*FAULTS.0.get() };
    let mut struck = None;
    for (index, fault) in faults.iter().flatten().enumerate().filter(|(_, fault)| fault.call == call) {
        let number = fault.seen.fetch_add(1, Relaxed) + 1;
        if struck.is_none() && spec::strikes(fault.when, SEED.load(Relaxed), index as u64, number) {
            struck = Some(fault.what);
            tell(call, fault.what, number, index);
        }
    }
    struck
}

fn tell(call: Call, what: What, number: u64, part: usize) {
    let errno = if let What::Errno(errno) = what { errno } else { 0 };
    account::event(Kind::Injected, &Facts { call, errno, a: number, b: part as u64, ..Facts::default() });
    sys::preserving_errno(|| {
        report::write_line(report::Patience::Bounded, |line, json| {
            let mut words = crate::text::Text::<64>::new();
            match what {
                What::Errno(errno) => words.push_str(errno_name(errno)),
                What::Delay(time) => {
                    words.push_str("a delay of ");
                    words.push_number(time);
                    words.push_str(" ns");
                }
                What::Short => words.push_str("half of it, then ENOSPC"),
            }
            if json {
                line.push_str("{\"schema\":1,\"kind\":\"injected\",\"pid\":");
                line.push_signed(i64::from(process::pid()));
                line.push_str(",\"function\":");
                line.push_json(call.name().as_bytes());
                line.push_str(",\"number\":");
                line.push_number(number);
                line.push_str(",\"fault\":");
                line.push_json(words.bytes());
                line.push_str("}\n");
            } else {
                line.push_str("shmkit[");
                line.push_signed(i64::from(process::pid()));
                line.push_str("] injected: ");
                line.push_str(call.name());
                line.push_str(" number ");
                line.push_number(number);
                line.push_str(": ");
                line.push_bytes(words.bytes());
                line.push(b'\n');
            }
        });
    });
}

/// Waits for so many nanoseconds, whatever signals come.
pub fn wait(time: u64) {
    sys::preserving_errno(|| {
        let end = process::monotonic_ns().saturating_add(time);
        while let left @ 1.. = end.saturating_sub(process::monotonic_ns()) {
            sys::kernel::sleep(left);
        }
    });
}
