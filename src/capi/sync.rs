//! Synchronisation in shared memory: shmkit_mutex_ and the others.
//! The fast way of each call is in `sync/object.rs` and is tried first; what it cannot do is a failure, or waits.

use core::ffi::{c_int, c_void};

use super::error::shmkit_status_t;
use super::is_plausible;
use super::outcome::{Subject, place, run};
use crate::checks::words::Call;
use crate::error::Status;
use crate::region::{Failure, Outcome};
use crate::sync::object::{
    self, BARRIER_SIZE, Fast, Kind, MUTEX_SIZE, PARTIES, PERMITS, PERMITS_SIZE, RWLOCK_SIZE, SMALL_SIZE, Wait,
};
use crate::sys::futex::{Object, Word};

/// shmkit_robust_sem_init(): the most permits.
pub const SHMKIT_ROBUST_SEM_MAX: u32 = 64;
/// shmkit_barrier_init(): the most threads.
pub const SHMKIT_BARRIER_MAX: u32 = 64;
/// shmkit_semaphore_init(), shmkit_semaphore_post(): the largest value.
pub const SHMKIT_SEM_VALUE_MAX: u32 = 0x3fff_ffff;
const _: () = assert!(SHMKIT_ROBUST_SEM_MAX as usize == PERMITS && SHMKIT_BARRIER_MAX as usize == PARTIES);
const _: () = assert!(SHMKIT_SEM_VALUE_MAX == crate::sync::semaphore::MOST);

/// A mutex: one thread at a time holds it, and its death is told to the next. Its bytes are the library's.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_mutex_t {
    bytes: [u8; 64],
}

/// A readers-writer lock: many readers, each on a cache line of its own, or one writer. Its bytes are the library's.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_rwlock_t {
    bytes: [u8; 2048],
}

/// A condition variable, for use with a shmkit_mutex_t. Its bytes are the library's.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_cond_t {
    bytes: [u8; 32],
}

/// A counting semaphore, whose functions are shmkit_semaphore_, because shmkit_sem_ are the checked calls of sem_t. It
/// does not know who took a permit: see shmkit_robust_sem_t. Its bytes are the library's.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_sem_t {
    bytes: [u8; 32],
}

/// A semaphore whose permits come back when the thread that took them dies. Its bytes are the library's.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_robust_sem_t {
    bytes: [u8; 1088],
}

/// A barrier, at which a number of threads wait for each other. Its bytes are the library's.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_barrier_t {
    bytes: [u8; 2688],
}

/// Work that is done once, by whoever comes first. All zeros is one that nobody has begun. Its bytes are the library's.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_once_t {
    bytes: [u8; 64],
}

/// An event count: the piece on which everything here waits, for building more. Its bytes are the library's.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub struct shmkit_event_t {
    bytes: [u8; 32],
}

/// How large an object of a type is.
trait Placed<const SIZE: usize> {}
impl Placed<MUTEX_SIZE> for shmkit_mutex_t {}
impl Placed<RWLOCK_SIZE> for shmkit_rwlock_t {}
impl Placed<SMALL_SIZE> for shmkit_cond_t {}
impl Placed<SMALL_SIZE> for shmkit_sem_t {}
impl Placed<PERMITS_SIZE> for shmkit_robust_sem_t {}
impl Placed<BARRIER_SIZE> for shmkit_barrier_t {}
impl Placed<MUTEX_SIZE> for shmkit_once_t {}
impl Placed<SMALL_SIZE> for shmkit_event_t {}

/// An object of the program's.
fn object<const SIZE: usize, T: Placed<SIZE>>(at: *const T) -> Outcome<Object<SIZE>> {
    const { assert!(size_of::<T>() == SIZE) };
    match is_plausible(at as usize) && (at as usize).is_multiple_of(align_of::<T>()) {
        // SAFETY: aligned; every function here asks that the object is mapped while it is used, and the kernel is asked
        // before it is touched for the first time.
        true => Ok(unsafe { Object::new(at as usize) }),
        false if is_plausible(at as usize) => Err(Failure::new(
            Status::ErrInvalidArgument,
            "the object is not aligned as its type is",
            "place it in a struct or at an offset that is a multiple of its alignment, _Alignof(type)",
        )),
        false => Err(Failure::of(Status::ErrBadPointer)),
    }
}

