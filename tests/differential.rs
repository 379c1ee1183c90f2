//! The checked calls against the C library's own, over the full product of boundary values for each argument.
//! Same return and same errno; where they differ, a rule must say so: its row states that Linux accepts what it refuses.
//! Never trusts one side: whatever a call makes is looked at, then undone, before the other side's turn.
//! Semaphores and record locks: tests/differential_sem.rs.

#[path = "support/comparison.rs"]
mod comparison;
mod support;

use std::ffi::{CString, c_char, c_void};

use comparison::{Comparison, observe};
use shmkit::capi::{file, memory, posix, sysv};
use shmkit::checks::memory::Map;
use shmkit::checks::{self, Rule, Verdict};
use support::{alone, object_name};

/// Descriptors of every kind that the calls can meet, with names for the report.
fn descriptors() -> Vec<(&'static str, i32)> {
    let name = object_name();
    // SAFETY: plain system calls on strings and descriptors of this test; the pair is written by the kernel.
    unsafe {
        let writable = libc::shm_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600);
        assert_eq!(libc::ftruncate(writable, 5000), 0);
        let readable = libc::shm_open(name.as_ptr(), libc::O_RDONLY, 0);
        libc::shm_unlink(name.as_ptr());
        let sealed = libc::memfd_create(c"sealed".as_ptr(), libc::MFD_ALLOW_SEALING);
        libc::ftruncate(sealed, 4096);
        libc::fcntl(sealed, libc::F_ADD_SEALS, libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW);
        let mut pipe = [0; 2];
        libc::pipe(pipe.as_mut_ptr());
        // A number that no later open of this test reaches.
        let closed = libc::fcntl(writable, libc::F_DUPFD, 500);
        libc::close(closed);
        vec![
            ("-1", -1),
            ("INT_MIN", i32::MIN),
            ("closed", closed),
            ("object", writable),
            ("read-only object", readable),
            ("sealed memfd", sealed),
            ("write-only file", libc::open(c"/dev/shm".as_ptr(), libc::O_TMPFILE | libc::O_WRONLY, 0o600)),
            ("pipe", pipe[0]),
            ("folder", libc::open(c"/tmp".as_ptr(), libc::O_RDONLY)),
            ("/dev/zero", libc::open(c"/dev/zero".as_ptr(), libc::O_RDWR)),
            ("/dev/null", libc::open(c"/dev/null".as_ptr(), libc::O_RDWR)),
            ("path only", libc::open(c"/tmp".as_ptr(), libc::O_PATH)),
        ]
    }
}

/// A stretch of address space of this test, to aim fixed addresses at; refilled after each use.
struct Arena {
    start: usize,
}

const PAGE: usize = 4096;
const ARENA: usize = 64 * PAGE;

impl Arena {
    fn new() -> Self {
        Arena { start: map_raw(0, ARENA, libc::PROT_READ | libc::PROT_WRITE, ANON, -1, 0) as usize }
    }

    fn refill(&self) {
        map_raw(self.start, ARENA, libc::PROT_READ | libc::PROT_WRITE, ANON | libc::MAP_FIXED, -1, 0);
    }
}

const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

