//! Crashes explained: SIGBUS and SIGSEGV inside shared memory say which object, which byte, its size then and now, and
//! why; then everything goes on as it would have: the program's own handler, or death by the signal.
//!
//! The kernel's handler is ours. What the program asks for is kept here and shown to it when it asks; ours has its
//! flags and mask, so that the kernel does for it what it would have done for the program's. A program that ignores the
//! signal is left alone. Next: `calls/ledger.rs`, which knows what lay where.

use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicUsize};

use crate::account::{self, Facts};
use crate::calls::ledger::{self, Kind as Object};
use crate::calls::ranges::Content;
use crate::calls::report;
use crate::checks::words::Call;
use crate::record::Kind;
use crate::sys::limits::page_size;
use crate::sys::lock::Guarded;
use crate::sys::{self, file, memory, process, real};
use crate::text::{Text, Writer};

const SIGNALS: [c_int; 2] = [libc::SIGBUS, libc::SIGSEGV];

/// What the program asked for, by signal.
static WANTED: [Guarded<Option<libc::sigaction>>; 2] = [Guarded::new(None), Guarded::new(None)];
/// The same without the lock, for the handler: the handler's address, and whether it takes three arguments.
static HANDLERS: [AtomicUsize; 2] = [AtomicUsize::new(libc::SIG_DFL), AtomicUsize::new(libc::SIG_DFL)];
static LONG: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
static ONCE: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
/// A handler for one signal has had it: the kernel has the default since.
static SPENT: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
/// What `siginterrupt` was told: `signal` keeps to it.
static INTERRUPTS: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];
static ON: AtomicBool = AtomicBool::new(false);

fn index(signal: c_int) -> Option<usize> {
    if ON.load(Relaxed) { SIGNALS.iter().position(|known| *known == signal) } else { None }
}

/// Whether what is kept here is of this process. A child that shares its parent's memory (vfork) sets dispositions of
/// its own, and must leave the parent's as they are; one made behind the C library is taken for one.
fn is_own() -> bool {
    ledger::process() == process::pid()
}

/// Puts the handlers in place; unless SHMKIT_EXPLAIN=off.
pub fn begin() {
    if process::environment(c"SHMKIT_EXPLAIN", |value| value == b"off") == Some(true) {
        return;
    }
    for (index, signal) in SIGNALS.into_iter().enumerate() {
        let mut now = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the place is writable; zero is valid for all of it.
        let now = unsafe {
            real::sigaction(signal, core::ptr::null(), now.as_mut_ptr());
            now.assume_init()
        };
        let _ = install(index, signal, &now);
        // What was inherited is shown as it was.
        WANTED[index].with(|kept| *kept = Some(now));
    }
    if let Ok(at) = memory::mmap(
        0,
        STACK_SIZE,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
        -1,
        0,
    ) {
        // What runs over its end is a crash of its own, not somebody else's memory.
        let _ = memory::mprotect(at, page_size(), libc::PROT_NONE);
        STACK.store(at, Relaxed);
    }
    ON.store(true, Relaxed);
}

/// Takes note of what the program wants, and has the kernel call ours in its stead.
fn install(index: usize, signal: c_int, wanted: &libc::sigaction) -> c_int {
    let mut ours = *wanted;
    match wanted.sa_sigaction {
        libc::SIG_IGN => {}
        libc::SIG_DFL => {
            ours.sa_sigaction = handle as *const () as usize;
            // On the program's own stack for handlers, if it has one: the other may be what overflowed.
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        }
        _ => {
            ours.sa_sigaction = handle as *const () as usize;
            ours.sa_flags |= libc::SA_SIGINFO;
        }
    }
    // The order lets a fault in between find one of the two whole.
    LONG[index].store(wanted.sa_flags & libc::SA_SIGINFO != 0, Relaxed);
    ONCE[index].store(wanted.sa_flags & libc::SA_RESETHAND != 0, Relaxed);
    HANDLERS[index].store(wanted.sa_sigaction, Relaxed);
    SPENT[index].store(false, Relaxed);
    // SAFETY: the structs are readable and writable, and the handler stays as long as the process.
    unsafe {
        let result = real::sigaction(signal, &ours, core::ptr::null_mut());
        let mut now = ours;
        real::sigaction(signal, core::ptr::null(), &mut now);
        // As the C library and the kernel keep what they are given: with a restorer, without what they do not know.
        const RESTORER: c_int = 0x0400_0000;
        let mut kept = *wanted;
        kept.sa_flags = match wanted.sa_sigaction {
            libc::SIG_DFL => wanted.sa_flags | now.sa_flags & RESTORER,
            libc::SIG_IGN => now.sa_flags,
            _ => now.sa_flags & !libc::SA_SIGINFO | wanted.sa_flags & libc::SA_SIGINFO,
        };
        (kept.sa_mask, kept.sa_restorer) = (now.sa_mask, now.sa_restorer);
        WANTED[index].with(|place| *place = Some(kept));
        result
    }
}

