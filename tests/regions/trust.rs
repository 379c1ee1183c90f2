//! Who may open what: modes whatever the umask is, groups, and names that somebody else took first.

use std::ffi::c_void;
use std::os::unix::fs::PermissionsExt;

use crate::in_a_room;
use crate::no_tmpfile::{DIE, Denial, deny};
use crate::room::Kind::{File, Posix, Sysv};
use crate::room::*;
use crate::support::in_good_child;

const STRANGER: u32 = 12_345;

fn umask(mask: u32) -> u32 {
    // SAFETY: takes no pointers.
    unsafe { libc::umask(mask) }
}

/// Lets others into the folder of a file.
fn open_folder(place: &Place) {
    if place.kind == File {
        std::fs::set_permissions(place.folder(), std::fs::Permissions::from_mode(0o1777)).expect("the folder is ours");
    }
}

/// The mode of a named object, as plain calls see it.
fn plain_mode(place: &Place) -> u32 {
    match place.kind {
        Sysv => {
            // SAFETY: the buffer is writable.
            unsafe {
                let mut status: libc::shmid_ds = std::mem::zeroed();
                assert_eq!(libc::shmctl(place.segment().expect("it is there"), libc::IPC_STAT, &mut status), 0);
                status.shm_perm.mode as u32 & 0o777
            }
        }
        _ => place.path().symlink_metadata().expect("it is there").permissions().mode() & 0o7777,
    }
}

#[test]
fn modes_are_exact_whatever_the_umask_is() {
    in_a_room!("modes_are_exact_whatever_the_umask_is", || {
        // The folders are made before the umask is changed.
        let mut checked = 0;
        for user in [0, STRANGER] {
            for mask in [0o777, 0, 0o022, 0o400] {
                for mode in [0, 0o600, 0o640, 0o644, 0o660, 0o664, 0o666, 0o622, 0o700, 0o755, 0o777] {
                    over(&Kind::ALL, |place| {
                        open_folder(place);
                        // In a child: the umask and the user are the process's.
                        in_good_child(|| {
                            if user != 0 {
                                as_user(user);
                            }
                            umask(mask);
                            for is_raw in [0, 1] {
                                let wanted = RegionOptions { mode, raw: is_raw, ..options(100) };
                                let region = create(&place.address, &wanted).expect("there is room");
                                let expected = if mode == 0 { 0o600 } else { mode };
                                assert_eq!(region.stat().expect("it is open").mode, expected);
                                if place.kind.is_named() {
                                    assert_eq!(plain_mode(place), expected);
                                    open(&place.address, &wanted).expect("its owner may open it").closed();
                                    region.unlink().expect("the name is its own");
                                }
                                region.closed();
                            }
                            assert_eq!(umask(0), mask, "the umask was changed");
                        });
                    });
                    checked += 2 * Kind::ALL.len();
                }
            }
        }
        println!("{checked} modes under 4 umasks by 2 users");
    });
}

#[test]
fn modes_that_make_no_sense() {
    in_a_room!("modes_that_make_no_sense", || over(&Kind::ALL, |place| {
        let before = Traces::look();
        for mode in [0o1000, 0o4755, 0o10600, u32::MAX, 0o400, 0o444, 0o200, 0o222, 0o060, 0o007, 0o1] {
            let wanted = RegionOptions { mode, ..options(10) };
            refused(create(&place.address, &wanted), Status::ErrInvalidArgument).names("mode");
            refused(open_or_create(&place.address, &wanted), Status::ErrInvalidArgument);
        }
        assert_eq!(Traces::look(), before);
        if place.kind.is_named() {
            create(&place.address, &options(10)).expect("there is room").closed();
            for mode in [0o1000, 0o4755, u32::MAX] {
                refused(open(&place.address, &RegionOptions { mode, ..options(0) }), Status::ErrInvalidArgument);
            }
            unlink(&place.address).expect("the name is there");
        }
    }));
}