/// The same for the fast ways, which ask nothing: a page that is known to be writable cannot be a wrong address. A
/// larger object may reach into another page: there they read, and it is mapped, for an object is mapped as a whole or not
/// at all; what they write there is a slot that the slow way gave to this thread.
#[inline(always)]
fn near<const SIZE: usize, T: Placed<SIZE>>(at: *const T) -> Option<Object<SIZE>> {
    const { assert!(size_of::<T>() == SIZE) };
    // SAFETY: aligned, as in `object`.
    (at as usize).is_multiple_of(align_of::<T>()).then(|| unsafe { Object::new(at as usize) })
}

/// The arguments after the object, for the words of a failure.
#[repr(C)]
struct Args(u64, u64);

const NONE: Args = Args(0, 0);
const FOREVER: Wait = Wait::Until(u64::MAX);

/// Runs the slow way of a call. By the C ABI nothing unwinds out of it: so the exported functions end in a jump to it,
/// and save no registers for their fast way.
#[cold]
#[inline(never)]
#[allow(improper_ctypes_definitions, reason = "no C is on the other side")]
extern "C" fn call<const SIZE: usize, T: Placed<SIZE>, W: FnOnce(Object<SIZE>) -> Outcome<()>>(
    call: Call,
    at: *const T,
    args: Args,
    work: W,
) -> shmkit_status_t {
    run(call, Subject::None, [at as u64, args.0, args.1, 0, 0, 0], || work(object(at)?))
}

/// What follows a fast way that came no further.
#[cold]
#[inline(never)]
extern "C" fn give_up(word: Word) -> shmkit_status_t {
    object::give_up(word);
    OK
}

#[cold]
#[inline(never)]
extern "C" fn wake_writer(slot: Word) -> shmkit_status_t {
    object::wake_writer(slot);
    OK
}

#[cold]
#[inline(never)]
extern "C" fn post_rest(sem: *const shmkit_sem_t, before: u32) -> shmkit_status_t {
    // No `call` that the post is a part of: it is done, and its end is async-signal-safe unless it is an error.
    let Some(at) = near(sem) else { return OK };
    match object::semaphore_post_rest(at, before) {
        Ok(()) => OK,
        Err(failure) => run(Call::SemaphorePost, Subject::None, [sem as u64, 0, 0, 0, 0, 0], || Err(failure)),
    }
}

const OK: shmkit_status_t = Status::Ok as shmkit_status_t;

/// Prepares a mutex in memory that nobody else uses yet, best in the init callback of a region.
///
/// It belongs to the pid namespace of its maker: threads of that one have the short way, threads of two others a longer
/// one. Errors: SHMKIT_ERR_ACCESS (the memory is mapped read-only), SHMKIT_ERR_BAD_POINTER, SHMKIT_ERR_UNSUPPORTED (no
/// robust futexes here). Not for a mutex that is in use. As pthread_mutex_init(3) with PTHREAD_MUTEX_ROBUST and
/// PROCESS_SHARED.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_mutex_init(mutex: *mut shmkit_mutex_t) -> shmkit_status_t {
    call(Call::MutexInit, mutex, NONE, object::mutex_init)
}

/// Makes every later use an error. Errors: SHMKIT_ERR_BUSY (somebody holds it).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_mutex_destroy(mutex: *mut shmkit_mutex_t) -> shmkit_status_t {
    call(Call::MutexDestroy, mutex, NONE, |at| object::destroy(at, Kind::Mutex))
}

/// Locks a mutex, waiting for its holder.
///
/// SHMKIT_ERR_OWNER_DIED: the holder died, and **the mutex is locked** by the caller: repair what it guards, then call
/// shmkit_mutex_consistent(), or shmkit_mutex_abandon(). Unlocking without either leaves the damage to the next one,
/// who is told as well. Other errors: SHMKIT_ERR_DEADLOCK (this thread has it), SHMKIT_ERR_NOT_RECOVERABLE (abandoned),
/// SHMKIT_ERR_UNINITIALISED, SHMKIT_ERR_LAYOUT (another version, C library or object), SHMKIT_ERR_ACCESS (read-only
/// memory), SHMKIT_ERR_BAD_POINTER, SHMKIT_ERR_LIMIT (a fourth pid namespace), SHMKIT_ERR_UNSUPPORTED. A hot path. The
/// memory must stay mapped while it is held. Not a cancellation point, and goes on after a signal handler; not
/// async-signal-safe. As pthread_mutex_lock(3).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_mutex_lock(mutex: *mut shmkit_mutex_t) -> shmkit_status_t {
    if let Some(at) = near(mutex)
        && object::lock_fast(at)
    {
        return OK;
    }
    call(Call::MutexLock, mutex, NONE, |at| object::mutex_lock(at, FOREVER))
}

