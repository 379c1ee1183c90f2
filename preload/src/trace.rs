//! One line a call, as strace prints it, or JSON. Calls that have nothing to do with shared memory (private mappings,
//! descriptors of other files) are left out unless all were asked for. Next: `checks/words.rs`, which decodes flags.

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::calls::ledger;
use crate::calls::ranges::Content;
use crate::calls::report;
use crate::checks::words::{Call, Invocation, push_arguments};
use crate::error::errno_name;
use crate::stage::Outcome;
use crate::sys::{self, process};
use crate::text::{Text, Writer};

const OFF: u32 = 0;
const SHARED: u32 = 1;
const ALL: u32 = 2;

/// The C library's words for an errno, which it gives without a lock or memory (glibc 2.32); 0 where it has no such
/// function.
static DESCRIPTIONS: AtomicUsize = AtomicUsize::new(0);

static MODE: AtomicU32 = AtomicU32::new(OFF);

/// `SHMKIT_TRACE`: `shared` or `all`.
pub fn begin(mode: &[u8]) {
    // SAFETY: the name is terminated.
    let at = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"strerrordesc_np".as_ptr()) };
    DESCRIPTIONS.store(at as usize, Relaxed);
    MODE.store(if mode == b"all" { ALL } else { SHARED }, Relaxed);
}

/// Whether this call will have a line; asked before it is made, while what it is about is still there.
#[inline(always)]
pub fn wants(call: Call, args: &[u64; 6]) -> bool {
    match MODE.load(Relaxed) {
        OFF => false,
        ALL => true,
        _ => is_shared(call, args),
    }
}

#[cold]
fn is_shared(call: Call, args: &[u64; 6]) -> bool {
    let range = |addr: u64, length: u64| {
        let range = ledger::range_in(addr as usize, length as usize);
        range.is_some_and(|range| matches!(range.content, Content::File | Content::Segment))
    };
    match call {
        Call::Mmap => args[3] as i32 & libc::MAP_TYPE != libc::MAP_PRIVATE,
        Call::Munmap | Call::Mremap | Call::Mprotect | Call::Madvise | Call::Mlock | Call::Munlock => {
            range(args[0], args[1])
        }
        Call::Close | Call::Fstat => ledger::object(args[0] as i32, None).is_some(),
        Call::Ftruncate | Call::PosixFallocate => ledger::object(args[0] as i32, None).is_some(),
        _ => true,
    }
}

/// `ENOENT (No such file or directory)`.
fn push_errno(errno: i32, out: &mut Writer) {
    out.push_str(errno_name(errno));
    let at = DESCRIPTIONS.load(Relaxed);
    if at == 0 {
        return;
    }
    // SAFETY: the C library's function of this declaration, which gives null or a text that is always there.
    let words = unsafe {
        let describe: extern "C" fn(i32) -> *const core::ffi::c_char = core::mem::transmute(at);
        describe(errno)
    };
    if words.is_null() {
        return;
    }
    // SAFETY: see above.
    let words = unsafe { core::ffi::CStr::from_ptr(words) };
    out.push_str(" (");
    out.push_bytes(words.to_bytes());
    out.push(b')');
}

/// Writes the line.
#[cold]
pub fn line(call: &Invocation, outcome: Outcome, time: u64) {
    sys::preserving_errno(|| {
        let mut text = Text::<640>::new();
        push_arguments(call, &mut text);
        let mut answer = Text::<128>::new();
        match outcome {
            Outcome::Number(number) => answer.push_signed(number),
            Outcome::Address(addr) => answer.push_hex(addr as u64),
            Outcome::Failed(errno) => {
                answer.push_str("-1 ");
                push_errno(errno, &mut answer);
            }
            Outcome::Errno(0) => answer.push(b'0'),
            Outcome::Errno(errno) => push_errno(errno, &mut answer),
        }
        report::write_line(report::Patience::Endless, |line, json| {
            if json {
                line.push_str("{\"schema\":1,\"kind\":\"trace\",\"time_ns\":");
                line.push_number(process::wall_clock_ns());
                line.push_str(",\"pid\":");
                line.push_signed(i64::from(process::pid()));
                line.push_str(",\"tid\":");
                line.push_signed(i64::from(process::tid()));
                line.push_str(",\"function\":");
                line.push_json(call.call.name().as_bytes());
                line.push_str(",\"arguments\":");
                line.push_json(text.bytes());
                line.push_str(",\"result\":");
                line.push_json(answer.bytes());
                line.push_str(",\"duration_ns\":");
                line.push_number(time);
                line.push_str("}\n");
            } else {
                line.push_str("[pid ");
                line.push_signed(i64::from(process::tid()));
                line.push_str("] ");
                line.push_str(call.call.name());
                line.push(b'(');
                line.push_bytes(text.bytes());
                line.push_str(") = ");
                line.push_bytes(answer.bytes());
                line.push_str(" <");
                line.push_number(time / 1_000_000_000);
                line.push(b'.');
                let micros = time / 1000 % 1_000_000;
                let mut unit = 100_000;
                while unit > 0 {
                    line.push(b'0' + (micros / unit % 10) as u8);
                    unit /= 10;
                }
                line.push_str(">\n");
            }
        });
    });
}