fn map_raw(addr: usize, length: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> i64 {
    // SAFETY: fixed addresses lie within the arena, which holds nothing.
    unsafe { libc::mmap(addr as *mut c_void, length, prot, flags, fd, offset) as i64 }
}

#[test]
fn mmap() {
    alone("mmap", &[], || {
        let arena = Arena::new();
        let fds = descriptors();
        let mut seen = Comparison::default();
        let addrs = [0, arena.start, arena.start + 1, 1, usize::MAX & !4095];
        let lengths =
            [0, 1, PAGE, 3 * PAGE, 1 << 46, 1 << 47, 1 << 57, isize::MAX as usize, usize::MAX - 1, usize::MAX];
        let prots = [0, 1, 3, 2 | 4, 7, 8, 64, -1];
        let sharing = [0, libc::MAP_SHARED, libc::MAP_PRIVATE, libc::MAP_SHARED_VALIDATE, 4, 9, 15];
        let more = [
            0,
            libc::MAP_ANONYMOUS,
            libc::MAP_FIXED,
            libc::MAP_FIXED | libc::MAP_ANONYMOUS,
            0x100000,
            0x80000,
            libc::MAP_NORESERVE | 0x200000,
            libc::MAP_ANONYMOUS | libc::MAP_HUGETLB,
            libc::MAP_ANONYMOUS | 21 << 26,
        ];
        let offsets = [0, 1, PAGE as i64, -4096, i64::MAX & !4095, i64::MIN];
        for addr in addrs {
            for length in lengths {
                for prot in prots {
                    for flags in sharing.iter().flat_map(|kind| more.iter().map(move |bits| kind | bits)) {
                        // A fixed mapping may only go where this test lives.
                        let fixed = flags & libc::MAP_FIXED != 0;
                        if fixed && length > ARENA - PAGE && length < 1 << 47 {
                            continue;
                        }
                        for (fd_name, fd) in &fds {
                            for offset in offsets {
                                let both = [map_raw, |addr, length, prot, flags, fd, offset| {
                                    memory::shmkit_mmap(addr as *mut c_void, length, prot, flags, fd, offset) as i64
                                }];
                                let [libc, ours] = both.map(|call: fn(usize, usize, i32, i32, i32, i64) -> i64| {
                                    let result = observe(|| call(addr, length, prot, flags, *fd, offset));
                                    if let Ok(at) = result {
                                        assert!(!fixed || at as usize == addr);
                                        // SAFETY: unmaps exactly what the call just mapped; the arena is refilled.
                                        unsafe { libc::munmap(at as *mut c_void, length) };
                                        if (arena.start..arena.start + ARENA).contains(&(at as usize)) {
                                            arena.refill();
                                        }
                                    }
                                    // Where the kernel puts it is the kernel's choice: only that it did is compared.
                                    result.map(|_| 0)
                                });
                                let what = || {
                                    format!(
                                        "mmap({addr:#x}, {length:#x}, {prot:#x}, {flags:#x}, {fd_name}, {offset:#x})"
                                    )
                                };
                                let map = Map { addr, length, prot, flags, fd: *fd, offset };
                                match has_several_faults(&map, fd_name, &arena) {
                                    true => seen.compare_faults(what, libc, ours),
                                    false => seen.compare(what, libc, ours),
                                }
                            }
                        }
                    }
                }
            }
        }
        seen.finish("mmap");
    });
}

/// Whether more than one thing about a call of mmap is wrong.
fn has_several_faults(map: &Map, fd_name: &str, arena: &Arena) -> bool {
    let wrong = checks::memory::map(map, PAGE).iter().filter(|rule| rule.row().verdict == Verdict::Wrong).count();
    let file_fault = !map.is_anonymous() && fd_name != "object" && map.fd >= 0;
    let far = map.length >= 1 << 46 || map.length == 0;
    // The arena is mapped, so that MAP_FIXED_NOREPLACE has a fault of its own anywhere in it.
    let exclusive = map.flags & checks::memory::MAP_FIXED_NOREPLACE != 0 && map.addr != 0;
    let placed = exclusive || map.flags & libc::MAP_FIXED != 0 && map.addr != arena.start;
    let validated = map.flags & checks::memory::MAP_TYPE == libc::MAP_SHARED_VALIDATE;
    let huge = map.flags & libc::MAP_HUGETLB != 0;
    let other = [file_fault, far, placed, validated, huge].into_iter().filter(|fault| *fault).count();
    // A length that is itself the broken rule counts once.
    let counted = checks::memory::map(map, PAGE);
    wrong + other - usize::from(counted.has(Rule::MapLength) || counted.has(Rule::MapZeroLength)) > 1
}

/// The ranges that calls on mapped memory are tried on: within, across, before and beyond the arena, and absurd ones.
fn ranges(arena: &Arena) -> Vec<(usize, usize)> {
    let addrs = [0, 1, PAGE, arena.start, arena.start + 1, arena.start + ARENA, 1 << 47, 1 << 60, usize::MAX & !4095];
    let lengths = [0, 1, PAGE, PAGE + 1, 1 << 46, 1 << 57, usize::MAX - 2 * PAGE, usize::MAX & !4095, usize::MAX];
    addrs.into_iter().flat_map(|addr| lengths.into_iter().map(move |length| (addr, length))).collect()
}

#[test]
fn munmap_mprotect_msync_madvise_mlock() {
    alone("munmap_mprotect_msync_madvise_mlock", &[], || {
        let arena = Arena::new();
        let own = |addr: usize, length: usize| {
            // Only the arena may be changed: elsewhere the process itself lives.
            addr >= arena.start && addr.saturating_add(length) <= arena.start + ARENA
        };
        // Ranges that the kernel turns away before it looks at any mapping: some calls change what they can first.
        let absurd = |addr: usize, length: usize| addr >= 1 << 47 || addr.checked_add(length).is_none();
        let mut seen = Comparison::default();
        for (addr, length) in ranges(&arena) {
            let at = addr as *mut c_void;
            let what = |name: &str, last: i32| format!("{name}({addr:#x}, {length:#x}, {last:#x})");
            if own(addr, length) || absurd(addr, length) || length == 0 {
                // SAFETY: the range is the arena's own, or one that no kernel maps.
                let libc = observe(|| unsafe { libc::munmap(at, length) }.into());
                arena.refill();
                let ours = observe(|| memory::shmkit_munmap(at, length).into());
                arena.refill();
                seen.compare(|| what("munmap", 0), libc, ours);
                for prot in [0, 1, 3, 6, 8, 64, 0x0100_0000, 0x0300_0000, -1] {
                    // SAFETY: as above.
                    let libc = observe(|| unsafe { libc::mprotect(at, length, prot) }.into());
                    arena.refill();
                    let ours = observe(|| memory::shmkit_mprotect(at, length, prot).into());
                    arena.refill();
                    seen.compare(|| what("mprotect", prot), libc, ours);
                }
                for advice in [0, 1, 4, 8, 10, 14, 16, 21, 77, -1] {
                    // SAFETY: as above.
                    let libc = observe(|| unsafe { libc::madvise(at, length, advice) }.into());
                    let ours = observe(|| memory::shmkit_madvise(at, length, advice).into());
                    arena.refill();
                    seen.compare(|| what("madvise", advice), libc, ours);
                }
                // SAFETY: as above.
                let libc = observe(|| unsafe { libc::mlock(at, length) }.into());
                let ours = observe(|| memory::shmkit_mlock(at, length).into());
                seen.compare(|| what("mlock", 0), libc, ours);
                // SAFETY: as above.
                let libc = observe(|| unsafe { libc::munlock(at, length) }.into());
                let ours = observe(|| memory::shmkit_munlock(at, length).into());
                seen.compare(|| what("munlock", 0), libc, ours);
            }
            for flags in [0, 1, 2, 3, 4, 5, 6, 7, 8, 64, -1] {
                // SAFETY: writes nothing but dirty pages of files, of which the range has none.
                let libc = observe(|| unsafe { libc::msync(at, length, flags) }.into());
                let ours = observe(|| memory::shmkit_msync(at, length, flags).into());
                seen.compare(|| what("msync", flags), libc, ours);
            }
        }
        seen.finish("munmap, mprotect, msync, madvise, mlock, munlock");
    });
}

#[test]
fn mremap() {
    alone("mremap", &[], || {
        let arena = Arena::new();
        let mut seen = Comparison::default();
        let target = arena.start + 32 * PAGE;
        for old in [arena.start, arena.start + 1, PAGE, 1 << 60, usize::MAX & !4095] {
            for old_size in [0, 1, PAGE, 2 * PAGE, 1 << 57, usize::MAX] {
                for new_size in [0, 1, PAGE, 2 * PAGE, 4 * PAGE, 1 << 57, usize::MAX] {
                    for flags in [0, 1, 2, 3, 4, 5, 7, 8, -1] {
                        for new in [target, target + 1] {
                            type Call = fn(usize, usize, usize, i32, usize) -> i64;
                            let calls: [Call; 2] = [
                                // SAFETY: the mapping that moves is the arena's own, and so is the place it may go to.
                                |old, old_size, new_size, flags, new| unsafe {
                                    libc::mremap(old as *mut c_void, old_size, new_size, flags, new) as i64
                                },
                                |old, old_size, new_size, flags, new| {
                                    let (old, new) = (old as *mut c_void, new as *mut c_void);
                                    memory::shmkit_mremap(old, old_size, new_size, flags, new) as i64
                                },
                            ];
                            let [libc, ours] = calls.map(|call| {
                                let result = observe(|| call(old, old_size, new_size, flags, new));
                                if let Ok(at) = result {
                                    // SAFETY: unmaps what the call just placed; the arena is refilled.
                                    unsafe { libc::munmap(at as *mut c_void, new_size) };
                                }
                                arena.refill();
                                result.map(|_| 0)
                            });
                            let what =
                                || format!("mremap({old:#x}, {old_size:#x}, {new_size:#x}, {flags:#x}, {new:#x})");
                            seen.compare(what, libc, ours);
                        }
                    }
                }
            }
        }
        seen.finish("mremap");
    });
}

#[test]
fn ftruncate_posix_fallocate_fstat_close() {
    alone("ftruncate_posix_fallocate_fstat_close", &[], || {
        let mut seen = Comparison::default();
        let sizes = [i64::MIN, -1, 0, 1, 4096, 5000, 10_000, i64::MAX];
        for (name, fd) in descriptors() {
            for length in sizes {
                let both: [fn(i32, i64) -> i32; 2] =
                    // SAFETY: plain system calls on descriptors of this test.
                    [|fd, length| unsafe { libc::ftruncate(fd, length) }, |fd, length| file::shmkit_ftruncate(fd, length)];
                let [libc, ours] = both.map(|call| observe(|| call(fd, length).into()));
                seen.compare(|| format!("ftruncate({name}, {length})"), libc, ours);
                for offset in [i64::MIN, -1, 0, 4096, i64::MAX] {
                    // A whole reservation of 2^63 bytes is refused at once; nothing large is ever reserved.
                    // SAFETY: as above. The result is the error number, and errno is nobody's business.
                    let libc = unsafe { libc::posix_fallocate(fd, offset, length) };
                    let ours = file::shmkit_posix_fallocate(fd, offset, length);
                    let outcome = |error: i32| if error == 0 { Ok(0) } else { Err(error) };
                    seen.compare(
                        || format!("posix_fallocate({name}, {offset}, {length})"),
                        outcome(libc),
                        outcome(ours),
                    );
                }
            }
            // SAFETY: the buffer is writable, null, or an address that the kernel refuses.
            unsafe {
                let mut stat: libc::stat = std::mem::zeroed();
                for buffer in [
                    &raw mut stat,
                    std::ptr::null_mut(),
                    std::ptr::without_provenance_mut(24),
                    usize::MAX as *mut libc::stat,
                ] {
                    let libc = observe(|| libc::fstat(fd, buffer).into());
                    let ours = observe(|| file::shmkit_fstat(fd, buffer).into());
                    seen.compare(|| format!("fstat({name}, {buffer:?})"), libc, ours);
                }
                let again = libc::dup(fd);
                let both: [fn(i32) -> i32; 2] = [|fd| libc::close(fd), |fd| file::shmkit_close(fd)];
                let [libc, ours] = both.map(|call| {
                    if again >= 0 {
                        libc::dup2(fd, again);
                    }
                    (observe(|| call(again).into()), observe(|| call(again).into()))
                });
                seen.compare(|| format!("close({name})"), libc.0, ours.0);
                seen.compare(|| format!("close({name}), twice"), libc.1, ours.1);
            }
        }
        seen.finish("ftruncate, posix_fallocate, fstat, close");
    });
}

#[test]
fn shm_open_shm_unlink_memfd_create() {
    alone("shm_open_shm_unlink_memfd_create", &[], || {
        let mut seen = Comparison::default();
        let existing = object_name();
        let tag = support::unique();
        let fresh = |text: &str| CString::new(format!("{text}{tag}")).expect("no NUL inside");
        let names = [
            existing.clone(),
            fresh("/shmkit-new-"),
            fresh("shmkit-bare-"),
            fresh("///shmkit-many-"),
            fresh("/shmkit/inner-"),
            fresh("/shmkit-trailing/"),
            c"".into(),
            c"/".into(),
            c"//".into(),
            c"/.".into(),
            c"/..".into(),
            c"..".into(),
            CString::new(format!("/{}", "x".repeat(255))).expect("no NUL inside"),
            CString::new(format!("/{}", "x".repeat(256))).expect("no NUL inside"),
            CString::new(format!("/{}", "x".repeat(1000))).expect("no NUL inside"),
        ];
        let flags = [
            libc::O_RDONLY,
            libc::O_RDWR,
            libc::O_WRONLY,
            3,
            libc::O_RDWR | libc::O_CREAT,
            libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
            libc::O_RDWR | libc::O_EXCL,
            libc::O_RDONLY | libc::O_TRUNC,
            libc::O_RDWR | libc::O_TRUNC,
            libc::O_RDONLY | libc::O_CREAT,
            libc::O_RDWR | libc::O_APPEND,
            libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC | libc::O_NOFOLLOW,
        ];
        // SAFETY: the strings are terminated, and each descriptor is closed before the next call.
        unsafe {
            for name in &names {
                for oflag in flags {
                    for mode in [0, 0o600, 0o666, 0o7777, u32::MAX] {
                        let both: [unsafe extern "C" fn(*const c_char, i32, u32) -> i32; 2] =
                            [libc::shm_open, posix::shmkit_shm_open];
                        let [libc, ours] = both.map(|call| {
                            libc::close(libc::shm_open(existing.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600));
                            let result = observe(|| call(name.as_ptr(), oflag, mode).into());
                            let result = result.map(|fd| {
                                // What came of it: access, status flags, close-on-exec, mode.
                                let mut stat: libc::stat = std::mem::zeroed();
                                libc::fstat(fd as i32, &mut stat);
                                let flags = libc::fcntl(fd as i32, libc::F_GETFL);
                                let on_exec = libc::fcntl(fd as i32, libc::F_GETFD);
                                file::shmkit_close(fd as i32);
                                i64::from(flags) << 32 | i64::from(stat.st_mode) << 1 | i64::from(on_exec)
                            });
                            libc::shm_unlink(name.as_ptr());
                            libc::shm_unlink(existing.as_ptr());
                            result
                        });
                        seen.compare(|| format!("shm_open({name:?}, {oflag:#o}, {mode:#o})"), libc, ours);
                    }
                }
                let both: [unsafe extern "C" fn(*const c_char) -> i32; 2] =
                    [libc::shm_unlink, posix::shmkit_shm_unlink];
                let [libc, ours] = both.map(|call| {
                    libc::close(libc::shm_open(existing.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600));
                    observe(|| call(name.as_ptr()).into())
                });
                seen.compare(|| format!("shm_unlink({name:?})"), libc, ours);
                for flags in [0, 1, 2, 3, 4, 8, 16, 24, 32, 21 << 26, 4 | 21 << 26, 4 | 63 << 26, u32::MAX] {
                    let both: [unsafe extern "C" fn(*const c_char, u32) -> i32; 2] =
                        [libc::memfd_create, posix::shmkit_memfd_create];
                    let [libc, ours] = both.map(|call| {
                        observe(|| call(name.as_ptr(), flags).into()).map(|fd| {
                            let seals = libc::fcntl(fd as i32, libc::F_GET_SEALS);
                            file::shmkit_close(fd as i32);
                            i64::from(seals)
                        })
                    });
                    seen.compare(|| format!("memfd_create({name:?}, {flags:#x})"), libc, ours);
                }
            }
            libc::shm_unlink(existing.as_ptr());
        }
        seen.finish("shm_open, shm_unlink, memfd_create");
    });
}

/// A segment of three pages for one test, removed when it ends.
struct Segment {
    key: i32,
    id: i32,
}

impl Segment {
    fn new() -> Self {
        let key = 0x5348_0000 | (std::process::id() as i32 & 0xffff);
        // SAFETY: takes no pointers.
        let id = unsafe { libc::shmget(key, 3 * PAGE, libc::IPC_CREAT | libc::IPC_EXCL | 0o600) };
        assert!(id >= 0, "the key {key:#x} is taken");
        Segment { key, id }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: the command takes no buffer.
        unsafe { libc::shmctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

#[test]
fn shmget() {
    alone("shmget", &[], || {
        let segment = Segment::new();
        let mut seen = Comparison::default();
        for key in [segment.key, segment.key ^ 0x0100_0000, libc::IPC_PRIVATE, -1] {
            for size in [0, 1, 3 * PAGE, 3 * PAGE + 1, 1 << 60, usize::MAX] {
                for flags in [0, 0o600, 0o1000, 0o1600, 0o1666, 0o2000, 0o3600, 0o4600, 0o11600, 0o5600 | 21 << 26, -1]
                {
                    // SAFETY: takes no pointers; a segment that was made is removed at once.
                    let both: [fn(i32, usize, i32) -> i32; 2] = [
                        |key, size, flags| unsafe { libc::shmget(key, size, flags) },
                        |key, size, flags| sysv::shmkit_shmget(key, size, flags),
                    ];
                    let [libc, ours] = both.map(|call| {
                        observe(|| call(key, size, flags).into()).map(|id| {
                            if id as i32 == segment.id {
                                return 1;
                            }
                            // SAFETY: the command takes no buffer.
                            unsafe { sysv::shmkit_shmctl(id as i32, libc::IPC_RMID, std::ptr::null_mut()) };
                            0
                        })
                    });
                    seen.compare(|| format!("shmget({key:#x}, {size:#x}, {flags:#o})"), libc, ours);
                }
            }
        }
        seen.finish("shmget");
    });
}

#[test]
fn shmat_shmdt() {
    alone("shmat_shmdt", &[], || {
        let arena = Arena::new();
        let segment = Segment::new();
        let gone = Segment::new_private();
        let mut seen = Comparison::default();
        let remap = libc::SHM_REMAP;
        for id in [segment.id, gone, -1, i32::MAX] {
            for addr in [0, 1, arena.start, arena.start + 1, arena.start + PAGE - 1, 1 << 60, usize::MAX] {
                for flags in [0, libc::SHM_RDONLY, libc::SHM_RND, remap, remap | libc::SHM_RND, 0o100000, 1, !remap] {
                    // SAFETY: fixed addresses lie within the arena, or where no kernel maps.
                    let both: [fn(i32, usize, i32) -> i64; 2] = [
                        |id, addr, flags| unsafe { libc::shmat(id, addr as *const c_void, flags) as i64 },
                        |id, addr, flags| sysv::shmkit_shmat(id, addr as *const c_void, flags) as i64,
                    ];
                    let [libc, ours] = both.map(|call| {
                        let result = observe(|| call(id, addr, flags));
                        if let Ok(at) = result {
                            // SAFETY: detaches what was just attached.
                            assert_eq!(unsafe { libc::shmdt(at as *const c_void) }, 0);
                            arena.refill();
                        }
                        result.map(|at| if addr == 0 { 0 } else { at })
                    });
                    seen.compare(|| format!("shmat({id}, {addr:#x}, {flags:#o})"), libc, ours);
                }
                // SAFETY: at most detaches a segment of this test.
                let libc = observe(|| unsafe { libc::shmdt(addr as *const c_void) }.into());
                let ours = observe(|| sysv::shmkit_shmdt(addr as *const c_void).into());
                seen.compare(|| format!("shmdt({addr:#x})"), libc, ours);
            }
        }
        seen.finish("shmat, shmdt");
    });
}

impl Segment {
    /// The id of a segment that was removed.
    fn new_private() -> i32 {
        // SAFETY: takes no pointers but a null one.
        unsafe {
            let id = libc::shmget(libc::IPC_PRIVATE, PAGE, 0o600);
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
            id
        }
    }
}

#[test]
fn shmctl() {
    alone("shmctl", &[], || {
        let segment = Segment::new();
        let gone = Segment::new_private();
        let mut seen = Comparison::default();
        // SAFETY: the buffer is large enough for every command, null, or an address that the kernel refuses.
        unsafe {
            let mut buffer = [0u64; 64];
            let good: *mut libc::shmid_ds = buffer.as_mut_ptr().cast();
            assert_eq!(libc::shmctl(segment.id, libc::IPC_STAT, good), 0);
            for id in [segment.id, gone, -1, i32::MAX, 0] {
                for command in [-1, 1, 2, 3, 4, 9, 11, 12, 13, 14, 15, 16, 99, i32::MAX] {
                    for at in [
                        good,
                        std::ptr::null_mut(),
                        std::ptr::without_provenance_mut(24),
                        usize::MAX as *mut libc::shmid_ds,
                    ] {
                        // Segment 0 may be somebody else's: only look at it.
                        if id == 0 && !matches!(command, 2 | 3 | 13 | 14 | 15) {
                            continue;
                        }
                        let libc = observe(|| libc::shmctl(id, command, at).into());
                        let ours = observe(|| sysv::shmkit_shmctl(id, command, at).into());
                        seen.compare(|| format!("shmctl({id}, {command}, {at:?})"), libc, ours);
                        assert_eq!(libc::shmctl(segment.id, libc::IPC_STAT, good), 0);
                    }
                }
            }
        }
        seen.finish("shmctl");
    });
}

#[test]
fn ftok() {
    alone("ftok", &[], || {
        let mut seen = Comparison::default();
        let long = CString::new("x".repeat(3000)).expect("no NUL inside");
        for path in [c"/", c"/tmp", c"/proc/self/exe", c"/dev/null/x", c"", c"/none/such", long.as_c_str()] {
            for id in [0, 1, 255, 256, 257, -1, i32::MIN, i32::MAX] {
                // SAFETY: the strings are terminated.
                let libc = observe(|| unsafe { libc::ftok(path.as_ptr(), id) }.into());
                // SAFETY: as above.
                let ours = observe(|| unsafe { sysv::shmkit_ftok(path.as_ptr(), id) }.into());
                seen.compare(|| format!("ftok({path:?}, {id})"), libc, ours);
            }
        }
        seen.finish("ftok");
    });
}