/// For a child that keeps nothing: the kernel's own answer, with the program's handler in the place of ours.
///
/// # Safety
/// As the C library's function.
#[cold]
unsafe fn in_child(index: usize, signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let result = real::sigaction(signal, new, old);
        if result == 0
            && !old.is_null()
            && (*old).sa_sigaction == handle as *const () as usize
            && let Some(wanted) = WANTED[index].with(|kept| *kept).flatten()
        {
            *old = wanted;
        }
        result
    }
}

/// # Safety
/// As the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaction(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    let Some(index) = index(signal) else {
        // SAFETY: the caller's promise.
        return unsafe { real::sigaction(signal, new, old) };
    };
    if !is_own() {
        // SAFETY: the caller's promise.
        return unsafe { in_child(index, signal, new, old) };
    }
    // SAFETY: the caller's promise. The new one is read before the old one is written: they may be the same.
    unsafe {
        let wanted = if new.is_null() { None } else { Some(*new) };
        let before = WANTED[index].with(|kept| *kept).flatten();
        let spent = SPENT[index].load(Relaxed);
        let result = match &wanted {
            Some(wanted) => install(index, signal, wanted),
            None => 0,
        };
        if result == 0
            && !old.is_null()
            && let Some(mut before) = before
        {
            // A handler for one signal has had it.
            if spent {
                before.sa_sigaction = libc::SIG_DFL;
            }
            *old = before;
        }
        result
    }
}

/// Sets a handler, with the signal itself in its mask or with nothing in it.
fn simple(signal: c_int, handler: usize, flags: c_int, masked: bool) -> usize {
    let mut new = MaybeUninit::<libc::sigaction>::zeroed();
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: zero is valid for both; the handler is the program's.
    unsafe {
        let new = new.assume_init_mut();
        (new.sa_sigaction, new.sa_flags) = (handler, flags);
        if masked {
            libc::sigaddset(&mut new.sa_mask, signal);
        }
        if sigaction(signal, new, old.as_mut_ptr()) == 0 { old.assume_init().sa_sigaction } else { libc::SIG_ERR }
    }
}

/// As sigset(3): the handler is put in place and the signal let through, or the signal is held back.
fn held(signal: c_int, handler: usize) -> usize {
    const SIG_HOLD: usize = 2;
    let mut mask = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut old = MaybeUninit::<libc::sigset_t>::zeroed();
    let how = if handler == SIG_HOLD { libc::SIG_BLOCK } else { libc::SIG_UNBLOCK };
    // SAFETY: both masks are writable; the signal is one of ours, so it has a place in them.
    unsafe {
        libc::sigaddset(mask.as_mut_ptr(), signal);
        if libc::sigprocmask(libc::SIG_BLOCK, core::ptr::null(), old.as_mut_ptr()) != 0 {
            return libc::SIG_ERR;
        }
        let before = if handler == SIG_HOLD {
            let mut now = MaybeUninit::<libc::sigaction>::zeroed();
            if sigaction(signal, core::ptr::null(), now.as_mut_ptr()) != 0 {
                return libc::SIG_ERR;
            }
            now.assume_init().sa_sigaction
        } else {
            simple(signal, handler, 0, false)
        };
        if before == libc::SIG_ERR || libc::sigprocmask(how, mask.as_ptr(), core::ptr::null_mut()) != 0 {
            return libc::SIG_ERR;
        }
        if libc::sigismember(old.as_ptr(), signal) == 1 { SIG_HOLD } else { before }
    }
}