/// Locks a mutex if it is free. SHMKIT_ERR_BUSY: it is not. Otherwise as shmkit_mutex_lock().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_mutex_trylock(mutex: *mut shmkit_mutex_t) -> shmkit_status_t {
    if let Some(at) = near(mutex)
        && object::lock_fast(at)
    {
        return OK;
    }
    call(Call::MutexTryLock, mutex, NONE, |at| object::mutex_lock(at, Wait::No))
}

/// Locks a mutex, waiting `timeout_ns` nanoseconds of the monotonic clock at most: 0 not at all, SHMKIT_TIMEOUT_FOREVER
/// without end. SHMKIT_ERR_TIMEOUT when they are over. Otherwise as shmkit_mutex_lock().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_mutex_timedlock(mutex: *mut shmkit_mutex_t, timeout_ns: u64) -> shmkit_status_t {
    if let Some(at) = near(mutex)
        && object::lock_fast(at)
    {
        return OK;
    }
    call(Call::MutexTimedLock, mutex, Args(timeout_ns, 0), |at| object::mutex_lock(at, Wait::of(timeout_ns)))
}

/// Unlocks a mutex that this thread has locked.
///
/// SHMKIT_ERR_NOT_OWNER: it has not; a forked child does not hold what its parent holds. A hot path.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_mutex_unlock(mutex: *mut shmkit_mutex_t) -> shmkit_status_t {
    if let Some(at) = near(mutex) {
        match object::unlock_fast(at) {
            Fast::Done => return OK,
            Fast::Rest(word) => return give_up(word),
            Fast::No => {}
        }
    }
    call(Call::MutexUnlock, mutex, NONE, object::mutex_unlock)
}

/// After SHMKIT_ERR_OWNER_DIED: what the mutex guards is whole again. As pthread_mutex_consistent(3).
///
/// Errors: SHMKIT_ERR_NOT_OWNER, SHMKIT_ERR_INVALID_ARGUMENT (nobody died).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_mutex_consistent(mutex: *mut shmkit_mutex_t) -> shmkit_status_t {
    call(Call::MutexConsistent, mutex, NONE, |at| object::consistent(at, Kind::Mutex))
}

/// Gives a locked mutex up for ever: what it guards cannot be repaired. Everybody who waits for it, and whoever comes
/// later, gets SHMKIT_ERR_NOT_RECOVERABLE, until it is initialised anew.
///
/// Errors: SHMKIT_ERR_NOT_OWNER.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_mutex_abandon(mutex: *mut shmkit_mutex_t) -> shmkit_status_t {
    call(Call::MutexAbandon, mutex, NONE, |at| object::abandon(at, Kind::Mutex))
}

#[inline(always)]
fn read_lock(name: Call, rwlock: *const shmkit_rwlock_t, args: Args, wait: impl FnOnce() -> Wait) -> shmkit_status_t {
    let mut again = None;
    if let Some(at) = near(rwlock) {
        match object::read_fast(at) {
            Fast::Done => return OK,
            Fast::Rest(slot) => again = Some(slot),
            Fast::No => {}
        }
    }
    match again {
        Some(slot) => call(name, rwlock, args, move |at| {
            object::read_not(at, slot);
            object::read_lock(at, wait())
        }),
        None => call(name, rwlock, args, move |at| object::read_lock(at, wait())),
    }
}

/// Prepares a readers-writer lock in memory that nobody else uses yet; otherwise as shmkit_mutex_init().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_init(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    call(Call::RwlockInit, rwlock, NONE, object::rwlock_init)
}

/// Makes every later use an error. Errors: SHMKIT_ERR_BUSY (somebody writes; readers are not looked for).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_destroy(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    call(Call::RwlockDestroy, rwlock, NONE, |at| object::destroy(at, Kind::RwLock))
}

