//! Whether all is ready, and what surrounds every hook: faults on purpose, time, counts, the trace.
//! Until the constructor has run, calls are checked but neither counted nor traced. Next: `hooks.rs`.

use core::ffi::{c_char, c_int, c_void};
use core::ptr::null;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicUsize};

use crate::account::{self, Facts};
use crate::calls::detail::Detail;
use crate::calls::judge::TROUBLE;
use crate::calls::ledger::{self, Kind as Object};
use crate::calls::report::Repeat;
use crate::calls::{exit, policy, report};
use crate::checks::Rule;
use crate::checks::words::{Call, Invocation, push_call};
use crate::error::Errno;
use crate::record::{Kind, state};
use crate::spec::What;
use crate::sys::limits::page_size;
use crate::sys::{self, memory, process};
use crate::text::{Text, Writer};
use crate::{ahead, fault, follow, hooks, inject, opens, site, trace};

/// Counts, faults or a trace were asked for.
static BUSY: AtomicBool = AtomicBool::new(false);
/// A page that the kernel empties in every child, so that one made behind the C library is known for what it is without
/// a system call: a program may have forbidden itself all but its own. 0 where the kernel cannot (before Linux 4.14).
static MARK: AtomicUsize = AtomicUsize::new(0);

fn mark() -> Option<&'static AtomicBool> {
    match MARK.load(Relaxed) {
        0 => None,
        // SAFETY: the page is mapped until the process ends, and used for nothing else.
        at => Some(unsafe { &*(at as *const AtomicBool) }),
    }
}