crate::sys::real::behind! {
    mod names;
    extern "C" fn signal(signal: c_int, handler: usize) -> usize;
    extern "C" fn bsd_signal(signal: c_int, handler: usize) -> usize;
    extern "C" fn ssignal(signal: c_int, handler: usize) -> usize;
    extern "C" fn sysv_signal(signal: c_int, handler: usize) -> usize;
    extern "C" fn __sysv_signal(signal: c_int, handler: usize) -> usize;
    extern "C" fn sigset(signal: c_int, handler: usize) -> usize;
    extern "C" fn sigignore(signal: c_int) -> c_int;
    extern "C" fn siginterrupt(signal: c_int, interrupts: c_int) -> c_int;
}

/// Each is the C library's function of its name, and for our two signals what that does, over `sigaction` above.
mod hooks {
    use super::{INTERRUPTS, Relaxed, WANTED, c_int, held, index, is_own, simple};

    macro_rules! hooks {
        ($(fn $function:ident: $ours:expr;)*) => {$(
            /// # Safety
            /// As the C library's function.
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $function(signal: c_int, handler: usize) -> usize {
                if index(signal).is_some() && handler != libc::SIG_ERR {
                    let ours: fn(c_int, usize) -> usize = $ours;
                    return ours(signal, handler);
                }
                // SAFETY: the caller's promise.
                unsafe { super::$function(signal, handler) }
            }
        )*};
    }

    fn restarting(signal: c_int, handler: usize) -> usize {
        let interrupts = index(signal).is_some_and(|index| INTERRUPTS[index].load(Relaxed));
        simple(signal, handler, if interrupts { 0 } else { libc::SA_RESTART }, true)
    }

    fn once(signal: c_int, handler: usize) -> usize {
        simple(signal, handler, libc::SA_RESETHAND | libc::SA_NODEFER, false)
    }

    hooks! {
        fn signal: restarting;
        fn bsd_signal: restarting;
        fn ssignal: restarting;
        fn sysv_signal: once;
        fn __sysv_signal: once;
        fn sigset: held;
    }

    /// The C library changes the flags of our handler; the program's are kept here.
    ///
    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn siginterrupt(signal: c_int, interrupts: c_int) -> c_int {
        // SAFETY: the caller's promise.
        let result = unsafe { super::siginterrupt(signal, interrupts) };
        if let (Some(index), 0, true) = (index(signal), result, is_own()) {
            INTERRUPTS[index].store(interrupts != 0, Relaxed);
            WANTED[index].with(|kept| {
                if let Some(kept) = kept {
                    kept.sa_flags &= !libc::SA_RESTART;
                    kept.sa_flags |= if interrupts == 0 { libc::SA_RESTART } else { 0 };
                }
            });
        }
        result
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn sigignore(signal: c_int) -> c_int {
        if index(signal).is_some() {
            return if simple(signal, libc::SIG_IGN, 0, false) == libc::SIG_ERR { -1 } else { 0 };
        }
        // SAFETY: the caller's promise.
        unsafe { super::sigignore(signal) }
    }
}

extern "C-unwind" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let Some(index) = SIGNALS.iter().position(|known| *known == signal) else { return };
    // SAFETY: the kernel's own struct.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if code > 0 {
        let fetched = was_fetch(context);
        sys::preserving_errno(|| explain_elsewhere(Fault { signal, code, address, fetched }));
    }
    let handler = HANDLERS[index].load(Relaxed);
    if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
        // The touch is done again on return, and now ends the process as it would have; a signal that somebody sent is
        // sent again.
        let mut default = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: zero is the default action with no flags; the struct of the signal is the kernel's.
        unsafe {
            default.assume_init_mut().sa_sigaction = libc::SIG_DFL;
            real::sigaction(signal, default.as_ptr(), core::ptr::null_mut());
            if code <= 0 {
                libc::syscall(libc::SYS_rt_tgsigqueueinfo, libc::getpid(), libc::gettid(), signal, info);
            }
        }
        return;
    }
    if ONCE[index].load(Relaxed) && is_own() {
        // The kernel put the default in our place.
        HANDLERS[index].store(libc::SIG_DFL, Relaxed);
        SPENT[index].store(true, Relaxed);
    }
    // SAFETY: the program's handler, as it was given; it may leave by a jump, and this frame has nothing to drop.
    unsafe {
        if LONG[index].load(Relaxed) {
            let handler: extern "C-unwind" fn(c_int, *mut libc::siginfo_t, *mut c_void) = core::mem::transmute(handler);
            handler(signal, info, context);
        } else {
            let handler: extern "C-unwind" fn(c_int) = core::mem::transmute(handler);
            handler(signal);
        }
    }
}