#[test]
fn a_umask_does_not_make_the_callback_run_twice() {
    unsafe extern "C" fn slow(_: *mut c_void, _: usize, user: *mut c_void) -> i32 {
        // SAFETY: the descriptor that was given below; the sleep takes no pointers.
        unsafe {
            libc::write(user as i32, b"+".as_ptr().cast(), 1);
            libc::usleep(30_000);
        }
        0
    }
    in_a_room!("a_umask_does_not_make_the_callback_run_twice", || over(&Kind::NAMED, |place| {
        open_folder(place);
        let mut ends = [0; 2];
        // SAFETY: the ends are writable.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) }, 0);
        let mut children = Vec::new();
        for _ in 0..4 {
            // SAFETY: the child leaves by _exit.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let done = std::panic::catch_unwind(|| {
                    as_user(STRANGER);
                    umask(0o777);
                    let user = ends[1] as usize as *mut c_void;
                    let wanted = RegionOptions { init: Some(slow), init_user: user, ..options(100) };
                    let (region, _) =
                        open_or_create(&place.address, &wanted).expect("one makes it, the others open it");
                    region.closed();
                });
                // SAFETY: takes no pointers.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            children.push(child);
        }
        for child in children {
            let mut status = 0;
            // SAFETY: the child is ours.
            unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!(status, 0, "a child failed: see its output");
        }
        let mut runs = [0u8; 16];
        // SAFETY: the buffer is writable.
        let count = unsafe { libc::read(ends[0], runs.as_mut_ptr().cast(), runs.len()) };
        assert_eq!(count, 1, "{:?}: the callback ran {count} times", place.kind);
        crate::room::close_all(&ends);
        unlink(&place.address).expect("the name is there");
    }));
}

/// The creator's own group must not get in before another one is named: who has attached stays attached.
#[test]
fn a_segment_is_its_owners_alone_until_its_group_is_named() {
    in_a_room!("a_segment_is_its_owners_alone_until_its_group_is_named", || {
        const GROUP: u32 = 54_321;
        for is_raw in [0, 1] {
            let place = Sysv.fresh();
            // It dies when it names the group.
            let status = support::in_child(|| {
                deny(&[Denial { call: libc::SYS_shmctl, bits: Some((1, libc::IPC_SET as u32)), answer: DIE }]);
                let wanted = RegionOptions { mode: 0o664, group: GROUP, raw: is_raw, ..options(100) };
                let _never_ends = create(&place.address, &wanted);
                0
            });
            assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS, "{status:#x}");
            assert_eq!(plain_mode(&place), 0o600, "raw {is_raw}");
            if is_raw == 0 {
                // Its semaphores have their group already, and the next creator takes over.
                // SAFETY: the buffer is writable.
                let access = unsafe {
                    let mut stat: libc::semid_ds = std::mem::zeroed();
                    let set = place.set().expect("a creator makes them first");
                    assert_eq!(libc::semctl(set, 0, libc::IPC_STAT, &raw mut stat), 0);
                    (u32::from(stat.sem_perm.mode) & 0o777, stat.sem_perm.gid)
                };
                assert_eq!(access, (0o666, GROUP));
                let (region, created) = open_or_create(&place.address, &options(100)).expect("its creator is dead");
                assert!(created);
                region.unlink().expect("the name is its own");
                region.closed();
            }
        }
    });
}

