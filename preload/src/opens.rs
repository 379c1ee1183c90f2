//! Opens and unlinks of files on the file system of POSIX objects: programs that go around shm_open are seen too. Every
//! other path costs one comparison. Never refuses. Next: `hooks.rs`.

use core::ffi::{CStr, c_char, c_int};

use libc::mode_t;

use crate::calls::{ledger, policy};
use crate::checks::words::Call;
use crate::error::Errno;
use crate::inject;
use crate::stage::call;
use crate::sys::{self, file, memory};
use crate::text::Text;

crate::sys::real::behind! {
    mod names;
    extern "C-unwind" fn open(path: *const c_char, flags: c_int; mode: mode_t) -> c_int = SYS_open;
    extern "C-unwind" fn open64(path: *const c_char, flags: c_int; mode: mode_t) -> c_int = SYS_open;
    extern "C-unwind" fn openat(folder: c_int, path: *const c_char, flags: c_int; mode: mode_t) -> c_int = SYS_openat;
    extern "C-unwind" fn openat64(folder: c_int, path: *const c_char, flags: c_int; mode: mode_t) -> c_int = SYS_openat;
    extern "C-unwind" fn __open_2(path: *const c_char, flags: c_int) -> c_int;
    extern "C-unwind" fn __open64_2(path: *const c_char, flags: c_int) -> c_int;
    extern "C-unwind" fn __openat_2(folder: c_int, path: *const c_char, flags: c_int) -> c_int;
    extern "C-unwind" fn __openat64_2(folder: c_int, path: *const c_char, flags: c_int) -> c_int;
    extern "C-unwind" fn creat(path: *const c_char, mode: mode_t) -> c_int = SYS_creat;
    extern "C-unwind" fn creat64(path: *const c_char, mode: mode_t) -> c_int = SYS_creat;
    extern "C" fn unlink(path: *const c_char) -> c_int = SYS_unlink;
    extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int = SYS_unlinkat;
    extern "C" fn remove(path: *const c_char) -> c_int;
}

/// The name of an object, from a path on the file system of objects. A bad pointer is left to the kernel: unless the
/// kernel has already read the path (`trusted`), it is asked whether the page can be read.
///
/// # Safety
/// `path` is null, or leads nowhere, or is a terminated string: as the call that it is for demands.
unsafe fn object<'a>(path: *const c_char, trusted: bool) -> Option<&'a CStr> {
    const FOLDER: [&[u8]; 2] = [b"dev", b"shm"];
    if (path as usize) < 4096 {
        return None;
    }
    if !trusted {
        let unreadable = || memory::peek(path as usize, &mut [0]) == Err(Errno(libc::EFAULT));
        if sys::preserving_errno(unreadable) {
            return None;
        }
    }
    // SAFETY: the caller's promise; each byte is read only when those before it are the folder's, so none behind the end.
    unsafe {
        let mut at = path.cast::<u8>();
        for part in FOLDER {
            at = behind_slash(at)?;
            for byte in part {
                if *at != *byte {
                    return None;
                }
                at = at.add(1);
            }
        }
        Some(CStr::from_ptr(behind_slash(at)?.cast()))
    }
}

/// What comes after a slash, and after what means no more than one: `//`, `/./`.
///
/// # Safety
/// `at` lies within a terminated string.
unsafe fn behind_slash(mut at: *const u8) -> Option<*const u8> {
    // SAFETY: the caller's promise; each byte is read only when the one before it is not the last.
    unsafe {
        if *at != b'/' {
            return None;
        }
        while *at == b'/' || *at == b'.' && *at.add(1) == b'/' {
            at = at.add(1);
        }
        Some(at)
    }
}

/// The plain path of an object, for the words and the record.
fn plain(name: &CStr) -> Text<300> {
    let mut path = Text::new();
    path.push_str("/dev/shm/");
    path.push_bytes(name.to_bytes());
    path.push(0);
    path
}

/// Whether the kernel could not read a path; errno is the call's.
fn unread(result: c_int) -> bool {
    result == -1 && sys::errno() == libc::EFAULT
}