/// What the kernel says of a fault.
struct Fault {
    signal: c_int,
    code: c_int,
    address: usize,
    /// The processor wanted an instruction there.
    fetched: bool,
}

/// Whether the processor wanted an instruction: as its error code says.
fn was_fetch(context: *mut c_void) -> bool {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel's own struct, as the handler was given it.
    unsafe {
        const INSTRUCTION: i64 = 0x10;
        (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_ERR as usize] & INSTRUCTION != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = context;
        false
    }
}

/// Explaining has a stack of its own, one for all threads: the thread's may be small, or what overflowed, and the
/// program's stack for handlers may be just large enough for its handler.
const STACK_SIZE: usize = 256 << 10;
static STACK: AtomicUsize = AtomicUsize::new(0);
/// The thread that uses it.
static ON_STACK: AtomicUsize = AtomicUsize::new(0);

/// In a forked child no other thread uses it.
pub fn after_fork() {
    ON_STACK.store(0, Relaxed);
}

fn explain_elsewhere(fault: Fault) {
    let (stack, me) = (STACK.load(Relaxed), process::thread_pointer());
    if stack == 0 {
        return;
    }
    // Nothing may come between: a handler on the program's stack for handlers would begin at its top, where this one
    // is.
    let (every, mut before) = (u64::MAX, 0u64);
    const SIZE: usize = size_of::<u64>();
    // SAFETY: both words are as long as the kernel's set; the C library's function keeps two signals of its own out.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const every, &raw mut before, SIZE) };
    for _ in 0..1000 {
        if ON_STACK.compare_exchange(0, me, Acquire, Relaxed).is_ok() {
            // SAFETY: the stack is writable, this thread's alone, and aligned as a page is.
            unsafe { on_stack(stack + STACK_SIZE, explain_fault, (&raw const fault).cast()) };
            ON_STACK.store(0, Release);
            break;
        }
        // Another thread crashed as well. Not for ever: its words are worth less than this thread's own end.
        process::sleep_ns(1_000_000);
    }
    // SAFETY: as above.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const before, core::ptr::null::<u64>(), SIZE)
    };
}

extern "C" fn explain_fault(fault: *const c_void) {
    // SAFETY: `explain_elsewhere` waits for the end of this.
    let fault = unsafe { &*fault.cast::<Fault>() };
    explain(fault);
}

/// Calls `work` with `data` on another stack, which ends at `top`.
///
/// # Safety
/// The stack is writable and used by nobody else; `top` is a multiple of 16; `work` returns.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn on_stack(top: usize, work: extern "C" fn(*const c_void), data: *const c_void) {
    core::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "mov rsp, rdi",
        "mov rdi, rdx",
        "call rsi",
        "mov rsp, rbp",
        "pop rbp",
        "ret",
    )
}

/// # Safety
/// `work` returns.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn on_stack(_top: usize, work: extern "C" fn(*const c_void), data: *const c_void) {
    work(data);
}

#[derive(Clone, Copy)]
struct Access {
    read: bool,
    write: bool,
    execute: bool,
}

/// A line of /proc/self/maps.
#[derive(Clone, Copy)]
struct Mapping {
    start: usize,
    end: usize,
    /// What may be done there: nothing is known of it without /proc.
    access: Option<Access>,
    shared: bool,
    offset: u64,
    /// Device and number on it.
    identity: (u64, u64),
    path: Text<272>,
}

/// The mapping at an address, as the kernel has it; without /proc, as after a chroot, as it is remembered.
fn mapping_at(address: usize) -> Option<Mapping> {
    let mut found = None;
    let mut line = Text::<400>::new();
    let read = file::read_all(c"/proc/self/maps", |byte| {
        if byte != b'\n' {
            line.push(byte);
            return true;
        }
        found = parse(line.bytes()).filter(|mapping| (mapping.start..mapping.end).contains(&address));
        line.clear();
        found.is_none()
    });
    match read {
        Ok(()) => found,
        Err(_) => remembered_at(address),
    }
}