#[test]
fn the_group_of_a_region() {
    in_a_room!("the_group_of_a_region", || over(&Kind::ALL, |place| {
        const GROUP: u32 = 54_321;
        open_folder(place);
        let wanted = RegionOptions { mode: 0o660, group: GROUP, ..options(100) };
        let region = create(&place.address, &wanted).expect("root may give it away");
        let stat = region.stat().expect("it is open");
        assert_eq!((stat.uid, stat.gid, stat.mode), (0, GROUP, 0o660));
        if place.kind.is_named() {
            let mut children = Children::default();
            children.start(|| {
                region.closed();
                // SAFETY: take no pointers, or the list that the count says.
                unsafe {
                    assert_eq!(libc::setgroups(1, &GROUP), 0);
                    assert_eq!(libc::setresgid(STRANGER, STRANGER, STRANGER), 0);
                    assert_eq!(libc::setresuid(STRANGER, STRANGER, STRANGER), 0);
                }
                let other = open(&place.address, &options(0)).expect("the group may open it");
                other.copy_in(0, b"group").expect("the group may write");
                let all = other.participants().expect("it has leases");
                assert_eq!((all[0].own, all[0].process.pid), (1, std::process::id()));
            });
            assert_eq!(region.bytes(0, 5), b"group");
            let all = region.participants().expect("it has leases");
            assert_eq!(all.len(), 2);
            let child = children.pids().next().expect("there is one");
            assert_eq!(
                (all[1].process.pid, all[1].live),
                (child, SHMKIT_ANSWER_YES),
                "a member of the group has no lease"
            );
            children.kill();
            region.unlink().expect("the name is its own");
        }
        region.closed();
        // A user who is not in the group. System V lets an owner name any group.
        in_good_child(|| {
            as_user(STRANGER);
            let made = create(&place.address, &wanted);
            if place.kind == Sysv {
                let region = made.expect("an owner may name any group");
                assert_eq!(region.stat().expect("it is open").gid, GROUP);
                region.unlink().expect("the name is its own");
                region.closed();
            } else {
                refused(made, Status::ErrNotPermitted).names(&GROUP.to_string());
            }
        });
        assert!(!place.is_taken());
    }));
}

#[test]
fn who_may_only_read() {
    in_a_room!("who_may_only_read", || over(&Kind::NAMED, |place| {
        open_folder(place);
        for is_raw in [0, 1] {
            let region =
                create(&place.address, &RegionOptions { mode: 0o644, raw: is_raw, ..options(100) }).expect("room");
            region.copy_in(0, b"public").expect("it fits");
            let mut children = Children::default();
            children.start(|| {
                region.closed();
                as_user(STRANGER);
                let any = RegionOptions { raw: is_raw, ..options(0) };
                refused(open(&place.address, &any), Status::ErrAccess).names("0644").names("user 0");
                let reader = open(&place.address, &RegionOptions { read_only: 1, ..any }).expect("everybody may read");
                assert_eq!(reader.bytes(0, 6), b"public");
                refused(reader.copy_in(0, b"x"), Status::ErrAccess);
                assert_eq!(
                    is_orphan(&place.address).expect("it is there"),
                    if is_raw == 1 && place.kind != Sysv { SHMKIT_ANSWER_UNKNOWN } else { SHMKIT_ANSWER_NO }
                );
                let removed = refused(reader.unlink(), Status::ErrNotPermitted);
                assert!(place.kind == File || !removed.cause.is_empty());
            });
            children.kill();
            assert!(place.is_taken());
            region.unlink().expect("the name is its own");
            region.closed();
        }
        let region = create(&place.address, &options(100)).expect("there is room");
        in_good_child(|| {
            as_user(STRANGER);
            refused(open(&place.address, &options(0)), Status::ErrAccess).names("0600").names("user 0");
            refused(open(&place.address, &RegionOptions { read_only: 1, ..options(0) }), Status::ErrAccess);
            assert_ne!(status_of(&unlink(&place.address)), Status::Ok);
            assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty());
            if place.kind != File {
                let shown = listed(SHMKIT_LIST_POSIX | SHMKIT_LIST_SYSV, &place.address).expect("it is there");
                assert_eq!(shown.object.content, SHMKIT_CONTENT_UNKNOWN, "nobody may look into it");
            }
        });
        assert!(place.is_taken());
        region.unlink().expect("the name is its own");
        region.closed();
    }));
}

