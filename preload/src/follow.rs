//! Children that get an environment of their own: the interposer goes with them, unless SHMKIT_FOLLOW=off; and what
//! became of a process that turns into another program. Two ways are not followed when the environment leaves us out:
//! `system` and `popen` after the program emptied its own one, because the C library begins that shell itself; and on
//! machines other than x86-64 `execle`, because a variadic function cannot be written here. Next: `stage.rs`, which
//! every new image begins with.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::account;
use crate::calls::ledger;
use crate::error::Errno;
use crate::record::state;
use crate::sys::lock::Guarded;
use crate::sys::pages::Array;
use crate::sys::{self, memory, process};
use crate::text::Text;

/// Variables that go with a child.
const NAMES: [&CStr; 9] = [
    c"LD_PRELOAD",
    c"SHMKIT_RUN",
    c"SHMKIT_POLICY",
    c"SHMKIT_REPORT",
    c"SHMKIT_STDERR",
    c"SHMKIT_INJECT",
    c"SHMKIT_SEED",
    c"SHMKIT_TRACE",
    c"SHMKIT_EXPLAIN",
];

struct Kept {
    /// `NAME=VALUE`, terminated, one after the other.
    bytes: Array<u8>,
    on: bool,
}

static KEPT: Guarded<Kept> = Guarded::new(Kept { bytes: Array::new(), on: false });

/// Keeps what children need; or, with SHMKIT_FOLLOW=off, takes it out of the environment.
pub fn begin() {
    if process::environment(c"SHMKIT_FOLLOW", |value| value == b"off") == Some(true) {
        leave();
        return;
    }
    KEPT.with(|kept| {
        for name in NAMES {
            process::environment(name, |value| {
                for byte in name.to_bytes().iter().chain(b"=").chain(value).chain(b"\0") {
                    kept.bytes.push(*byte);
                }
            });
        }
        kept.on = true;
    });
}

/// Takes this library out of LD_PRELOAD.
fn leave() {
    let mut rest = Text::<4096>::new();
    process::environment(c"LD_PRELOAD", |value| {
        let others = value.split(|byte| matches!(byte, b':' | b' ')).filter(|path| !is_own(path) && !path.is_empty());
        for (index, path) in others.enumerate() {
            if index > 0 {
                rest.push(b':');
            }
            rest.push_bytes(path);
        }
    });
    rest.terminate();
    // SAFETY: both strings are terminated; nothing else runs yet.
    unsafe {
        match rest.bytes() {
            b"" => libc::unsetenv(c"LD_PRELOAD".as_ptr()),
            text => libc::setenv(c"LD_PRELOAD".as_ptr(), text.as_ptr().cast(), 1),
        }
    };
}

fn is_own(path: &[u8]) -> bool {
    path.ends_with(b"libshmkit_preload.so")
}

/// Whether an environment can be walked: the kernel answers EFAULT to one that cannot.
fn is_readable(environment: *const *const c_char) -> bool {
    let mut at = environment as usize;
    sys::preserving_errno(|| {
        while at != 0 {
            let mut word = [0; size_of::<usize>()];
            let unreadable = Err(Errno(libc::EFAULT));
            if memory::peek(at, &mut word) == unreadable {
                return false;
            }
            match usize::from_ne_bytes(word) {
                0 => break,
                text if memory::peek(text, &mut [0]) == unreadable => return false,
                _ => at += word.len(),
            }
        }
        true
    })
}

/// Whether an environment has this library in LD_PRELOAD.
///
/// # Safety
/// `environment` is null or a terminated array of terminated strings.
unsafe fn has_us(environment: *const *const c_char) -> bool {
    let mut at = environment;
    // SAFETY: the caller's promise.
    while let Some(text) = unsafe { next_of(&mut at) } {
        if let Some(value) = text.strip_prefix(b"LD_PRELOAD=") {
            return value.split(|byte| matches!(byte, b':' | b' ' | 0)).any(is_own);
        }
    }
    false
}

/// Room for copies of environments. What a child used that shares its parent's memory (vfork) stays in the parent: the
/// child became another program. So room is used again, and not given back.
struct Room {
    /// The thread that uses it, and of which process; 0 and 0 when it is free.
    thread: AtomicUsize,
    process: AtomicI32,
    copy: UnsafeCell<Copied>,
}

struct Copied {
    pointers: Array<usize>,
    preload: Array<u8>,
}

// SAFETY: the copy is only reached by the thread that took the room.
unsafe impl Sync for Room {}