/// Locks for reading, together with other readers.
///
/// SHMKIT_ERR_OWNER_DIED: a writer died, and the caller has the lock **for writing**: repair,
/// shmkit_rwlock_consistent(), unlock. A dead reader is nobody's concern: its lock is gone. SHMKIT_ERR_DEADLOCK: this
/// thread writes, or reads already while a writer waits. Other errors as from shmkit_mutex_lock(). A hot path: readers
/// on different processors share no cache line, 31 of them at once; more share the writers' lock. Writers and readers
/// that wait are let in as they came, so neither starves the other, while nobody holds it for longer than 250
/// milliseconds: then the order is any. One that was woken and gets no processor for 5 milliseconds may be overtaken.
/// Not async-signal-safe. As pthread_rwlock_rdlock(3).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_read_lock(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    read_lock(Call::RwlockReadLock, rwlock, NONE, || FOREVER)
}

/// Locks for reading if nobody writes or waits to. SHMKIT_ERR_BUSY: somebody does, also where this thread reads already.
/// Otherwise as shmkit_rwlock_read_lock().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_try_read_lock(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    read_lock(Call::RwlockTryReadLock, rwlock, NONE, || Wait::No)
}

/// Locks for reading, waiting `timeout_ns` nanoseconds at most, as shmkit_mutex_timedlock() counts them.
/// SHMKIT_ERR_TIMEOUT when they are over. Otherwise as shmkit_rwlock_read_lock().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_timed_read_lock(rwlock: *mut shmkit_rwlock_t, timeout_ns: u64) -> shmkit_status_t {
    read_lock(Call::RwlockTimedReadLock, rwlock, Args(timeout_ns, 0), || Wait::of(timeout_ns))
}

/// Locks for writing, alone.
///
/// SHMKIT_ERR_OWNER_DIED: a writer died, and the lock is the caller's: repair, shmkit_rwlock_consistent(), unlock.
/// SHMKIT_ERR_DEADLOCK: this thread has it already, for writing or reading. Other errors as from shmkit_mutex_lock().
/// As pthread_rwlock_wrlock(3).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_write_lock(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    if let Some(at) = near(rwlock)
        && object::write_fast(at)
    {
        return OK;
    }
    call(Call::RwlockWriteLock, rwlock, NONE, |at| object::write_lock(at, FOREVER))
}

/// Locks for writing if nobody has the lock. SHMKIT_ERR_BUSY: somebody has. Otherwise as shmkit_rwlock_write_lock().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_try_write_lock(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    call(Call::RwlockTryWriteLock, rwlock, NONE, |at| object::write_lock(at, Wait::No))
}

/// Locks for writing, waiting `timeout_ns` nanoseconds at most, as shmkit_mutex_timedlock() counts them.
/// SHMKIT_ERR_TIMEOUT when they are over. Otherwise as shmkit_rwlock_write_lock().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_timed_write_lock(rwlock: *mut shmkit_rwlock_t, timeout_ns: u64) -> shmkit_status_t {
    call(Call::RwlockTimedWriteLock, rwlock, Args(timeout_ns, 0), |at| object::write_lock(at, Wait::of(timeout_ns)))
}

/// Unlocks, whichever way this thread has the lock. SHMKIT_ERR_NOT_OWNER: it has not. A hot path for readers.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_unlock(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    if let Some(at) = near(rwlock) {
        match object::read_unlock_fast(at) {
            Fast::Done => return OK,
            Fast::Rest(slot) => return wake_writer(slot),
            Fast::No => {}
        }
    }
    write_unlock(rwlock)
}

/// A function of its own, so that unlocking after reading needs no frame.
#[inline(never)]
extern "C" fn write_unlock(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    if let Some(at) = near(rwlock) {
        match object::write_unlock_fast(at) {
            Fast::Done => return OK,
            Fast::Rest(word) => return give_up(word),
            Fast::No => {}
        }
    }
    call(Call::RwlockUnlock, rwlock, NONE, object::rwlock_unlock)
}

/// After SHMKIT_ERR_OWNER_DIED: what the lock guards is whole again. As shmkit_mutex_consistent().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_consistent(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    call(Call::RwlockConsistent, rwlock, NONE, |at| object::consistent(at, Kind::RwLock))
}

/// Gives a lock that is held for writing up for ever. As shmkit_mutex_abandon().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_rwlock_abandon(rwlock: *mut shmkit_rwlock_t) -> shmkit_status_t {
    call(Call::RwlockAbandon, rwlock, NONE, |at| object::abandon(at, Kind::RwLock))
}