/// Gives an object to a user, or a mode.
fn change(place: &Place, uid: u32, mode: u32) {
    match place.kind {
        // SAFETY: the buffer is writable, and the first call fills it.
        Sysv => unsafe {
            let id = place.segment().expect("it is there");
            let mut status: libc::shmid_ds = std::mem::zeroed();
            assert_eq!(libc::shmctl(id, libc::IPC_STAT, &mut status), 0);
            status.shm_perm.uid = uid;
            status.shm_perm.mode = mode as _;
            assert_eq!(libc::shmctl(id, libc::IPC_SET, &mut status), 0);
        },
        _ => {
            std::os::unix::fs::chown(place.path(), Some(uid), None).expect("root may give it away");
            std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(mode)).expect("root may");
        }
    }
}

/// What a user may not remove, gc does not say that it would remove, nor that it did.
#[test]
fn gc_and_the_objects_of_others() {
    in_a_room!("gc_and_the_objects_of_others", || over(&[Posix, Sysv], |place| {
        for mode in [0o600, 0o644, 0o666] {
            create(&place.address, &RegionOptions { mode, ..options(100) }).expect("there is room").closed();
            in_good_child(|| {
                as_user(STRANGER);
                for mode in [SHMKIT_GC_DRY_RUN, SHMKIT_GC_REMOVE] {
                    let found = gc(mode).expect("gc can look");
                    assert!(found.is_empty(), "{:?}: gc {mode} says it removes what it may not: {found:?}", place.kind);
                }
            });
            assert!(place.is_taken());
            assert_eq!(gc(SHMKIT_GC_REMOVE).expect("gc can remove").len(), 1);
            assert!(!place.is_taken());
        }
    }));
}

#[test]
fn a_name_that_another_user_took() {
    in_a_room!("a_name_that_another_user_took", || over(&Kind::NAMED, |place| {
        open_folder(place);
        let address = place.address.as_str();
        for is_raw in [0, 1] {
            let with = |owner| RegionOptions { owner, raw: is_raw, ..options(10) };
            create(address, &RegionOptions { raw: is_raw, ..options(100) }).expect("there is room").closed();
            change(place, STRANGER, 0o600);
            let before = Traces::look();
            for owner in [SHMKIT_OWNER_SELF, 0, 777] {
                refused(open(address, &with(owner)), Status::ErrOwner).names(&STRANGER.to_string()).names(address);
                refused(open_or_create(address, &with(owner)), Status::ErrOwner).names(&STRANGER.to_string());
                refused(create(address, &with(owner)), Status::ErrExists);
            }
            assert_eq!(Traces::look(), before);
            for owner in [SHMKIT_OWNER_ANY, STRANGER] {
                open(address, &with(owner)).expect("that user is trusted").closed();
                let (region, created) = open_or_create(address, &with(owner)).expect("that user is trusted");
                assert!(!created);
                region.closed();
            }
            // The other user trusts itself and root, and nobody else.
            in_good_child(|| {
                as_user(STRANGER);
                let opened = open(address, &with(SHMKIT_OWNER_SELF));
                // Semaphores stay root's: their holder may not be asked, and the segment opens without a lease.
                opened.expect("it is its own").closed();
                refused(open(address, &with(0)), Status::ErrOwner);
            });
            change(place, 54_321, 0o644);
            in_good_child(|| {
                as_user(STRANGER);
                let reader = |owner| RegionOptions { read_only: 1, ..with(owner) };
                refused(open(address, &reader(SHMKIT_OWNER_SELF)), Status::ErrOwner).names("54321");
                open(address, &reader(54_321)).expect("that user is trusted").closed();
            });
            change(place, 0, 0o644);
            in_good_child(|| {
                as_user(STRANGER);
                let reader = RegionOptions { read_only: 1, ..with(SHMKIT_OWNER_SELF) };
                open(address, &reader).expect("root is trusted").closed();
            });
            // Writable by everybody.
            change(place, 0, 0o666);
            refused(open(address, &with(SHMKIT_OWNER_SELF)), Status::ErrOwner).names("0666").names("everybody");
            refused(open(address, &with(0)), Status::ErrOwner);
            open(address, &with(SHMKIT_OWNER_ANY)).expect("anything is trusted").closed();
            open(address, &RegionOptions { mode: 0o666, ..with(SHMKIT_OWNER_SELF) }).expect("it is meant").closed();
            let last = open(address, &RegionOptions { owner: SHMKIT_OWNER_ANY, ..with(0) }).expect("it is there");
            last.unlink().expect("the name is its own");
            last.closed();
        }
    }));
}