const ROOMS: usize = 64;
static ALL_ROOMS: [Room; ROOMS] = [const {
    Room {
        thread: AtomicUsize::new(0),
        process: AtomicI32::new(0),
        copy: UnsafeCell::new(Copied { pointers: Array::new(), preload: Array::new() }),
    }
}; ROOMS];

impl Room {
    /// Room for this thread. What a child of it left is known by the thread, which a child by vfork shares and which runs
    /// only when that child is gone, and by the process, which is neither this one nor the parent: a signal handler may
    /// have interrupted either just here.
    fn take() -> Option<&'static Room> {
        let (thread, process, own) = (process::thread_pointer(), process::pid(), ledger::process());
        let left = |room: &&Room| {
            let by = room.process.load(Relaxed);
            room.thread.load(Relaxed) == thread && by != process && by != own
        };
        let free = |room: &&Room| room.thread.compare_exchange(0, thread, Acquire, Relaxed).is_ok();
        let room = ALL_ROOMS.iter().find(left).or_else(|| ALL_ROOMS.iter().find(free))?;
        room.process.store(process, Relaxed);
        Some(room)
    }

    fn give_back(&self) {
        self.process.store(0, Relaxed);
        self.thread.store(0, Release);
    }
}

impl Copied {
    /// The environment with what was kept; false where there is no memory for it.
    ///
    /// # Safety
    /// As for `has_us`.
    unsafe fn fill(&mut self, environment: *const *const c_char) -> bool {
        let Copied { pointers, preload } = self;
        pointers.clear();
        preload.clear();
        let whole = KEPT.with(|kept| {
            let own = || kept.bytes.as_slice().split_inclusive(|byte| *byte == 0);
            let mut whole = true;
            let mut at = environment;
            // SAFETY: the caller's promise.
            while let Some(text) = unsafe { next_of(&mut at) } {
                let name = text.split_inclusive(|byte| *byte == b'=').next().unwrap_or_default();
                if name == b"LD_PRELOAD=" {
                    // What the child was to have goes behind ours.
                    let ours = own().find(|own| own.starts_with(name)).unwrap_or_default();
                    let (ours, theirs) = (ours.strip_suffix(b"\0").unwrap_or(ours), &text[name.len()..]);
                    whole &= ours.iter().chain(b":").chain(theirs).all(|byte| preload.push(*byte));
                } else if !own().any(|own| own.starts_with(name)) {
                    whole &= pointers.push(text.as_ptr() as usize);
                }
            }
            for text in own().filter(|own| preload.as_slice().is_empty() || !own.starts_with(b"LD_PRELOAD=")) {
                whole &= pointers.push(text.as_ptr() as usize);
            }
            if !preload.as_slice().is_empty() {
                whole &= pointers.push(preload.as_slice().as_ptr() as usize);
            }
            whole && pointers.push(0)
        });
        whole == Some(true)
    }
}

/// Runs `work` with an environment that we are in: the given one, or a copy of it with what was kept. Where there is no
/// room for a copy, the given one.
///
/// # Safety
/// As for `has_us`.
unsafe fn with_us<R>(environment: *const *const c_char, work: impl FnOnce(*const *const c_char) -> R) -> R {
    // SAFETY: the caller's promise.
    if !KEPT.with(|kept| kept.on).unwrap_or(false) || !is_readable(environment) || unsafe { has_us(environment) } {
        return work(environment);
    }
    let Some(room) = Room::take() else { return work(environment) };
    // SAFETY: the room is this thread's until it is given back; the caller's promise.
    let copy = unsafe {
        let copy = &mut *room.copy.get();
        if copy.fill(environment) { copy.pointers.as_slice().as_ptr().cast() } else { environment }
    };
    let result = work(copy);
    room.give_back();
    result
}

/// The next string of an environment, terminated.
///
/// # Safety
/// As for `has_us`; the strings outlive the result.
unsafe fn next_of<'a>(at: &mut *const *const c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    unsafe {
        if at.is_null() || (**at).is_null() {
            return None;
        }
        let text = CStr::from_ptr(**at).to_bytes_with_nul();
        *at = at.add(1);
        Some(text)
    }
}