fn remembered_at(address: usize) -> Option<Mapping> {
    ledger::at(address, |range, object, segment| {
        let mut path = Text::new();
        match (object, segment) {
            (Some(object), _) if matches!(object.kind, Object::Posix | Object::Memfd) => {
                path.push_str(if object.kind == Object::Posix { "/dev/shm/" } else { "/memfd:" });
                path.push_printable(object.name.bytes());
            }
            (_, Some(segment)) => {
                // As the kernel writes it there: without 0x.
                let mut key = Text::<20>::new();
                key.push_hex(u64::from(segment.key as u32));
                path.push_str("/SYSV");
                path.push_bytes(key.bytes().get(2..).unwrap_or_default());
            }
            _ => return None,
        }
        Some(Mapping {
            start: range.start as usize,
            end: range.end as usize,
            access: None,
            shared: true,
            offset: range.offset,
            identity: object.map_or((0, 0), |object| object.identity),
            path,
        })
    })?
}

fn parse(line: &[u8]) -> Option<Mapping> {
    let mut parts = line.splitn(6, |byte| *byte == b' ');
    let (range, permissions, offset) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &[u8]| usize::from_str_radix(core::str::from_utf8(text).ok()?, 16).ok();
    let (device, inode) = (parts.next()?, core::str::from_utf8(parts.next()?).ok()?.parse().ok()?);
    let colon = device.iter().position(|byte| *byte == b':')?;
    let device = libc::makedev(hex(&device[..colon])? as u32, hex(&device[colon + 1..])? as u32);
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let mut path = Text::new();
    path.push_printable(parts.next().unwrap_or_default().trim_ascii_start());
    Some(Mapping {
        start: hex(&range[..dash])?,
        end: hex(&range[dash + 1..])?,
        access: Some(Access {
            read: permissions.first() == Some(&b'r'),
            write: permissions.get(1) == Some(&b'w'),
            execute: permissions.get(2) == Some(&b'x'),
        }),
        shared: permissions.get(3) == Some(&b's'),
        offset: hex(offset)? as u64,
        identity: (device, inode),
        path,
    })
}

/// How many of the program's descriptors are looked at.
const MOST_DESCRIPTORS: c_int = 1024;

/// The status of what is mapped: by the kernel's own link, which works for what has no name any more.
fn status_of(mapping: &Mapping) -> Option<file::Status> {
    let mut link = Text::<80>::new();
    link.push_str("/proc/self/map_files/");
    // The names there have no 0x.
    let hex = |number: usize, out: &mut Writer| {
        let digits = (usize::BITS - number.max(1).leading_zeros()).div_ceil(4);
        for digit in (0..digits).rev() {
            out.push(b"0123456789abcdef"[number >> (4 * digit) & 15]);
        }
    };
    hex(mapping.start, &mut link);
    link.push(b'-');
    hex(mapping.end, &mut link);
    link.push(0);
    let path = core::ffi::CStr::from_bytes_until_nul(link.bytes()).ok()?;
    let fd = file::open_at(libc::AT_FDCWD, path, libc::O_PATH, 0).ok();
    let status = match fd {
        Some(fd) => file::status(fd).ok(),
        // Not without privileges: then by name, if it still has one, or by a descriptor that the program kept.
        None => {
            let mut path = Text::<280>::new();
            path.push_bytes(mapping.path.bytes());
            path.push(0);
            let is_it = |status: &file::Status| (status.dev, status.ino) == mapping.identity;
            let by_name = core::ffi::CStr::from_bytes_until_nul(path.bytes()).ok();
            let by_name = by_name.and_then(|path| file::status_at(path).ok()).filter(is_it);
            by_name.or_else(|| (0..MOST_DESCRIPTORS).filter_map(|fd| file::status(fd).ok()).find(is_it))
        }
    };
    if let Some(fd) = fd {
        let _ = file::close(fd);
    }
    status
}

