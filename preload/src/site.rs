//! Where in the program a call was made: the first return address outside this library, as module and offset.
//! Only for what is reported: it walks the stack. Next: `cli/src/run`, which turns the offset into a line of source.

use core::ffi::{CStr, c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::text::Writer;

#[repr(C)]
struct Context {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn _Unwind_Backtrace(each: extern "C" fn(*mut Context, *mut c_void) -> c_int, data: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
}

/// Where this library begins in memory; 0 while that is not known.
static OWN: AtomicUsize = AtomicUsize::new(0);

fn module(at: usize) -> Option<(usize, &'static CStr)> {
    let mut info = core::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the place is writable; an address of no module is answered with 0. Names live as long as their modules.
    unsafe {
        if libc::dladdr(at as *const c_void, info.as_mut_ptr()) == 0 {
            return None;
        }
        let info = info.assume_init();
        Some((info.dli_fbase as usize, if info.dli_fname.is_null() { c"" } else { CStr::from_ptr(info.dli_fname) }))
    }
}

/// Looks up where this library lies; at the beginning, so that nothing is resolved for the first time in a handler.
pub fn begin() {
    if let Some((base, _)) = module(begin as *const () as usize) {
        OWN.store(base, Relaxed);
    }
    let _ = caller();
}

extern "C" fn each(context: *mut Context, found: *mut c_void) -> c_int {
    const GO_ON: c_int = 0;
    const STOP: c_int = 4;
    // SAFETY: the unwinder's own context; `found` is the place of `caller`.
    let at = unsafe { _Unwind_GetIP(context) };
    if module(at).is_some_and(|(base, _)| base == OWN.load(Relaxed)) {
        return GO_ON;
    }
    // SAFETY: as above.
    unsafe { found.cast::<usize>().write(at) };
    STOP
}

/// The address after the program's call; 0 when the stack cannot be walked.
pub fn caller() -> usize {
    let mut found = 0usize;
    // SAFETY: the callback keeps to the place.
    unsafe { _Unwind_Backtrace(each, (&raw mut found).cast()) };
    found
}

/// Appends `MODULE+0xOFFSET`: of the call itself, not of what comes after it.
pub fn push(at: usize, out: &mut Writer) {
    let Some(at) = at.checked_sub(1) else { return };
    match module(at) {
        Some((base, name)) => {
            // The loader has no name for the program itself.
            let name = name.to_bytes();
            let length = out.bytes().len();
            out.push_printable(name);
            if out.bytes().len() == length {
                out.push_str("program");
            }
            out.push(b'+');
            out.push_hex((at - base) as u64);
        }
        None => out.push_hex(at as u64),
    }
}
