//! This process and thread: identity, environment, fork. Never keeps what it learns. Next: `sys/lock.rs`.

use core::ffi::CStr;

/// This process's id, in its own pid namespace.
pub fn pid() -> i32 {
    // SAFETY: takes no pointers.
    unsafe { libc::getpid() }
}

/// This thread's id, in its own pid namespace.
pub fn tid() -> i32 {
    // SAFETY: takes no pointers.
    unsafe { libc::gettid() }
}

/// A number that no other live thread of this process has: the thread pointer. One instruction, no system call.
#[inline(always)]
pub fn thread_pointer() -> usize {
    let value: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the first word of the thread control block, which holds its own address (x86-64 psABI, TLS variant II).
    unsafe {
        core::arch::asm!("mov {}, fs:0", out(reg) value, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads the user-readable thread register, which holds the address of the thread control block.
    unsafe {
        core::arch::asm!("mrs {}, tpidr_el0", out(reg) value, options(nostack, preserves_flags, nomem));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        std::thread_local!(static HERE: u8 = const { 0 });
        value = HERE.with(|here| core::ptr::from_ref(here) as usize);
    }
    value
}

/// Lets another thread run.
pub fn yield_now() {
    // SAFETY: takes no pointers.
    unsafe { libc::sched_yield() };
}

/// Sleeps for about this long; may return early.
pub fn sleep_ns(nanoseconds: i64) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: nanoseconds as _ };
    // SAFETY: the time is readable, and a null second argument means that the rest is not wanted.
    unsafe { libc::nanosleep(&time, core::ptr::null_mut()) };
}

/// Nanoseconds since the epoch.
pub fn wall_clock_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// Copies an environment variable; `None` when it is unset, too long, or the program runs with raised privileges.
pub fn environment(name: &CStr, buffer: &mut [u8]) -> Option<usize> {
    // SAFETY: the name is terminated. The C library's string lives until the environment changes; it is copied at once.
    // getauxval takes no pointers.
    unsafe {
        if libc::getauxval(libc::AT_SECURE) != 0 {
            return None;
        }
        let value = libc::getenv(name.as_ptr());
        if value.is_null() {
            return None;
        }
        let value = CStr::from_ptr(value).to_bytes();
        buffer.get_mut(..value.len())?.copy_from_slice(value);
        Some(value.len())
    }
}

/// Makes a path absolute, so that it means the same after a change of directory; returns the length.
pub fn absolute(path: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let mut length = 0;
    if path.first() != Some(&b'/') {
        // SAFETY: the buffer is writable for its length.
        let here = unsafe { libc::getcwd(buffer.as_mut_ptr().cast(), buffer.len()) };
        if here.is_null() {
            return None;
        }
        length = buffer.iter().position(|byte| *byte == 0)?;
        *buffer.get_mut(length)? = b'/';
        length += 1;
    }
    let end = length.checked_add(path.len())?;
    buffer.get_mut(length..end)?.copy_from_slice(path);
    *buffer.get_mut(end)? = 0;
    Some(end)
}

/// Calls these around every fork of this process: before it, then after it in the parent and in the child.
pub fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> bool {
    // SAFETY: the three functions live as long as the library, which is never unloaded (see build.rs).
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) == 0 }
}