fn push_name(path: &[u8], out: &mut Writer) {
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
    if let Some(name) = path.strip_prefix(b"/dev/shm/") {
        out.push_str("posix:/");
        out.push_bytes(name);
    } else if let Some(label) = path.strip_prefix(b"/memfd:") {
        out.push_str("memfd:");
        out.push_bytes(label);
    } else if path.starts_with(b"/SYSV") {
        out.push_str("sysv:0x");
        out.push_bytes(&path[5..]);
    } else if path == b"/dev/zero" || path.is_empty() {
        out.push_str("anon:");
    } else {
        out.push_str("file:");
        out.push_bytes(path);
    }
}

/// What was detached last, so that a touch of it can be explained.
#[derive(Clone, Copy)]
struct Gone {
    start: usize,
    end: usize,
    name: Text<96>,
    call: Call,
}

const REMEMBERED: usize = 32;
static GONE: Guarded<([Option<Gone>; REMEMBERED], usize)> = Guarded::new(([None; REMEMBERED], 0));

/// The addresses that are remembered lie between these, so that nobody else has to look.
static GONE_WITHIN: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(0));

/// Remembers a range of shared memory that is about to be unmapped, detached, moved or cut; and forgets what lay where
/// other memory is unmapped now.
pub fn leaving(call: Call, args: &[u64; 6]) {
    let (addr, length) = (args[0] as usize, args[1] as usize);
    let seen = ledger::at(addr, |range, object, segment| {
        if !matches!(range.content, Content::File | Content::Segment) {
            return false;
        }
        let mut name = Text::new();
        match (object, segment) {
            (Some(object), _) if object.kind == Object::Posix => {
                name.push_str("posix:/");
                name.push_bytes(object.name.bytes());
            }
            (Some(object), _) if object.kind == Object::Memfd => {
                name.push_str("memfd:");
                name.push_bytes(object.name.bytes());
            }
            (_, Some(segment)) => {
                name.push_str("segment ");
                name.push_signed(i64::from(segment.id));
            }
            // Removed before it was detached, it is not known by its id any more.
            _ if call == Call::Shmdt => name.push_str("a removed segment"),
            _ => name.push_str("a file"),
        }
        let gone = Gone { start: range.start as usize, end: range.end as usize, name, call };
        GONE.with(|(all, next)| {
            all[*next % REMEMBERED] = Some(gone);
            *next = next.wrapping_add(1);
        });
        GONE_WITHIN.0.fetch_min(gone.start, Relaxed);
        GONE_WITHIN.1.fetch_max(gone.end, Relaxed);
        true
    });
    let end = addr.saturating_add(length);
    if seen != Some(true) && addr < GONE_WITHIN.1.load(Relaxed) && end > GONE_WITHIN.0.load(Relaxed) {
        forget(addr, end);
    }
}

/// What is touched there next is no more what was mapped before.
#[cold]
fn forget(start: usize, end: usize) {
    GONE.with(|(all, _)| {
        for place in all.iter_mut() {
            let Some(gone) = place else { continue };
            if start <= gone.start && end > gone.start {
                gone.start = end;
            } else if start < gone.end && end > gone.start {
                gone.end = start;
            }
            if gone.start >= gone.end {
                *place = None;
            }
        }
    });
}

fn gone_at(address: usize) -> Option<Gone> {
    GONE.with(|(all, next)| {
        let latest = (1..=REMEMBERED).map(|back| all[next.wrapping_sub(back) % REMEMBERED]);
        latest.flatten().find(|gone| (gone.start..gone.end).contains(&address))
    })?
}

/// Says why. Nothing is said of addresses that have nothing to do with shared memory.
fn explain(fault: &Fault) {
    let Fault { signal, address, .. } = *fault;
    let mut words = Text::<512>::new();
    let described = match mapping_at(address) {
        Some(mapping) => describe(fault, &mapping, &mut words),
        None => describe_gone(address, &mut words),
    };
    if !described {
        return;
    }
    account::event(
        Kind::Crashed,
        &Facts { errno: signal, a: address as u64, subject: words.bytes(), ..Facts::default() },
    );
    report::write_line(report::Patience::Bounded, |line, json| {
        let name = if signal == libc::SIGBUS { "SIGBUS" } else { "SIGSEGV" };
        if json {
            line.push_str("{\"schema\":1,\"kind\":\"crash\",\"time_ns\":");
            line.push_number(process::wall_clock_ns());
            line.push_str(",\"pid\":");
            line.push_signed(i64::from(process::pid()));
            line.push_str(",\"signal\":");
            line.push_json(name.as_bytes());
            line.push_str(",\"address\":");
            line.push_number(address as u64);
            line.push_str(",\"cause\":");
            line.push_json(words.bytes());
            line.push_str("}\n");
        } else {
            line.push_str("shmkit[");
            line.push_signed(i64::from(process::pid()));
            line.push_str("] ");
            line.push_str(name);
            line.push_str(" at ");
            line.push_hex(address as u64);
            line.push_str(": ");
            line.push_bytes(words.bytes());
            line.push(b'\n');
        }
    });
}