/// Makes the page, once; then, and in the child after a fork, says that this process is one that we know of.
fn put_mark() {
    if MARK.load(Relaxed) == 0 {
        let (page, flags) = (page_size(), libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        if let Ok(at) = memory::mmap(0, page, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) {
            match memory::madvise(at, page, libc::MADV_WIPEONFORK) {
                Ok(()) => MARK.store(at, Relaxed),
                Err(_) => drop(memory::munmap(at, page)),
            }
        }
    }
    if let Some(mark) = mark() {
        mark.store(true, Relaxed);
    }
}

/// Whether this process is the one that the account and the ledger are of.
fn is_own() -> bool {
    mark().map_or_else(|| ledger::process() == process::pid(), |mark| mark.load(Relaxed))
}

/// The id of this process, without asking the kernel where it is known; in a child in its parent's memory that is its
/// parent's.
pub fn own_pid() -> i32 {
    if is_own() { ledger::process() } else { process::pid() }
}

extern "C" fn begin() {
    sys::preserving_errno(|| {
        // Later it could be too late: see `real::Next`.
        for look_up in [
            sys::real::all::look_up,
            sys::real::of_gnu::look_up,
            hooks::behind::names::look_up,
            opens::names::look_up,
            fault::names::look_up,
            follow::names::look_up,
        ] {
            look_up();
        }
        ledger::process();
        put_mark();
        let mut busy = false;
        process::environment(c"SHMKIT_RUN", |path| {
            let mut text = Text::<4097>::new();
            text.push_bytes(path);
            text.push(0);
            if let Ok(path) = core::ffi::CStr::from_bytes_until_nul(text.bytes()) {
                account::open(path);
            }
        });
        account::begin();
        busy |= account::is_on();
        process::environment(c"SHMKIT_INJECT", |text| {
            let seed = process::environment(c"SHMKIT_SEED", crate::text::leading_number).unwrap_or(0);
            if let Ok(text) = core::str::from_utf8(text) {
                inject::begin(text, seed);
                busy = true;
            }
        });
        process::environment(c"SHMKIT_TRACE", |mode| {
            trace::begin(mode);
            busy = true;
        });
        site::begin();
        if account::is_on() {
            report::set_observer(observe);
            report::set_loss(account::report_lost);
        }
        policy::listening();
        report::learn_standard_error();
        process::at_fork(nothing, nothing, in_child);
        fault::begin();
        ahead::begin();
        follow::begin();
        BUSY.store(busy, Relaxed);
    });
}

extern "C" fn nothing() {}

extern "C" fn in_child() {
    put_mark();
    fault::after_fork();
    inject::after_fork();
    sys::preserving_errno(account::begin);
}

extern "C" fn end() {
    sys::preserving_errno(|| {
        if is_own() {
            exit::report_leftovers();
            if ledger::is_lost() {
                account::event(Kind::Lost, &Facts::default());
            }
            account::end(state::EXITED);
        }
    });
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

/// After the program's own exit handlers and destructors: those of libraries run later, and this one's was loaded
/// first.
#[used]
#[unsafe(link_section = ".fini_array")]
static END: extern "C" fn() = end;

/// Keeps a report, and says where the call was made. What a loop does a thousand times is counted, kept once, and reported
/// a few times.
fn observe(detail: &Detail, rule: Rule, outcome: report::Outcome, out: &mut Writer) -> Repeat {
    let (mut key, mut repeat) = (0, Repeat::Another);
    if detail.call.call != Call::Exit {
        site::push(site::caller(), out);
        key = spot(rule, outcome, out.bytes());
        match account::repeated(key) {
            Some((before, most)) if before > 0 => {
                return match before + 1 {
                    count if count < most => Repeat::Another,
                    count if count == most => Repeat::Last,
                    _ => Repeat::Enough,
                };
            }
            Some((_, 1)) => repeat = Repeat::Last,
            Some(_) => {}
            None => return Repeat::Another,
        }
    }
    let mut words = Text::<288>::new();
    push_call(&detail.call, &mut words);
    let facts = Facts {
        call: detail.call.call,
        rule: rule as u32,
        outcome: outcome as u32,
        errno: detail.errno,
        a: key,
        subject: words.bytes(),
        site: out.bytes(),
        ..Facts::default()
    };
    account::event(Kind::Broken, &facts);
    repeat
}

/// A number for a rule, an outcome and a place in the program.
fn spot(rule: Rule, outcome: report::Outcome, site: &[u8]) -> u64 {
    let numbers = (rule as u32 * 4 + outcome as u32).to_ne_bytes();
    account::number(numbers.iter().chain(site))
}

/// What a call answered, for the trace.
#[derive(Clone, Copy)]
pub enum Outcome {
    Number(i64),
    Address(usize),
    /// errno says why.
    Failed(i32),
    /// The answer is an errno itself.
    Errno(i32),
}

/// The result of a C function.
pub trait Answer: Copy {
    /// -1, MAP_FAILED, a null pointer, whatever means that errno says why.
    fn failure(errno: i32) -> Self;
    fn outcome(self) -> Outcome;
}

impl Answer for c_int {
    fn failure(errno: i32) -> c_int {
        sys::set_errno(errno);
        -1
    }

    fn outcome(self) -> Outcome {
        if self == -1 { Outcome::Failed(sys::errno()) } else { Outcome::Number(i64::from(self)) }
    }
}

/// MAP_FAILED says that errno knows why.
impl Answer for *mut c_void {
    fn failure(errno: i32) -> *mut c_void {
        sys::set_errno(errno);
        libc::MAP_FAILED
    }

    fn outcome(self) -> Outcome {
        if self == libc::MAP_FAILED { Outcome::Failed(sys::errno()) } else { Outcome::Address(self as usize) }
    }
}

/// Null says that errno knows why.
impl Answer for *mut libc::sem_t {
    fn failure(errno: i32) -> *mut libc::sem_t {
        sys::set_errno(errno);
        libc::SEM_FAILED
    }

    fn outcome(self) -> Outcome {
        if self == libc::SEM_FAILED { Outcome::Failed(sys::errno()) } else { Outcome::Address(self as usize) }
    }
}

/// An errno as the result, errno itself untouched.
#[derive(Clone, Copy)]
pub struct Direct(pub c_int);

impl Answer for Direct {
    fn failure(errno: i32) -> Direct {
        Direct(errno)
    }

    fn outcome(self) -> Outcome {
        Outcome::Errno(self.0)
    }
}

/// One call of a program. `checked` is the checked call, `real` the one behind it, `short` half of it.
#[inline(always)]
pub fn call<T: Answer>(
    call: Call,
    name: *const c_char,
    args: [u64; 6],
    checked: impl FnOnce() -> T,
    real: impl FnOnce() -> T,
) -> T {
    if !BUSY.load(Relaxed) {
        return rescued(checked(), real);
    }
    surrounded(call, name, args, checked, real)
}

/// After a panic in our own code, and where the checked call has nothing to pass on but a pointer that it must not
/// follow, the program gets the real call's answer.
#[inline(always)]
fn rescued<T: Answer>(answer: T, real: impl FnOnce() -> T) -> T {
    let trouble = TROUBLE.load(Relaxed);
    if trouble != 0 && trouble == process::thread_pointer() {
        TROUBLE.store(0, Relaxed);
        return real();
    }
    answer
}

#[inline(never)]
fn surrounded<T: Answer>(
    call: Call,
    name: *const c_char,
    args: [u64; 6],
    checked: impl FnOnce() -> T,
    real: impl FnOnce() -> T,
) -> T {
    let injected = match inject::next(call) {
        Some(What::Errno(errno)) => Some(errno),
        Some(What::Delay(time)) => {
            inject::wait(time);
            None
        }
        Some(What::Short) => {
            fall_short(call, &args);
            Some(libc::ENOSPC)
        }
        None => None,
    };
    let traced = trace::wants(call, &args);
    if matches!(call, Call::Munmap | Call::Shmdt | Call::Mremap) && injected.is_none() {
        fault::leaving(call, &args);
    }
    let begin = account::now();
    let answer = match injected {
        Some(errno) => T::failure(errno),
        None => rescued(checked(), real),
    };
    let time = account::now().saturating_sub(begin);
    let outcome = answer.outcome();
    let failed = matches!(outcome, Outcome::Failed(_) | Outcome::Errno(1..));
    account::count(call, failed, time);
    if !failed {
        note(call, name, &args, outcome);
    }
    if traced {
        // What the kernel could not read is not read here either.
        let unread = matches!(outcome, Outcome::Failed(libc::EFAULT));
        trace::line(&words(call, if unread { null() } else { name }, args, failed), outcome, time);
    }
    answer
}

/// Half of a reservation or of a new size, as a file system does that fills up meanwhile.
#[cold]
fn fall_short(call: Call, args: &[u64; 6]) {
    sys::preserving_errno(|| {
        let fd = args[0] as c_int;
        let _ = match call {
            Call::Ftruncate => sys::file::ftruncate(fd, args[1] as i64 / 2),
            _ => sys::file::posix_fallocate(fd, args[1] as i64, args[2] as i64 / 2),
        };
    });
}

/// A call in words' form; its name is read only here, where the call has been made.
fn words(call: Call, name: *const c_char, args: [u64; 6], failed: bool) -> Invocation {
    if name.is_null() {
        return Invocation::new(call, args);
    }
    if !failed {
        return Invocation::with_name(call, name_read(name), args);
    }
    let mut bytes = [0u8; 256];
    let length = bytes_of(name, &mut bytes);
    Invocation::with_name(call, &bytes[..length], args)
}

/// The string of a call that succeeded: the C library read it to its end just now. No more than 255 bytes of it.
fn name_read<'a>(name: *const c_char) -> &'a [u8] {
    if name.is_null() {
        return b"";
    }
    // SAFETY: see above; `strnlen` reads no further than the C library did.
    unsafe { core::slice::from_raw_parts(name.cast(), libc::strnlen(name, 255)) }
}

/// Copies a string that may lead nowhere.
fn bytes_of(name: *const c_char, bytes: &mut [u8; 256]) -> usize {
    let mut length = 0;
    // In pieces that do not cross a page, as the string may end before one that is not there.
    while length < bytes.len() {
        let at = name as usize + length;
        let piece = (4096 - at % 4096).min(bytes.len() - length);
        match sys::preserving_errno(|| sys::memory::peek(at, &mut bytes[length..length + piece])) {
            Ok(()) => {}
            Err(Errno(libc::EFAULT)) => break,
            // A container may forbid the call that asks. The string was read by whom it is for.
            // SAFETY: terminated, as the call that it is for demands; no further than there is room for it.
            Err(_) => unsafe {
                let whole = libc::strnlen(name, bytes.len());
                core::ptr::copy_nonoverlapping(name.cast::<u8>(), bytes.as_mut_ptr(), whole);
                return whole;
            },
        }
        if let Some(end) = bytes[length..length + piece].iter().position(|byte| *byte == 0) {
            return length + end;
        }
        length += piece;
    }
    length
}

/// Keeps an event of what made, sized or removed something that outlives the process.
#[inline(always)]
fn note(call: Call, name: *const c_char, args: &[u64; 6], outcome: Outcome) {
    if matches!(
        call,
        Call::ShmOpen
            | Call::Open
            | Call::SemOpen
            | Call::MemfdCreate
            | Call::Shmget
            | Call::Semget
            | Call::Ftruncate
            | Call::PosixFallocate
            | Call::ShmUnlink
            | Call::SemUnlink
            | Call::Remove
            | Call::Shmctl
            | Call::Semctl
    ) {
        keep(call, name, args, outcome);
    }
}

/// An object behind a descriptor got a size.
fn sized(fd: i32, size: u64) {
    ledger::look_at(fd, |object| {
        let call = match object.kind {
            Object::Posix => Call::ShmOpen,
            Object::Memfd => Call::MemfdCreate,
            _ => return,
        };
        let (a, b) = object.identity;
        account::sized(&Facts { call, a, b, c: size, subject: object.name.bytes(), ..Facts::default() });
    });
}

#[inline(never)]
fn keep(call: Call, name: *const c_char, args: &[u64; 6], outcome: Outcome) {
    sys::preserving_errno(|| {
        let number = if let Outcome::Number(number) = outcome { number } else { 0 };
        let mut facts = Facts { call, ..Facts::default() };
        let is_new = match call {
            Call::ShmOpen | Call::Open => {
                if args[1] as i32 & libc::O_CREAT == 0 {
                    return;
                }
                // What the checked call asked of the kernel; nothing when it made a new object.
                let Some((_, identity, true)) = ledger::facts(number as i32) else { return };
                (facts.a, facts.b) = identity;
                true
            }
            Call::MemfdCreate => {
                let Ok(status) = sys::file::status(number as i32) else { return };
                (facts.a, facts.b) = (status.dev, status.ino);
                true
            }
            Call::SemOpen if args[1] as i32 & libc::O_CREAT != 0 => {
                let Some(own) = ledger::own_semaphore(name_read(name)) else { return };
                (facts.a, facts.b) = own.identity;
                facts.c = size_of::<libc::sem_t>() as u64;
                true
            }
            Call::Shmget | Call::Semget => {
                let made = match call {
                    Call::Shmget => {
                        ledger::segment(number as i32).is_some_and(|segment| segment.creator == process::pid())
                    }
                    _ => {
                        (args[2] as i32 & libc::IPC_CREAT != 0 || args[0] == 0) && !ledger::is_found_set(number as i32)
                    }
                };
                if !made {
                    return;
                }
                (facts.a, facts.b, facts.c) = (number as u64, args[0], args[1]);
                true
            }
            Call::Ftruncate => {
                // The checked call looked what is behind the descriptor.
                return sized(args[0] as i32, args[1]);
            }
            Call::PosixFallocate => {
                let fd = args[0] as i32;
                let Some((Object::Posix | Object::Memfd, ..)) = ledger::facts(fd) else { return };
                let Ok(status) = sys::file::status(fd) else { return };
                ledger::confirm(fd, &status);
                return sized(fd, status.size);
            }
            Call::ShmUnlink | Call::SemUnlink | Call::Remove => false,
            Call::Shmctl if args[1] as i32 == libc::IPC_RMID => {
                facts.a = args[0];
                false
            }
            Call::Semctl if args[2] as i32 == libc::IPC_RMID => {
                facts.a = args[0];
                false
            }
            _ => return,
        };
        facts.subject = name_read(name);
        if !is_new {
            return account::removed(&facts);
        }
        account::made(&facts, || match call {
            Call::ShmOpen | Call::Open => {
                sys::file::status(number as i32).map_or((0, 0), |status| (status.dev, status.ino))
            }
            _ => (0, 0),
        });
    });
}
