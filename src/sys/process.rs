//! This process and thread: identity, environment, fork. Never keeps what it learns. Next: `sys/lock.rs`.

use core::ffi::CStr;

use crate::error::Errno;
use crate::text::Writer;

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

/// Whether a thread, or a process, of this id exists in this pid namespace; one of another user's does too.
pub fn exists(id: u32) -> bool {
    // SAFETY: takes no pointers; signal 0 is not sent.
    super::preserving_errno(|| unsafe { libc::kill(id as i32, 0) == 0 || super::errno() != libc::ESRCH })
}

/// Lets another thread run.
pub fn yield_now() {
    // SAFETY: takes no pointers.
    unsafe { libc::sched_yield() };
}

/// Sleeps for about this long; may return early.
pub fn sleep_ns(nanoseconds: i64) {
    super::kernel::sleep(nanoseconds.max(0) as u64);
}

/// Nanoseconds of a clock that only goes forward.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// The processor's own clock, which goes forward at an even rate where the kernel takes it for its clock too ("tsc"); a
/// third of what `monotonic_ns` costs. None where there is none that a program can read.
#[inline(always)]
pub fn ticks() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this kind has the instruction; where a program may not use it, no clock_gettime works either.
    unsafe {
        Some(core::arch::x86_64::_rdtsc())
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// As `monotonic_ns`, but only as of the last tick of the kernel, some milliseconds ago; cheaper.
pub fn coarse_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// The umask, as /proc tells it: the call that gives it also changes it.
pub fn umask() -> Option<u32> {
    let mut buffer = [0u8; 256];
    let length = super::file::read_small(c"/proc/self/status", &mut buffer).ok()?;
    let text = buffer.get(..length)?;
    let at = text.windows(6).position(|window| window == b"Umask:")? + 6;
    let digits =
        text.get(at..)?.iter().skip_while(|byte| !byte.is_ascii_digit()).take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |mask: u32, digit| mask << 3 | u32::from(digit - b'0')))
}

/// Nanoseconds since the epoch.
pub fn wall_clock_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer is writable.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// Shows an environment variable to `reader`; `None` when it is unset, or the program runs with raised privileges.
pub fn environment<R>(name: &CStr, reader: impl FnOnce(&[u8]) -> R) -> Option<R> {
    // SAFETY: the name is terminated. The C library's string lives until the environment changes, and is only read
    // here. getauxval takes no pointers.
    unsafe {
        if libc::getauxval(libc::AT_SECURE) != 0 {
            return None;
        }
        let value = libc::getenv(name.as_ptr());
        if value.is_null() { None } else { Some(reader(CStr::from_ptr(value).to_bytes())) }
    }
}

/// Appends a path, made absolute so that it means the same after a change of directory; false when it does not fit.
pub fn push_absolute(path: &[u8], out: &mut Writer) -> bool {
    if path.first() != Some(&b'/') {
        // SAFETY: the room is writable for its length.
        let here = out.fill(|room| unsafe {
            let here = libc::getcwd(room.as_mut_ptr().cast(), room.len());
            if here.is_null() { 0 } else { libc::strlen(here) }
        });
        if here == 0 {
            return false;
        }
        out.push(b'/');
    }
    let before = out.bytes().len();
    out.push_bytes(path);
    // One byte is left for the NUL.
    out.bytes().len() == before + path.len() && out.room() > 0
}

unsafe extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, old: *mut libc::c_int) -> libc::c_int;
}

unsafe extern "C-unwind" {
    fn pthread_testcancel();
}

/// Runs `work` with cancellation of this thread put off: a cancellation unwinds, and must not do so through our frames.
#[inline]
pub fn uncancelled<R>(work: impl FnOnce() -> R) -> R {
    const DISABLE: libc::c_int = 1;
    let (mut old, mut ours) = (0, 0);
    // SAFETY: both places are writable; the calls change this thread's own state alone, and the second restores it.
    unsafe { pthread_setcancelstate(DISABLE, &mut old) };
    let result = work();
    // SAFETY: as above.
    unsafe { pthread_setcancelstate(old, &mut ours) };
    result
}