fn describe(fault: &Fault, mapping: &Mapping, out: &mut Writer) -> bool {
    let Fault { signal, code, address, fetched } = *fault;
    let path = mapping.path.bytes();
    let memory = path.starts_with(b"/dev/shm/") || path.starts_with(b"/memfd:") || path.starts_with(b"/SYSV");
    if !(mapping.shared || memory || signal == libc::SIGBUS && path.starts_with(b"/")) {
        return false;
    }
    let page = page_size() as u64;
    let offset = mapping.offset + (address - mapping.start) as u64;
    out.push_str("byte ");
    out.push_number(offset);
    out.push_str(" of ");
    push_name(path, out);
    out.push_str(": ");
    if signal == libc::SIGSEGV {
        const SEGV_ACCERR: c_int = 2;
        if code != SEGV_ACCERR {
            return false;
        }
        let Some(access) = mapping.access else {
            out.push_str(
                "its protection does not allow what the program did: compare the mapping's PROT_ flags, and mprotect",
            );
            return true;
        };
        if fetched && !access.execute {
            out.push_str("the program jumped to it, and it is not mapped to be executed: look for a wrong pointer to a function, or map it with PROT_EXEC");
            return true;
        }
        out.push_str(match (access.read, access.write) {
            (false, _) => "it is mapped without access (PROT_NONE): mprotect it, or map it with PROT_READ",
            (true, false) => {
                "it is mapped for reading only, and the program wrote to it: map it with PROT_WRITE, or do not write to it"
            }
            (true, true) => "it was touched while its protection was another one",
        });
        return true;
    }
    let then = ledger::at(address, |_, object, _| object.map_or(0, |object| object.size)).unwrap_or(0);
    let Some(status) = status_of(mapping) else {
        out.push_str("its size cannot be told; it is behind the end of the object, or its file system is full");
        return true;
    };
    if offset < status.size.next_multiple_of(page) {
        out.push_str("the object is ");
        out.push_number(status.size);
        out.push_str(" bytes long, but no memory or space could be had for this page");
        let mut name = Text::<280>::new();
        name.push_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path));
        name.push(0);
        let folder = if path.starts_with(b"/dev/shm/") {
            Some(c"/dev/shm")
        } else {
            core::ffi::CStr::from_bytes_until_nul(name.bytes()).ok()
        };
        if let Some(room) = folder.and_then(|folder| file::room_at(folder).ok()).filter(|room| room.capacity > 0) {
            out.push_str(" (its file system has ");
            out.push_number(room.free);
            out.push_str(" bytes free of ");
            out.push_number(room.capacity);
            out.push(b')');
        }
        out.push_str(": reserve it with posix_fallocate, which fails in time");
        return true;
    }
    out.push_str("the object is ");
    out.push_number(status.size);
    out.push_str(" bytes long now");
    if then > status.size {
        out.push_str(" and was ");
        out.push_number(then);
        out.push_str(" when it was mapped: somebody truncated it");
    } else if status.size == 0 {
        out.push_str(": it was never sized; ftruncate it before it is mapped");
    } else {
        out.push_str(": the mapping is longer than the object");
    }
    true
}

fn describe_gone(address: usize, out: &mut Writer) -> bool {
    let Some(gone) = gone_at(address) else { return false };
    out.push_printable(gone.name.bytes());
    out.push_str(" was mapped here, and ");
    out.push_str(match gone.call {
        Call::Shmdt => "detached (shmdt)",
        Call::Mremap => "moved or cut (mremap)",
        _ => "unmapped (munmap)",
    });
    out.push_str(" by this program before it was touched: ");
    out.push_number((address - gone.start) as u64);
    out.push_str(" bytes into it");
    true
}
