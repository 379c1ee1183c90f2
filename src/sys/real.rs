//! The C library's functions that a program may have put its own before: everything here that the interposer
//! (`preload/`) has functions of the same names for goes through this file, and nothing else does.
//! In the library they are the C library's own. In the interposer they are the ones behind it in the order of loading,
//! looked up by name, all of them when the library is loaded; while that is not possible yet, the kernel's. Never checks. Next: `mod.rs`.
#![allow(missing_docs, reason = "each is the function of that name")]

use core::ffi::{c_char, c_int, c_long, c_uint, c_void};

use libc::{key_t, mode_t, off_t, sem_t, sembuf, shmid_ds, sigaction as Action, size_t, stat, timespec};

/// Declares functions by their C declarations. Those of the kernel name its call, for the time before names can be
/// looked up.
#[cfg(not(interposer))]
macro_rules! behind {
    (mod $all:ident; $(extern $abi:literal fn $name:ident($($arg:ident: $type:ty),* $(; $more:ident: $word:ty)*) -> $result:ty $(= $call:ident)?;)*) => {$(
        /// # Safety
        /// As the C library's function.
        #[inline(always)]
        pub unsafe fn $name($($arg: $type,)* $($more: $word),*) -> $result {
            unsafe extern $abi {
                fn $name($($arg: $type,)* $(_: $word),*) -> $result;
            }
            // SAFETY: the caller's promise.
            unsafe { $name($($arg,)* $($more),*) }
        }
    )*};
}

#[cfg(interposer)]
macro_rules! behind {
    (mod $all:ident; $(extern $abi:literal fn $name:ident($($arg:ident: $type:ty),* $(; $more:ident: $word:ty)*) -> $result:ty $(= $call:ident)?;)*) => {$(
        /// # Safety
        /// As the C library's function.
        #[inline]
        pub unsafe fn $name($($arg: $type,)* $($more: $word),*) -> $result {
            let at = $all::$name.get();
            if at == 0 {
                #[allow(unused_variables)]
                let words = [$($arg as usize,)* $($more as usize),*];
                // SAFETY: the caller's promise; the kernel takes words.
                $(return unsafe { $crate::sys::real::kernel(libc::$call, &words) } as $result;)?
                #[allow(unreachable_code)]
                {
                    $crate::sys::set_errno(libc::ENOSYS);
                    return -1isize as $result;
                }
            }
            // SAFETY: the function of this name, which has this declaration.
            let function: unsafe extern $abi fn($($type,)* $($word),*) -> $result = unsafe { core::mem::transmute(at) };
            // SAFETY: the caller's promise.
            unsafe { function($($arg,)* $($more),*) }
        }
    )*

        /// Where these functions are.
        #[allow(non_upper_case_globals, reason = "each is named as its function")]
        pub mod $all {
            use $crate::sys::real::Next;
            $(pub static $name: Next = Next::new(concat!(stringify!($name), "\0"));)*

            /// Looks all of them up.
            pub fn look_up() {
                $($name.look_up();)*
            }
        }
    };
}

#[cfg(interposer)]
pub(crate) use behind;
#[cfg(interposer)]
pub use next::{Next, kernel};

/// The address of a function behind the interposer's.
#[cfg(interposer)]
mod next {
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use crate::sys::process::thread_pointer;

    /// Found when the library is loaded, and before that at the first call; 0 until then. Not later: the loader may be
    /// locked by a thread that waits for this one.
    pub struct Next {
        at: AtomicUsize,
        name: &'static str,
    }

    /// The thread that looks a name up. The loader may allocate meanwhile, and so come here again.
    static LOOKING: AtomicUsize = AtomicUsize::new(0);

    /// The kernel's own call, with up to six words.
    ///
    /// # Safety
    /// As the call.
    pub unsafe fn kernel(call: libc::c_long, words: &[usize]) -> isize {
        let word = |index: usize| words.get(index).copied().unwrap_or(0);
        // SAFETY: the caller's promise; what a call does not take it does not look at.
        unsafe { libc::syscall(call, word(0), word(1), word(2), word(3), word(4), word(5)) as isize }
    }

    #[allow(clippy::new_without_default, reason = "made in statics alone")]
    impl Next {
        /// Not yet looked up. The name ends in a NUL.
        pub const fn new(name: &'static str) -> Next {
            Next { at: AtomicUsize::new(0), name }
        }

        /// The address; 0 while the loader looks up another name for this thread, or knows none.
        #[inline(always)]
        pub fn get(&self) -> usize {
            match self.at.load(Relaxed) {
                0 => self.look_up(),
                at => at,
            }
        }