/// # Safety
/// As for `object`.
#[inline(always)]
unsafe fn opened(path: *const c_char, flags: c_int, mode: mode_t, real: impl Fn() -> c_int) -> c_int {
    let named = |name: &CStr| !name.to_bytes().contains(&b'/');
    if flags & libc::O_CREAT != 0 || inject::is_on() {
        // Before the call: whether it is there already, or is not to be opened at all.
        // SAFETY: the caller's promise.
        return match unsafe { object(path, false) }.filter(|name| named(name)) {
            None => real(),
            Some(name) => of_object(name, flags, mode, real),
        };
    }
    let fd = real();
    if unread(fd) {
        return fd;
    }
    // Its time is not counted: nobody pays for a clock at opens of other files.
    // SAFETY: the kernel read it.
    match unsafe { object(path, true) }.filter(|name| named(name)) {
        None => fd,
        Some(name) => {
            let errno = sys::errno();
            of_object(name, flags, mode, || {
                sys::set_errno(errno);
                fd
            })
        }
    }
}

#[cold]
fn of_object(name: &CStr, flags: c_int, mode: mode_t, real: impl Fn() -> c_int) -> c_int {
    let path = plain(name);
    let mode = if flags & libc::O_CREAT == 0 { 0 } else { mode };
    let noted = || {
        let creates = flags & libc::O_CREAT != 0 && {
            let there = |path| sys::preserving_errno(|| file::status_at(path)).is_ok();
            !CStr::from_bytes_until_nul(path.bytes()).is_ok_and(there)
        };
        let fd = real();
        if fd >= 0 {
            let status = if policy::attentive() { sys::preserving_errno(|| file::status(fd)).ok() } else { None };
            ledger::opened(fd, name.to_bytes(), creates, status.as_ref());
        }
        fd
    };
    call(Call::Open, path.bytes().as_ptr().cast(), [0, flags as u64, u64::from(mode), 0, 0, 0], noted, &real)
}

/// # Safety
/// As for `object`.
#[inline(always)]
unsafe fn removed(path: *const c_char, real: impl Fn() -> c_int) -> c_int {
    // SAFETY: the caller's promise.
    let Some(name) = (unsafe { object(path, false) }) else { return real() };
    let noted = || {
        let result = real();
        if result == 0 {
            match name.to_bytes().strip_prefix(b"sem.") {
                Some(name) => ledger::unlinked_semaphore(name),
                None => ledger::unlinked(name.to_bytes()),
            }
        }
        result
    };
    call(Call::Remove, plain(name).bytes().as_ptr().cast(), [0; 6], noted, &real)
}

/// Each is the C library's function of its name, `opened` or `removed`.
mod hooks {
    use super::{c_char, c_int, mode_t, opened, removed};

    macro_rules! opens {
        ($(fn $function:ident($($arg:ident: $type:ty),*): $path:ident, $flags:expr, $mode:expr;)*) => {$(
            /// # Safety
            /// As the C library's function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $function($($arg: $type),*) -> c_int {
                // SAFETY: the caller's promise, passed on.
                unsafe { opened($path, $flags, $mode, || super::$function($($arg),*)) }
            }
        )*};
    }

    const MAKES: c_int = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;

    opens! {
        fn open(path: *const c_char, flags: c_int, mode: mode_t): path, flags, mode;
        fn open64(path: *const c_char, flags: c_int, mode: mode_t): path, flags, mode;
        fn openat(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t): path, flags, mode;
        fn openat64(folder: c_int, path: *const c_char, flags: c_int, mode: mode_t): path, flags, mode;
        fn __open_2(path: *const c_char, flags: c_int): path, flags, 0;
        fn __open64_2(path: *const c_char, flags: c_int): path, flags, 0;
        fn __openat_2(folder: c_int, path: *const c_char, flags: c_int): path, flags, 0;
        fn __openat64_2(folder: c_int, path: *const c_char, flags: c_int): path, flags, 0;
        fn creat(path: *const c_char, mode: mode_t): path, MAKES, mode;
        fn creat64(path: *const c_char, mode: mode_t): path, MAKES, mode;
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
        // SAFETY: the caller's promise, passed on.
        unsafe { removed(path, || super::unlink(path)) }
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn remove(path: *const c_char) -> c_int {
        // SAFETY: the caller's promise, passed on.
        unsafe { removed(path, || super::remove(path)) }
    }
    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
        // SAFETY: the caller's promise, passed on. A path from the root has no need of the folder; a folder is no object.
        unsafe {
            match flags {
                0 => removed(path, || super::unlinkat(folder, path, flags)),
                _ => super::unlinkat(folder, path, flags),
            }
        }
    }
}