#[test]
fn semaphores_that_another_user_took() {
    in_a_room!("semaphores_that_another_user_took", || {
        let count = semaphores_of_a_region();
        let place = Sysv.fresh();
        in_good_child(|| {
            as_user(STRANGER);
            // SAFETY: takes no pointers.
            assert!(unsafe { libc::semget(place.other_key(), count, libc::IPC_CREAT | 0o666) } >= 0);
        });
        refused(create(&place.address, &options(10)), Status::ErrOwner).names(&STRANGER.to_string());
        assert!(place.set().is_some() && !place.is_taken());
        drop(place);
        // A set of another size, and one that something else uses.
        for (count, value) in [(1, 0), (count - 1, 0), (count + 1, 0), (count, 7)] {
            let place = Sysv.fresh();
            // SAFETY: take no pointers.
            unsafe {
                let set = libc::semget(place.other_key(), count, libc::IPC_CREAT | 0o600);
                assert!(set >= 0);
                if value != 0 {
                    assert_eq!(libc::semctl(set, 3, libc::SETVAL, value), 0);
                }
                refused(create(&place.address, &options(10)), Status::ErrCorrupt);
                assert!(!place.is_taken(), "a segment was left");
                assert_eq!(place.set(), Some(set));
                assert_eq!(libc::semctl(set, 0, libc::GETVAL), 0);
            }
        }
    });
}