/// Prepares a condition variable; otherwise as shmkit_mutex_init().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_cond_init(cond: *mut shmkit_cond_t) -> shmkit_status_t {
    call(Call::CondInit, cond, NONE, |at| object::small_init(at, Kind::Cond))
}

/// Makes every later use an error; who waits now is not looked for.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_cond_destroy(cond: *mut shmkit_cond_t) -> shmkit_status_t {
    call(Call::CondDestroy, cond, NONE, |at| object::destroy(at, Kind::Cond))
}

/// Unlocks the mutex, waits for a signal, and locks the mutex again; all three belong together.
///
/// Returns without a signal now and then: call it in a loop that looks at the condition. Whoever changes the condition
/// holds the mutex when it does. SHMKIT_ERR_OWNER_DIED: the mutex is locked, and its last holder died.
/// SHMKIT_ERR_NOT_OWNER: the caller has not locked it. SHMKIT_ERR_NOT_RECOVERABLE: it was abandoned meanwhile, and is
/// not locked. With any other error, as from shmkit_mutex_lock(), nothing was begun, and the mutex is as it was. A waiter
/// that dies disturbs nobody; if it had just been signalled, another one looks again within a quarter of a second. Not a
/// cancellation point. As pthread_cond_wait(3).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_cond_wait(cond: *mut shmkit_cond_t, mutex: *mut shmkit_mutex_t) -> shmkit_status_t {
    call(Call::CondWait, cond, Args(mutex as u64, 0), |at| object::cond_wait(at, object(mutex)?, FOREVER))
}

/// As shmkit_cond_wait(), for `timeout_ns` nanoseconds at most. SHMKIT_ERR_TIMEOUT: they are over, and the mutex is
/// locked.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_cond_timedwait(
    cond: *mut shmkit_cond_t,
    mutex: *mut shmkit_mutex_t,
    timeout_ns: u64,
) -> shmkit_status_t {
    call(Call::CondTimedWait, cond, Args(mutex as u64, timeout_ns), |at| {
        object::cond_wait(at, object(mutex)?, Wait::of(timeout_ns))
    })
}

/// Wakes one who waits, if anybody does. A hot path when nobody does. As pthread_cond_signal(3).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_cond_signal(cond: *mut shmkit_cond_t) -> shmkit_status_t {
    if let Some(at) = near(cond)
        && object::signal_fast(at)
    {
        return OK;
    }
    call(Call::CondSignal, cond, NONE, |at| object::signal(at, 1))
}

/// Wakes all who wait. A hot path when nobody does. As pthread_cond_broadcast(3).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_cond_broadcast(cond: *mut shmkit_cond_t) -> shmkit_status_t {
    if let Some(at) = near(cond)
        && object::signal_fast(at)
    {
        return OK;
    }
    call(Call::CondBroadcast, cond, NONE, |at| object::signal(at, u32::MAX))
}

/// Prepares a semaphore with a value; otherwise as shmkit_mutex_init(). At most SHMKIT_SEM_VALUE_MAX.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_semaphore_init(sem: *mut shmkit_sem_t, value: u32) -> shmkit_status_t {
    call(Call::SemaphoreInit, sem, Args(u64::from(value), 0), |at| object::semaphore_init(at, value))
}

/// Makes every later use an error; who waits now is not looked for.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_semaphore_destroy(sem: *mut shmkit_sem_t) -> shmkit_status_t {
    call(Call::SemaphoreDestroy, sem, NONE, |at| object::destroy(at, Kind::Semaphore))
}

/// Takes a permit, waiting until there is one.
///
/// Who dies with a permit keeps it for ever: shmkit_robust_sem_t gives it back. Errors: SHMKIT_ERR_UNINITIALISED,
/// SHMKIT_ERR_LAYOUT, SHMKIT_ERR_ACCESS, SHMKIT_ERR_BAD_POINTER. A hot path. Goes on after a signal handler, and is no
/// cancellation point. As sem_wait(3).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_semaphore_wait(sem: *mut shmkit_sem_t) -> shmkit_status_t {
    if let Some(at) = near(sem)
        && object::semaphore_wait_fast(at)
    {
        return OK;
    }
    call(Call::SemaphoreWait, sem, NONE, |at| object::semaphore_wait(at, FOREVER))
}

/// Takes a permit if there is one. SHMKIT_ERR_BUSY: there is none. Otherwise as shmkit_semaphore_wait().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_semaphore_trywait(sem: *mut shmkit_sem_t) -> shmkit_status_t {
    if let Some(at) = near(sem)
        && object::semaphore_wait_fast(at)
    {
        return OK;
    }
    call(Call::SemaphoreTryWait, sem, NONE, |at| object::semaphore_wait(at, Wait::No))
}

