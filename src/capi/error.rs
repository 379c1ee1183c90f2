//! C ABI of `calls/detail.rs` and `error.rs`: the last failure in words, and the words of a status. Translation only.

use core::cell::Cell;
use core::ffi::{c_char, c_int};

use crate::calls::detail;
use crate::error::Status;

/// SHMKIT_OK (0), or one of the negative SHMKIT_ERR_ numbers.
#[allow(non_camel_case_types)]
pub type shmkit_status_t = i32;

/// This thread's last failure. The strings are valid until the next shmkit call of this thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LastError {
    /// sizeof of this struct, so that it can grow.
    pub struct_size: usize,
    /// The call with its arguments.
    pub call: *const c_char,
    /// The id of the rule that was broken, as in docs/rules.md; NULL when the failure breaks none.
    pub rule: *const c_char,
    /// Why, with live figures.
    pub cause: *const c_char,
    /// What to do.
    pub remedy: *const c_char,
    /// The status code.
    pub code: shmkit_status_t,
    /// The errno.
    pub errno_value: c_int,
}

std::thread_local! {
    static VIEW: Cell<LastError> = const { Cell::new(LastError {
        struct_size: size_of::<LastError>(),
        call: core::ptr::null(),
        rule: core::ptr::null(),
        cause: core::ptr::null(),
        remedy: core::ptr::null(),
        code: 0,
        errno_value: 0,
    }) };
    static RULE: Cell<[u8; 40]> = const { Cell::new([0; 40]) };
}

/// This thread's last failure, or NULL when there was none since the thread began or shmkit_clear_error().
///
/// A success does not clear it: look at it only after a call that failed. The struct is valid until the next shmkit
/// call of this thread. Thread-safe; a forked child keeps its copy. Never changes errno.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_last_error() -> *const LastError {
    let found = detail::read(|detail, words| {
        let text = |bytes: &[u8]| bytes.as_ptr().cast::<c_char>();
        let rule = detail.rule.map_or(core::ptr::null(), |rule| {
            let mut id = [0u8; 40];
            let source = rule.row().id.as_bytes();
            let length = source.len().min(id.len() - 1);
            id[..length].copy_from_slice(&source[..length]);
            RULE.set(id);
            RULE.with(|place| place.as_ptr().cast_const().cast::<c_char>())
        });
        VIEW.set(LastError {
            struct_size: size_of::<LastError>(),
            call: text(words.call.bytes()),
            rule,
            cause: text(words.cause.bytes()),
            remedy: text(words.remedy.bytes()),
            code: detail.status as shmkit_status_t,
            errno_value: detail.errno,
        });
    });
    match found {
        Some(()) => VIEW.with(|view| view.as_ptr().cast_const()),
        None => core::ptr::null(),
    }
}

/// This thread's last failure on one line: call, errno, rule, cause, remedy. Empty, never NULL, when there was none.
///
/// Valid until the next shmkit call of this thread. Thread-safe. Never changes errno.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_last_error_message() -> *const c_char {
    detail::read(|_, words| words.message.bytes().as_ptr().cast()).unwrap_or(c"".as_ptr())
}

/// Forgets this thread's last failure.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_clear_error() {
    detail::clear();
}

/// A string of the status table with the NUL that C needs, made at compile time.
const fn terminated<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    let mut all = [0; N];
    assert!(bytes.len() < N, "the text needs more room");
    let mut index = 0;
    while index < bytes.len() {
        all[index] = bytes[index];
        index += 1;
    }
    all
}

/// The name and cause of each status, in the order of `Status::ALL`.
static STATUS_TEXTS: [([u8; 32], [u8; 96]); Status::ALL.len()] = {
    let mut texts = [([0; 32], [0; 96]); Status::ALL.len()];
    let mut index = 0;
    while index < texts.len() {
        let words = Status::ALL[index].words();
        texts[index] = (terminated(words.name), terminated(words.cause));
        index += 1;
    }
    texts
};

/// The strings of a status; its number is minus its place in the table, which a test of `error.rs` holds.
fn texts_of(status: shmkit_status_t) -> Option<&'static ([u8; 32], [u8; 96])> {
    STATUS_TEXTS.get(usize::try_from(status.checked_neg()?).ok()?)
}

/// The name of a status, as "SHMKIT_ERR_NO_SPACE"; "unknown" for a number that is none. Static; thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_status_name(status: shmkit_status_t) -> *const c_char {
    texts_of(status).map_or(c"unknown".as_ptr(), |(name, _)| name.as_ptr().cast())
}

/// What a status means, in words; "unknown" for a number that is none. Static; thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_status_message(status: shmkit_status_t) -> *const c_char {
    texts_of(status).map_or(c"unknown".as_ptr(), |(_, cause)| cause.as_ptr().cast())
}

/// The version of the library, as "0.1.0". Static; thread-safe.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