#[test]
fn what_is_no_object() {
    in_a_room!("what_is_no_object", || over(&[Posix, File], |place| {
        let (path, address) = (place.path(), place.address.as_str());
        let other = place.kind.fresh();
        let good = create(&other.address, &options(100)).expect("there is room");
        good.copy_in(0, b"good").expect("it fits");
        let link = |to: &std::path::Path| std::os::unix::fs::symlink(to, &path).expect("the name is free");
        type Make<'a> = Box<dyn Fn() + 'a>;
        let name = c(path.to_str().expect("plain"));
        let special = |kind: u32, device: u64| {
            // SAFETY: the path is terminated.
            assert_eq!(unsafe { libc::mknod(name.as_ptr(), kind | 0o600, device) }, 0);
        };
        let cases: Vec<(&str, Make)> = vec![
            ("symbolic link", Box::new(|| link(&other.path()))),
            ("symbolic link", Box::new(|| link(std::path::Path::new("/nowhere/at/all")))),
            ("symbolic link", Box::new(|| link(&path))),
            ("symbolic link", Box::new(|| link(std::path::Path::new("/dev/shm")))),
            ("pipe", Box::new(|| special(libc::S_IFIFO, 0))),
            ("directory", Box::new(|| std::fs::create_dir(&path).expect("the name is free"))),
            ("socket", Box::new(|| special(libc::S_IFSOCK, 0))),
            ("character device", Box::new(|| special(libc::S_IFCHR, libc::makedev(1, 3)))),
        ];
        for (what, make) in &cases {
            make();
            let before = (Traces::look(), path.symlink_metadata().expect("it is there").file_type());
            for read_only in [0, 1] {
                for is_raw in [0, 1] {
                    let any = RegionOptions { read_only, raw: is_raw, owner: SHMKIT_OWNER_ANY, ..options(0) };
                    let refusal = refused(open(address, &any), Status::ErrNotAnObject);
                    let errno = match *what {
                        "symbolic link" => libc::ELOOP,
                        "directory" => libc::EISDIR,
                        // Nobody can open one.
                        "socket" => libc::ENXIO,
                        _ => libc::ENODEV,
                    };
                    assert_eq!(refusal.errno, errno, "{refusal:?}");
                    refusal.names(what).names(address);
                }
            }
            for is_raw in [0, 1] {
                let wanted = RegionOptions { raw: is_raw, ..options(10) };
                refused(open_or_create(address, &wanted), Status::ErrNotAnObject).names(what);
                let refusal = refused(create(address, &wanted), Status::ErrExists).names(address);
                assert!(!refusal.remedy.contains("open it"), "it cannot be opened: {refusal:?}");
                refusal.names(what);
            }
            refused(unlink(address), Status::ErrNotAnObject).names(what).names(address);
            refused(is_orphan(address), Status::ErrNotAnObject).names(what).names(address);
            assert!(gc(SHMKIT_GC_REMOVE).expect("gc can look").is_empty());
            list(SHMKIT_LIST_ALL).expect("a list can be had");
            let after = (Traces::look(), path.symlink_metadata().expect("it is there").file_type());
            assert_eq!(after, before, "{what}");
            let kind = after.1;
            if kind.is_dir() { std::fs::remove_dir(&path) } else { std::fs::remove_file(&path) }.expect("it is ours");
        }
        assert_eq!(good.bytes(0, 4), b"good");
        // A link on the way there is the program's own business.
        if place.kind == File {
            let folder = place.folder().join("link");
            std::os::unix::fs::symlink(place.folder(), &folder).expect("the name is free");
            let through = format!("file:{}/{}", folder.display(), path.file_name().expect("it has one").display());
            let region = create(&through, &options(10)).expect("links to folders are followed");
            open(address, &options(10)).expect("it is the same file").closed();
            region.unlink().expect("the name is its own");
            region.closed();
            std::fs::remove_file(folder).expect("it is ours");
        }
        good.unlink().expect("the name is its own");
        good.closed();
        println!("{:?}: {} kinds of what is no object", place.kind, cases.len());
    }));
}

#[test]
fn folders_that_are_missing_or_closed() {
    in_a_room!("folders_that_are_missing_or_closed", || over(&[File], |place| {
        let folder = place.folder();
        for (path, status) in [
            (format!("{}/none/x", folder.display()), Status::ErrNotFound),
            ("/dev/null/x".to_string(), Status::ErrNotFound),
        ] {
            refused(create(&format!("file:{path}"), &options(10)), status).names(&path);
        }
        assert_ne!(status_of(&open("file:/dev/null/x", &options(0))), Status::Ok);
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        in_good_child(|| {
            as_user(STRANGER);
            refused(create(&place.address, &options(10)), Status::ErrAccess).names(&place.address);
        });
        // A program whose folder was removed can still use absolute paths; a relative one leads nowhere, and says so.
        in_good_child(|| {
            let gone = folder.join("gone");
            std::fs::create_dir(&gone).expect("the folder is ours");
            std::env::set_current_dir(&gone).expect("it is there");
            std::fs::remove_dir(&gone).expect("it is empty");
            let refusal = create("file:relative", &options(10)).expect_err("there is no folder");
            assert_eq!(refusal.status, Status::ErrNotFound, "{refusal:?}");
            let region = create(&place.address, &options(10)).expect("an absolute path needs no folder");
            region.unlink().expect("the name is its own");
            region.closed();
        });
        in_good_child(|| {
            std::env::set_current_dir(&folder).expect("it is there");
            let region = create("file:relative", &options(10)).expect("there is room");
            assert_eq!(region.address(), format!("file:{}/relative", folder.display()));
            std::env::set_current_dir("/").expect("it is there");
            region.unlink().expect("the name is its own, wherever the program is now");
            region.closed();
            assert!(!folder.join("relative").exists());
        });
    }));
}