        /// Asks the loader.
        #[cold]
        pub fn look_up(&self) -> usize {
            let me = thread_pointer();
            if LOOKING.load(Relaxed) == me {
                return 0;
            }
            // Another thread may have it: then a look-up that allocates is not known for what it is, and no worse comes
            // of it than that it is made twice.
            let marked = LOOKING.compare_exchange(0, me, Relaxed, Relaxed).is_ok();
            // SAFETY: the name is terminated: see `new`.
            let at = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr().cast()) } as usize;
            if at == 0 {
                // An older C library has not all of them. The program shall not hear of it when it asks what went wrong.
                // SAFETY: takes no pointers.
                unsafe { libc::dlerror() };
            }
            if marked {
                LOOKING.store(0, Relaxed);
            }
            self.at.store(at, Relaxed);
            at
        }
    }
}

// Calls whose last argument the C library takes as `...` are declared with it as a word: that is how it is passed
// (x86-64 psABI 3.5.7, AAPCS64 6.4.2).
behind! {
    mod all;
    extern "C" fn shm_open(name: *const c_char, oflag: c_int, mode: mode_t) -> c_int;
    extern "C" fn shm_unlink(name: *const c_char) -> c_int;
    extern "C" fn memfd_create(name: *const c_char, flags: c_uint) -> c_int = SYS_memfd_create;
    extern "C" fn mmap(addr: *mut c_void, length: size_t, prot: c_int, flags: c_int, fd: c_int, offset: off_t) -> *mut c_void = SYS_mmap;
    extern "C" fn munmap(addr: *mut c_void, length: size_t) -> c_int = SYS_munmap;
    extern "C" fn mremap(addr: *mut c_void, old: size_t, new: size_t, flags: c_int; to: *mut c_void) -> *mut c_void = SYS_mremap;
    extern "C" fn mprotect(addr: *mut c_void, length: size_t, prot: c_int) -> c_int = SYS_mprotect;
    extern "C" fn msync(addr: *mut c_void, length: size_t, flags: c_int) -> c_int = SYS_msync;
    extern "C" fn madvise(addr: *mut c_void, length: size_t, advice: c_int) -> c_int = SYS_madvise;
    extern "C" fn mlock(addr: *const c_void, length: size_t) -> c_int = SYS_mlock;
    extern "C" fn munlock(addr: *const c_void, length: size_t) -> c_int = SYS_munlock;
    extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int = SYS_ftruncate;
    extern "C" fn posix_fallocate(fd: c_int, offset: off_t, length: off_t) -> c_int;
    extern "C" fn fstat(fd: c_int, buffer: *mut stat) -> c_int = SYS_fstat;
    extern "C" fn close(fd: c_int) -> c_int = SYS_close;
    extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int = SYS_unlinkat;
    extern "C-unwind" fn fcntl(fd: c_int, command: c_int; argument: usize) -> c_int = SYS_fcntl;
    extern "C" fn shmget(key: key_t, size: size_t, flags: c_int) -> c_int = SYS_shmget;
    extern "C" fn shmat(id: c_int, addr: *const c_void, flags: c_int) -> *mut c_void = SYS_shmat;
    extern "C" fn shmdt(addr: *const c_void) -> c_int = SYS_shmdt;
    extern "C" fn shmctl(id: c_int, command: c_int, buffer: *mut shmid_ds) -> c_int = SYS_shmctl;
    extern "C" fn semget(key: key_t, count: c_int, flags: c_int) -> c_int = SYS_semget;
    extern "C" fn semop(id: c_int, steps: *mut sembuf, count: size_t) -> c_int = SYS_semop;
    extern "C" fn semtimedop(id: c_int, steps: *mut sembuf, count: size_t, time: *const timespec) -> c_int = SYS_semtimedop;
    extern "C" fn semctl(id: c_int, number: c_int, command: c_int; argument: usize) -> c_int = SYS_semctl;
    extern "C" fn sem_open(name: *const c_char, oflag: c_int; mode: mode_t; value: c_uint) -> *mut sem_t;
    extern "C" fn sem_unlink(name: *const c_char) -> c_int;
    extern "C" fn sem_close(semaphore: *mut sem_t) -> c_int;
    extern "C" fn sem_init(semaphore: *mut sem_t, shared: c_int, value: c_uint) -> c_int;
    extern "C" fn sem_destroy(semaphore: *mut sem_t) -> c_int;
    extern "C" fn sem_post(semaphore: *mut sem_t) -> c_int;
    extern "C" fn sem_trywait(semaphore: *mut sem_t) -> c_int;
    extern "C" fn sem_getvalue(semaphore: *mut sem_t, value: *mut c_int) -> c_int;
    extern "C-unwind" fn sem_wait(semaphore: *mut sem_t) -> c_int;
    extern "C-unwind" fn sem_timedwait(semaphore: *mut sem_t, time: *const timespec) -> c_int;
    extern "C" fn sigaction(signal: c_int, new: *const Action, old: *mut Action) -> c_int;
}

#[cfg(target_env = "gnu")]
behind! {
    mod of_gnu;
    extern "C-unwind" fn sem_clockwait(semaphore: *mut sem_t, clock: libc::clockid_t, time: *const timespec) -> c_int;
}

const _: () = assert!(size_of::<c_long>() == size_of::<usize>());