/// Takes a permit, waiting `timeout_ns` nanoseconds at most, as shmkit_mutex_timedlock() counts them.
/// SHMKIT_ERR_TIMEOUT when they are over. Otherwise as shmkit_semaphore_wait().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_semaphore_timedwait(sem: *mut shmkit_sem_t, timeout_ns: u64) -> shmkit_status_t {
    if let Some(at) = near(sem)
        && object::semaphore_wait_fast(at)
    {
        return OK;
    }
    call(Call::SemaphoreTimedWait, sem, Args(timeout_ns, 0), |at| object::semaphore_wait(at, Wait::of(timeout_ns)))
}

/// Gives a permit, and wakes one who waits. SHMKIT_ERR_OVERFLOW: there are SHMKIT_SEM_VALUE_MAX.
///
/// Async-signal-safe for a semaphore that this thread has used before. A hot path. As sem_post(3).
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_semaphore_post(sem: *mut shmkit_sem_t) -> shmkit_status_t {
    if let Some(at) = near(sem)
        && let Some(posted) = object::semaphore_post_fast(at)
    {
        return match posted {
            Ok(()) => OK,
            Err(before) => post_rest(sem, before),
        };
    }
    call(Call::SemaphorePost, sem, NONE, object::semaphore_post)
}

/// Gives the value, which may have changed by then. As sem_getvalue(3).
///
/// # Safety
/// `value` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_semaphore_value(sem: *mut shmkit_sem_t, value: *mut u32) -> shmkit_status_t {
    call(Call::SemaphoreValue, sem, Args(value as u64, 0), |at| {
        let value = place(value)?;
        let found = object::semaphore_value(at)?;
        // SAFETY: the caller's promise.
        unsafe { value.write(found) };
        Ok(())
    })
}

/// Prepares a robust semaphore of 1 to SHMKIT_ROBUST_SEM_MAX permits; otherwise as shmkit_mutex_init().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_robust_sem_init(robust_sem: *mut shmkit_robust_sem_t, permits: u32) -> shmkit_status_t {
    call(Call::RobustSemInit, robust_sem, Args(u64::from(permits), 0), |at| object::permits_init(at, permits))
}

/// Makes every later use an error; who holds permits is not looked for.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_robust_sem_destroy(robust_sem: *mut shmkit_robust_sem_t) -> shmkit_status_t {
    call(Call::RobustSemDestroy, robust_sem, NONE, |at| object::destroy(at, Kind::Permits))
}

/// Takes a permit, waiting until there is one. It is this thread's, and is free again when the thread dies.
///
/// Who waits for a permit of a dead one has it within a twentieth of a second. Errors as from shmkit_mutex_lock(),
/// without SHMKIT_ERR_OWNER_DIED.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_robust_sem_wait(robust_sem: *mut shmkit_robust_sem_t) -> shmkit_status_t {
    call(Call::RobustSemWait, robust_sem, NONE, |at| object::permits_wait(at, FOREVER))
}

/// Takes a permit if there is one. SHMKIT_ERR_BUSY: there is none. Otherwise as shmkit_robust_sem_wait().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_robust_sem_trywait(robust_sem: *mut shmkit_robust_sem_t) -> shmkit_status_t {
    call(Call::RobustSemTryWait, robust_sem, NONE, |at| object::permits_wait(at, Wait::No))
}

/// Takes a permit, waiting `timeout_ns` nanoseconds at most, as shmkit_mutex_timedlock() counts them.
/// SHMKIT_ERR_TIMEOUT when they are over. Otherwise as shmkit_robust_sem_wait().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_robust_sem_timedwait(
    robust_sem: *mut shmkit_robust_sem_t,
    timeout_ns: u64,
) -> shmkit_status_t {
    call(Call::RobustSemTimedWait, robust_sem, Args(timeout_ns, 0), |at| object::permits_wait(at, Wait::of(timeout_ns)))
}

/// Gives back a permit that this thread took. SHMKIT_ERR_NOT_OWNER: it has none.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_robust_sem_post(robust_sem: *mut shmkit_robust_sem_t) -> shmkit_status_t {
    call(Call::RobustSemPost, robust_sem, NONE, object::permits_post)
}