/// What surrounds a call that turns this process into another program.
fn replaced(work: impl FnOnce() -> c_int) -> c_int {
    // A child that shares its parent's memory (vfork) must not say that the parent is gone.
    let own = ledger::process() == process::pid();
    if own {
        account::end(state::REPLACED);
    }
    let result = work();
    if own {
        account::end(state::RUNS);
    }
    result
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// The program's own environment, which it may have emptied.
fn own_environment() -> *const *const c_char {
    // SAFETY: the C library's variable; a program that changes it meanwhile in another thread breaks its own rule.
    unsafe { environ }
}

crate::sys::real::behind! {
    mod names;
    extern "C" fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int = SYS_execve;
    extern "C" fn execvpe(file: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    extern "C" fn fexecve(fd: c_int, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    extern "C" fn execveat(folder: c_int, path: *const c_char, argv: *const *const c_char, envp: *const *const c_char, flags: c_int) -> c_int = SYS_execveat;
    extern "C" fn posix_spawn(pid: *mut libc::pid_t, path: *const c_char, actions: *const c_void, attributes: *const c_void, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    extern "C" fn posix_spawnp(pid: *mut libc::pid_t, file: *const c_char, actions: *const c_void, attributes: *const c_void, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
}

mod hooks {
    use super::{c_char, c_int, c_void, own_environment, replaced, with_us};

    type Strings = *const *const c_char;

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn execve(path: *const c_char, argv: Strings, envp: Strings) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { with_us(envp, |envp| replaced(|| super::execve(path, argv, envp))) }
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn execv(path: *const c_char, argv: Strings) -> c_int {
        // SAFETY: the caller's promise; execv(3) is this by definition.
        unsafe { execve(path, argv, own_environment()) }
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn execvp(file: *const c_char, argv: Strings) -> c_int {
        // SAFETY: the caller's promise; execvp(3) is this by definition.
        unsafe { execvpe(file, argv, own_environment()) }
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn execvpe(file: *const c_char, argv: Strings, envp: Strings) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { with_us(envp, |envp| replaced(|| super::execvpe(file, argv, envp))) }
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn fexecve(fd: c_int, argv: Strings, envp: Strings) -> c_int {
        // SAFETY: the caller's promise. Of all these the C library refuses this one without an environment.
        unsafe {
            if envp.is_null() {
                return super::fexecve(fd, argv, envp);
            }
            with_us(envp, |envp| replaced(|| super::fexecve(fd, argv, envp)))
        }
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn execveat(
        folder: c_int,
        path: *const c_char,
        argv: Strings,
        envp: Strings,
        flags: c_int,
    ) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { with_us(envp, |envp| replaced(|| super::execveat(folder, path, argv, envp, flags))) }
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn posix_spawn(
        pid: *mut libc::pid_t,
        path: *const c_char,
        actions: *const c_void,
        attributes: *const c_void,
        argv: Strings,
        envp: Strings,
    ) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { with_us(envp, |envp| super::posix_spawn(pid, path, actions, attributes, argv, envp)) }
    }

    /// # Safety
    /// As the C library's function.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn posix_spawnp(
        pid: *mut libc::pid_t,
        file: *const c_char,
        actions: *const c_void,
        attributes: *const c_void,
        argv: Strings,
        envp: Strings,
    ) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { with_us(envp, |envp| super::posix_spawnp(pid, file, actions, attributes, argv, envp)) }
    }
}

/// The variadic ones. Their arguments lie in registers and, behind those, on the stack: the registers are put there
/// too, and the list is the argv that the others take, with its null pointer and, for `execle`, the environment behind
/// it.
#[cfg(target_arch = "x86_64")]
mod lists {
    use super::{c_char, c_int, hooks, own_environment};

    type Strings = *const *const c_char;

    macro_rules! lists {
        ($(fn $function:ident: $work:ident;)*) => {$(
            /// # Safety
            /// As the C library's function.
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $function(path: *const c_char, first: *const c_char) -> c_int {
                core::arch::naked_asm!(
                    "pop rax",
                    "push r9",
                    "push r8",
                    "push rcx",
                    "push rdx",
                    "push rsi",
                    "mov rsi, rsp",
                    // The way back; it also aligns the stack.
                    "push rax",
                    "call {work}",
                    "pop rcx",
                    "add rsp, 40",
                    "push rcx",
                    "ret",
                    work = sym $work,
                )
            }
        )*};
    }

    lists! {
        fn execl: with_own;
        fn execlp: searched;
        fn execle: with_given;
    }

    unsafe extern "C" fn with_own(path: *const c_char, argv: Strings) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { hooks::execve(path, argv, own_environment()) }
    }

    unsafe extern "C" fn searched(file: *const c_char, argv: Strings) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { hooks::execvpe(file, argv, own_environment()) }
    }

    unsafe extern "C" fn with_given(path: *const c_char, argv: Strings) -> c_int {
        // SAFETY: the caller's promise: a null pointer ends the list, and the environment comes behind it.
        unsafe {
            let mut at = argv;
            while !(*at).is_null() {
                at = at.add(1);
            }
            hooks::execve(path, argv, at.add(1).cast::<Strings>().read())
        }
    }
}