/// Runs `work`, which writes, and takes back the signal that a failed write raises: SIGPIPE or SIGXFSZ. One that was
/// pending before stays.
pub fn without_signals_of_writing<R>(work: impl FnOnce() -> Result<R, Errno>) -> Result<R, Errno> {
    const SIZE: usize = size_of::<u64>();
    let bit = |signal: libc::c_int| 1u64 << (signal - 1);
    let (ours, mut mask, mut pending) = (bit(libc::SIGPIPE) | bit(libc::SIGXFSZ), 0u64, 0u64);
    // SAFETY: the sets are as long as the kernel's; the program may have functions of its own before the C library's.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, &raw const ours, &raw mut mask, SIZE);
        libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, SIZE);
    }
    let result = work();
    let raised = match result {
        Err(Errno(libc::EPIPE)) => bit(libc::SIGPIPE),
        Err(Errno(libc::EFBIG)) => bit(libc::SIGXFSZ),
        _ => 0,
    } & !pending;
    let (none, time) = (core::ptr::null_mut::<u64>(), libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: as above; what is known of the signal is not wanted.
    unsafe {
        if raised != 0 {
            libc::syscall(libc::SYS_rt_sigtimedwait, &raw const raised, none, &raw const time, SIZE);
        }
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, none, SIZE);
    }
    result
}

/// Acts on a cancellation that waits. Unwinds the thread if there is one: no frame of ours may be in its way.
#[inline(always)]
pub extern "C-unwind" fn cancellation_point() {
    // SAFETY: takes no pointers; our callers have nothing to drop.
    unsafe { pthread_testcancel() }
}

/// Calls these around every fork of this process: before it, then after it in the parent and in the child.
pub fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) -> bool {
    // SAFETY: the three functions live as long as the library, which is never unloaded (see build.rs).
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) == 0 }
}

/// This process's effective user.
pub fn effective_user() -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::geteuid() }
}

/// When a process started, in clock ticks since boot: field 22 of /proc/PID/stat.
pub fn start_time(pid: u32) -> Option<u64> {
    start_in(stat(pid, &mut [0u8; 1024])?)
}

fn stat(pid: u32, buffer: &mut [u8]) -> Option<&[u8]> {
    let mut path = crate::text::Text::<32>::new();
    path.push_str("/proc/");
    path.push_number(u64::from(pid));
    path.push_str("/stat\0");
    let path = CStr::from_bytes_with_nul(path.bytes()).ok()?;
    let length = super::file::read_small(path, buffer).ok()?;
    buffer.get(..length)
}

/// What /proc/PID/stat says of the life of a process.
pub struct Life {
    /// As `start_time`.
    pub start: u64,
    /// Nothing of it runs any more: it waits for its parent alone.
    pub has_ended: bool,
}

/// The life of a process; `None` when it cannot be seen.
pub fn life(pid: u32) -> Option<Life> {
    let mut buffer = [0u8; 1024];
    let text = stat(pid, &mut buffer)?;
    let field = |number: usize| after_name(text)?.split(|byte| *byte == b' ').nth(number - 3);
    // The first thread may have ended before the others: then they are counted with it.
    let has_ended = matches!(field(3)?, b"Z" | b"X") && crate::text::leading_number(field(20)?) <= 1;
    Some(Life { start: start_in(text)?, has_ended })
}

/// This process as /proc shows it: its id there, which is another where /proc is of another pid namespace, and when it
/// started.
pub fn own_entry() -> Option<(u32, u64)> {
    let mut buffer = [0u8; 1024];
    let length = super::file::read_small(c"/proc/self/stat", &mut buffer).ok()?;
    let text = buffer.get(..length)?;
    Some((crate::text::leading_number(text) as u32, start_in(text)?))
}

/// The fields from the third on. The second is the program's name in parentheses, and may hold anything: what follows is
/// after the last one.
fn after_name(text: &[u8]) -> Option<&[u8]> {
    let after = text.iter().rposition(|byte| *byte == b')')? + 2;
    text.get(after..)
}

fn start_in(text: &[u8]) -> Option<u64> {
    let field = after_name(text)?.split(|byte| *byte == b' ').nth(19)?;
    Some(crate::text::leading_number(field))
}

/// The id of this boot, as two words.
pub fn boot_id() -> Option<[u64; 2]> {
    let mut buffer = [0u8; 64];
    let length = super::file::read_small(c"/proc/sys/kernel/random/boot_id", &mut buffer).ok()?;
    let digits = buffer.get(..length)?.iter().filter_map(|byte| char::from(*byte).to_digit(16));
    let value = digits.fold(0u128, |value, digit| value << 4 | u128::from(digit));
    Some([(value >> 64) as u64, value as u64])
}

/// The inode of this process's pid namespace.
pub fn pid_namespace() -> Option<u64> {
    super::sysv::file_identity(c"/proc/self/ns/pid").ok().map(|(_, inode)| inode)
}