/// Gives the number of free permits, which may have changed by then.
///
/// # Safety
/// `value` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_robust_sem_value(
    robust_sem: *mut shmkit_robust_sem_t,
    value: *mut u32,
) -> shmkit_status_t {
    call(Call::RobustSemValue, robust_sem, Args(value as u64, 0), |at| {
        let value = place(value)?;
        let found = object::permits_value(at)?;
        // SAFETY: the caller's promise.
        unsafe { value.write(found) };
        Ok(())
    })
}

/// Prepares a barrier for 1 to SHMKIT_BARRIER_MAX threads; otherwise as shmkit_mutex_init().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_init(barrier: *mut shmkit_barrier_t, count: u32) -> shmkit_status_t {
    call(Call::BarrierInit, barrier, Args(u64::from(count), 0), |at| object::barrier_init(at, count))
}

/// Makes every later use an error; who waits now is not looked for.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_destroy(barrier: *mut shmkit_barrier_t) -> shmkit_status_t {
    call(Call::BarrierDestroy, barrier, NONE, |at| object::destroy(at, Kind::Barrier))
}

/// Waits until as many threads as the barrier is for are here. Sets `*serial`, unless it is NULL, in one of them.
///
/// SHMKIT_ERR_OWNER_DIED: one who waited, or had joined, died; everybody who waits and whoever comes later is told,
/// until shmkit_barrier_reset(). It is noticed within a twentieth of a second. SHMKIT_ERR_LIMIT: more threads than
/// there are places. Other errors as from shmkit_mutex_lock(). As pthread_barrier_wait(3).
///
/// # Safety
/// `serial` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_barrier_wait(barrier: *mut shmkit_barrier_t, serial: *mut bool) -> shmkit_status_t {
    call(Call::BarrierWait, barrier, Args(serial as u64, 0), |at| {
        let serial = if serial.is_null() { None } else { Some(place(serial)?) };
        let last = object::barrier_wait(at, FOREVER)?;
        if let Some(serial) = serial {
            // SAFETY: the caller's promise.
            unsafe { serial.write(last) };
        }
        Ok(())
    })
}

/// As shmkit_barrier_wait(), for `timeout_ns` nanoseconds at most. SHMKIT_ERR_TIMEOUT: they are over, and this thread
/// has not arrived.
///
/// # Safety
/// `serial` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_barrier_timedwait(
    barrier: *mut shmkit_barrier_t,
    timeout_ns: u64,
    serial: *mut bool,
) -> shmkit_status_t {
    call(Call::BarrierTimedWait, barrier, Args(timeout_ns, serial as u64), |at| {
        let serial = if serial.is_null() { None } else { Some(place(serial)?) };
        let last = object::barrier_wait(at, Wait::of(timeout_ns))?;
        if let Some(serial) = serial {
            // SAFETY: the caller's promise.
            unsafe { serial.write(last) };
        }
        Ok(())
    })
}

/// Takes part from now on: if this thread dies before it arrives, that breaks the barrier too. Without it only the
/// deaths of those who wait are noticed. SHMKIT_ERR_EXISTS: it takes part.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_join(barrier: *mut shmkit_barrier_t) -> shmkit_status_t {
    call(Call::BarrierJoin, barrier, NONE, object::barrier_join)
}

/// Takes part no longer. SHMKIT_ERR_NOT_OWNER: this thread did not join.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_leave(barrier: *mut shmkit_barrier_t) -> shmkit_status_t {
    call(Call::BarrierLeave, barrier, NONE, object::barrier_leave)
}

/// Makes a broken barrier whole; does nothing to another one.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_barrier_reset(barrier: *mut shmkit_barrier_t) -> shmkit_status_t {
    call(Call::BarrierReset, barrier, NONE, object::barrier_reset)
}

/// Makes it as if nothing had been done. Memory that is all zeros, as a new region's, needs no call.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_once_init(once: *mut shmkit_once_t) -> shmkit_status_t {
    call(Call::OnceInit, once, NONE, object::once_init)
}

/// The work of a shmkit_once_t: 0 when it is done, anything else when it could not be. Must return: no exception, no
/// longjmp.
#[allow(non_camel_case_types, reason = "the name of the C type")]
pub type shmkit_once_fn = Option<unsafe extern "C" fn(user: *mut c_void) -> c_int>;

