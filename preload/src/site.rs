//! Where in the program a call was made: the first return address outside this library, as module and offset.
//! Only for what is reported: it walks the stack. The loader's lock is not taken where the C library can do without
//! (glibc 2.35): a thread that holds it may wait for the one that reports. Next: `cli/src/run`, which turns the offset
//! into a line of source.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;
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
/// `_dl_find_object`; 0 where there is none.
static FIND: AtomicUsize = AtomicUsize::new(0);
/// What the program was called as: the loader's own list has no name for it.
static PROGRAM: AtomicUsize = AtomicUsize::new(0);

/// As in dlfcn.h, with room for more than any version has.
#[repr(C)]
struct Found {
    flags: u64,
    start: usize,
    end: usize,
    module: *const Module,
    rest: [usize; 12],
}

/// The beginning of a `struct link_map`, as in link.h.
#[repr(C)]
struct Module {
    base: usize,
    name: *const c_char,
}

fn module(at: usize) -> Option<(usize, &'static CStr)> {
    let find = FIND.load(Relaxed);
    if find == 0 {
        return module_by_loader(at);
    }
    let mut found = MaybeUninit::<Found>::zeroed();
    // SAFETY: the C library's function of this declaration; the place is writable. Names live as long as their modules.
    unsafe {
        let find: extern "C" fn(usize, *mut Found) -> c_int = core::mem::transmute(find);
        if find(at, found.as_mut_ptr()) != 0 {
            return None;
        }
        let found = found.assume_init();
        let name = if found.module.is_null() { core::ptr::null() } else { (*found.module).name };
        let name = if name.is_null() || *name == 0 { PROGRAM.load(Relaxed) as *const c_char } else { name };
        Some((found.start, if name.is_null() { c"" } else { CStr::from_ptr(name) }))
    }
}

fn module_by_loader(at: usize) -> Option<(usize, &'static CStr)> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
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
    // SAFETY: takes no pointers. The program's headers lie in the program.
    if let Some((_, name)) = module_by_loader(unsafe { libc::getauxval(libc::AT_PHDR) } as usize) {
        PROGRAM.store(name.as_ptr() as usize, Relaxed);
    }
    // SAFETY: the name is terminated; what went wrong is not for the program to hear.
    unsafe {
        let find = libc::dlsym(libc::RTLD_DEFAULT, c"_dl_find_object".as_ptr());
        if find.is_null() {
            libc::dlerror();
        }
        FIND.store(find as usize, Relaxed);
    }
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