/// Does the work if nobody has done it, waits while somebody does it, and returns when it is done.
///
/// Who dies in the midst of it is followed by the next one, who does it from the beginning: the work must stand that.
/// SHMKIT_ERR_CALLBACK: the work said that it could not be done; the next one tries. SHMKIT_ERR_DEADLOCK: the work
/// calls for itself. Other errors as from shmkit_mutex_lock(). A hot path when it is done. As pthread_once(3).
///
/// # Safety
/// `work` returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_once_run(
    once: *mut shmkit_once_t,
    work: shmkit_once_fn,
    user: *mut c_void,
) -> shmkit_status_t {
    if let Some(at) = near(once)
        && object::once_is_done(at)
    {
        return OK;
    }
    call(Call::OnceRun, once, NONE, |at| {
        let Some(work) = work else { return Err(Failure::of(Status::ErrBadPointer)) };
        if !object::once_begin(at)? {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let answer = unsafe { work(user) };
        object::once_end(at, answer == 0)?;
        match answer {
            0 => Ok(()),
            _ => Err(Failure::new(
                Status::ErrCallback,
                "the work answered {count}: it was not done",
                "see why the callback refused; the next call tries again",
            )
            .with(|figures| figures.count = i64::from(answer) as u64)),
        }
    })
}

/// Waits until the work is done, or is the caller's to do: then `*yours` is true, and shmkit_once_end() must follow, by
/// this thread. For work that is no function. Otherwise as shmkit_once_run().
///
/// # Safety
/// `yours` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_once_begin(once: *mut shmkit_once_t, yours: *mut bool) -> shmkit_status_t {
    call(Call::OnceBegin, once, Args(yours as u64, 0), |at| {
        let yours = place(yours)?;
        let found = object::once_begin(at)?;
        // SAFETY: the caller's promise.
        unsafe { yours.write(found) };
        Ok(())
    })
}

/// After shmkit_once_begin(): the work is done, or, with `done` false, it could not be, and the next one tries.
///
/// SHMKIT_ERR_NOT_OWNER: it was not this thread's to do.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_once_end(once: *mut shmkit_once_t, done: bool) -> shmkit_status_t {
    call(Call::OnceEnd, once, Args(u64::from(done), 0), |at| object::once_end(at, done))
}

/// Prepares an event count; otherwise as shmkit_mutex_init().
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_event_init(event: *mut shmkit_event_t) -> shmkit_status_t {
    call(Call::EventInit, event, NONE, |at| object::small_init(at, Kind::Event))
}

/// Makes every later use an error; who waits now is not looked for.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_event_destroy(event: *mut shmkit_event_t) -> shmkit_status_t {
    call(Call::EventDestroy, event, NONE, |at| object::destroy(at, Kind::Event))
}

/// Gives the key to wait with. Take it first, then look at what is waited for, then call shmkit_event_wait() with the
/// key.
///
/// # Safety
/// `key` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn shmkit_event_prepare(event: *mut shmkit_event_t, key: *mut u32) -> shmkit_status_t {
    call(Call::EventPrepare, event, Args(key as u64, 0), |at| {
        let key = place(key)?;
        let found = object::event_prepare(at)?;
        // SAFETY: the caller's promise.
        unsafe { key.write(found) };
        Ok(())
    })
}

/// Waits until somebody has notified since the key was taken. May return without: look again, with a new key.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_event_wait(event: *mut shmkit_event_t, key: u32) -> shmkit_status_t {
    call(Call::EventWait, event, Args(u64::from(key), 0), |at| object::event_wait(at, key, FOREVER))
}

/// As shmkit_event_wait(), for `timeout_ns` nanoseconds at most. SHMKIT_ERR_TIMEOUT: they are over.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_event_timedwait(event: *mut shmkit_event_t, key: u32, timeout_ns: u64) -> shmkit_status_t {
    call(Call::EventTimedWait, event, Args(u64::from(key), timeout_ns), |at| {
        object::event_wait(at, key, Wait::of(timeout_ns))
    })
}

/// Wakes up to `count` of those who wait; UINT32_MAX for all. What this thread wrote before is seen by whoever is
/// woken, or takes a key later. No lock is needed.
#[unsafe(no_mangle)]
pub extern "C" fn shmkit_event_notify(event: *mut shmkit_event_t, count: u32) -> shmkit_status_t {
    call(Call::EventNotify, event, Args(u64::from(count), 0), |at| object::event_notify(at, count))
}
