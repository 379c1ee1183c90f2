//! Regions on objects with a descriptor: POSIX objects, files, memfds, anonymous memory.
//! Born complete: built without a name (O_TMPFILE), then linked, atomically and exclusively; under a temporary name and
//! a rename where the file system lacks that. Never opens what it would create, never creates what it opens.
//! Next: `lease.rs` for who is there, `access.rs` for growth.

use core::ffi::CStr;

use super::address::{Backend, Parsed, folder_of, path_of};
use super::chars::Chars;
use super::clock::Deadline;
use super::failure::{Failure, Outcome};
use super::handle::{FRAGILE, Hot, Huge, Options, POISONED, RENEWAL_NS, Region, Space, Wish};
use super::header::{self, Facts, Header, READY, Record};
use super::lease::{self, BUILD, Lease};
use super::{identity, inherit, survey};
use crate::error::{Errno, Status};
use crate::sys::file::{self, Lock};
use crate::sys::limits::{Resource, page_size, soft_limit};
use crate::sys::{memory, posix, process};
use crate::text::Text;

const HERE: i32 = libc::AT_FDCWD;
const MFD_NOEXEC_SEAL: u32 = 8;
const MFD_EXEC: u32 = 16;
/// From so many bytes on the machine is asked whether it has them.
pub const LARGE: u64 = 64 << 20;

/// Where a region's name stands: its path, and the folder of it.
struct Place {
    path: Chars,
    /// Made when it is needed: an opener does not.
    folder: Option<Chars>,
    /// What stands for the name in the names of claims: the folder's identity and the name, hashed.
    hash: u64,
}

impl Place {
    fn new(backend: Backend, rest: &[u8]) -> Outcome<Place> {
        Ok(Place { path: path_of(backend, rest)?, folder: None, hash: 0 })
    }

    fn path(&self) -> &CStr {
        self.path.c()
    }

    fn with_folder(&mut self) -> Outcome<()> {
        if self.folder.is_none() {
            self.folder = Some(folder_of(self.path.bytes())?);
        }
        Ok(())
    }

    fn folder(&self) -> &CStr {
        self.folder.as_ref().map_or(c"", Chars::c)
    }

    /// Names of this region's claims begin with this; two regions that share it wait for each other, and that is all.
    fn hash(&mut self) -> u64 {
        if self.hash == 0 {
            let (dev, ino) = crate::sys::sysv::file_identity(self.folder()).unwrap_or_default();
            let path = self.path.bytes();
            let name = path.iter().rposition(|byte| *byte == b'/').map_or(path, |slash| &path[slash..]);
            // FNV-1a, 64 bits.
            let bytes = [dev.to_ne_bytes(), ino.to_ne_bytes()];
            let all = bytes.iter().flatten().chain(name);
            self.hash = all
                .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        }
        self.hash
    }
}

/// Opens or makes the region at a path.
pub fn by_path(
    hot: &'static Hot,
    parsed: &Parsed,
    backend: Backend,
    rest: &[u8],
    options: &mut Options<'_>,
    wish: Wish,
    deadline: &mut Deadline,
) -> Outcome<(Region, bool)> {
    let mut place = Place::new(backend, rest)?;
    let new = |options: &Options<'_>| Region::new(hot, parsed.text(), backend, options);
    loop {
        if wish != Wish::Create {
            if let Some(region) = open(new(options)?, &place, options, deadline)? {
                return Ok((region, false));
            }
            if wish == Wish::Open {
                return Err(Failure::new(
                    Status::ErrNotFound,
                    "there is no {name}",
                    "start the program that creates it, use open_or_create, or correct the name",
                ));
            }
        }
        place.with_folder()?;
        // The callback runs once for all who want to create at the same time: one at a time gets so far.
        let claim = if options.init.is_some() { Claim::take(hot, &mut place, deadline)? } else { None };
        if claim.is_some() && file::status_in(HERE, place.path()).is_ok() {
            if wish == Wish::Create {
                return Err(exists(&place));
            }
            continue;
        }
        match build(new(options)?, &mut place, options, deadline) {
            Err(failure) if failure.status == Status::ErrExists && wish == Wish::Either => {}
            // Its temporary name went: from the beginning.
            Err(failure) if failure.status == Status::ErrRemoved => {
                deadline.pause("other processes removed what was being built, again and again")?;
            }
            other => return other.map(|region| (region, true)),
        }
    }
}

fn exists(place: &Place) -> Failure {
    // A link may lead anywhere: what it leads to is not looked at.
    if let Ok(status) = file::status_in(HERE, place.path())
        && !status.is_regular()
    {
        return Failure::new(
            Status::ErrExists,
            "{name} exists already as {kind}, which cannot be opened either",
            "use another name, and see what took this one",
        )
        .with(|figures| figures.mode = u64::from(status.mode));
    }
    Failure::new(
        Status::ErrExists,
        "{name} exists already",
        "open it, use open_or_create, or unlink it if shmkit_region_is_orphan says that it is left over",
    )
}

/// Opens the region at a path; `None` when there is nothing.
fn open(mut region: Region, place: &Place, options: &Options<'_>, deadline: &mut Deadline) -> Outcome<Option<Region>> {
    // O_NONBLOCK: a pipe that took the name must not hold us up.
    let access = if options.read_only { libc::O_RDONLY } else { libc::O_RDWR };
    let flags = access | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    loop {
        let fd = match file::open_at(HERE, place.path(), flags, 0) {
            Ok(fd) => fd,
            Err(Errno(libc::ENOENT)) => return Ok(None),
            Err(errno) => return Err(cannot_open(errno, place.path())),
        };
        region.set_fd(fd);
        // The lease first: once it is held, no collector takes the name away. Then a look whether one just did.
        if !options.raw {
            region.set_lease(lease::take(fd, options.read_only, lease::hint(), deadline)?);
        }
        let status = file::status(fd).map_err(Failure::system)?;
        if status.links > 0 {
            adopt(&mut region, &status, options)?;
            return Ok(Some(region));
        }
        region.release();
        deadline.pause("another process removed and made the name again and again")?;
    }
}

/// Why what has a name cannot be opened.
pub fn cannot_open(errno: Errno, path: &CStr) -> Failure {
    let failure = match errno.0 {
        libc::ELOOP => Failure::new(
            Status::ErrNotAnObject,
            "what is called {name} is a symbolic link, and those are not followed: it could lead to any file",
            "remove the link; for file: name the file itself",
        ),
        // What an open of a directory and of a socket says.
        libc::EISDIR | libc::ENXIO => not_an_object(file::status_in(HERE, path).map_or(0, |status| status.mode)),
        libc::ENOTDIR => Failure::new(
            Status::ErrNotAnObject,
            "a part of the path of {name} is no folder",
            "use another path, and see what took this one",
        ),
        libc::EROFS => Failure::new(
            Status::ErrAccess,
            "the file system of {name} is mounted for reading only",
            "open it with read_only",
        ),
        libc::EACCES | libc::EPERM => {
            let status = file::status_in(HERE, path);
            Failure::new(
                Status::ErrAccess,
                "{name} has mode {mode} and belongs to user {uid}, who does not let this user open it so",
                "open it read-only, or let its owner grant access (mode and group in the options)",
            )
            .with(|figures| {
                if let Ok(status) = status {
                    (figures.uid, figures.mode) = (status.uid, u64::from(status.mode & 0o777));
                }
            })
        }
        _ => return Failure::system(errno),
    };
    Failure { errno: errno.0, ..failure }
}

/// What has the name is no regular file.
pub fn not_an_object(mode: u32) -> Failure {
    // What a map of anything but a directory says.
    let errno = if mode & libc::S_IFMT == libc::S_IFDIR { libc::EISDIR } else { libc::ENODEV };
    let failure = Failure::new(
        Status::ErrNotAnObject,
        "{name} is {kind}, not a shared memory object",
        "use another name, and see what took this one",
    );
    Failure { errno, ..failure }.with(|figures| figures.mode = u64::from(mode))
}

/// Checks an object that was opened or received and maps it. The lease, if there is to be one, is held already.
pub fn adopt(region: &mut Region, status: &file::Status, options: &Options<'_>) -> Outcome<()> {
    let fd = region.fd();
    if !status.is_regular() {
        return Err(not_an_object(status.mode));
    }
    options.check_owner(status.uid, status.mode)?;
    region.identity = (status.dev, status.ino);
    region.confirm(status.size);
    let mut recorded = true;
    let max_size = if options.raw {
        if status.size == 0 {
            return Err(Failure::new(
                Status::ErrPastEnd,
                "{name} has no bytes: its creator never sized it, or has not done so yet",
                "size it with ftruncate before it is opened, or open it again later",
            ));
        }
        options.require_size(status.size)?;
        status.size
    } else {
        let mut bytes = [0; header::SIZE];
        let facts = Facts { object_size: status.size, page_size: page_size() as u64 };
        let count = file::read_at(fd, &mut bytes, 0).map_err(Failure::system)?;
        if count < bytes.len() {
            return Err(Failure::of(Status::ErrNotARegion));
        }
        let header = match Header::decode(&bytes, &facts) {
            // It may have grown between the two looks: the header is the later one, so the object is looked at again.
            Err(failure) if failure.status == Status::ErrCorrupt => {
                let now = file::status(fd).map_err(Failure::system)?;
                region.confirm(now.size);
                Header::decode(&bytes, &Facts { object_size: now.size, ..facts })?
            }
            header => header?,
        };
        options.require(&header)?;
        recorded = lease::record(fd, region.lease());
        header.max_size
    };
    let sealable = matches!(region.backend, Backend::Memfd | Backend::Anonymous);
    let sealed = sealable && file::seals(fd).is_ok_and(|seals| seals & libc::F_SEAL_SHRINK != 0);
    if !sealed {
        region.set_flag(FRAGILE);
    }
    // Huge pages of its own are mapped, and unmapped, whole.
    let unit = if sealed { status.block.max(page_size() as u64) } else { page_size() as u64 };
    map(region, max_size, unit, options)?;
    if !recorded {
        lease::record_mapped(region.hot.window.start(), region.lease());
    }
    Ok(())
}

fn map(region: &Region, max_size: u64, unit: u64, options: &Options<'_>) -> Outcome<()> {
    let length = max_size
        .checked_next_multiple_of(unit)
        .and_then(|size| size.checked_add(options.data_offset() as u64))
        .and_then(|length| length.checked_next_multiple_of(unit));
    let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
        return Err(Failure::of(Status::ErrTooBig));
    };
    let prot = if options.read_only { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
    region.hot.window.map(region.fd(), length, prot, 0).map_err(|errno| match errno.0 {
        libc::EPERM => Failure::new(
            Status::ErrNotPermitted,
            "{name} is sealed: nobody may begin to write to it any more",
            "open it with read_only",
        ),
        _ => Failure::no_memory(errno, length as u64),
    })?;
    region.set_capacity(max_size);
    if options.huge != Huge::None {
        // Advice: the kernel may have no huge pages for this kind of memory, and says nothing.
        region.hot.huge.add(region.hot.window.start(), length);
        let _ = memory::madvise(region.hot.window.start(), length, libc::MADV_HUGEPAGE);
    }
    Ok(())
}

fn build(mut region: Region, place: &mut Place, options: &mut Options<'_>, deadline: &mut Deadline) -> Outcome<Region> {
    if options.huge == Huge::Require {
        return Err(Failure::backend(
            "huge pages can be asked for of posix: and file: regions, but not required",
            "use huge_pages try, or memfd: or sysv: where they can be reserved",
        ));
    }
    let flags = libc::O_TMPFILE | libc::O_RDWR;
    // The temporary name of the object, and the lock `BUILD`, where it cannot do without a name.
    let temporary = match file::open_at(HERE, place.folder(), flags, options.mode()) {
        Ok(fd) => {
            region.set_fd(fd);
            None
        }
        // What a file system or kernel without O_TMPFILE says.
        Err(Errno(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) => {
            Some(temporary(&region, place, options, deadline)?)
        }
        Err(errno) => return Err(cannot_create(errno, place)),
    };
    let published = fill(&mut region, options, page_size() as u64, deadline).and_then(|()| {
        match &temporary {
            None => file::link_unnamed(region.fd(), HERE, place.path()),
            // Who keeps to the lock leaves the name alone; others may have removed or replaced it.
            Some(path) if !leads_to(path.c(), region.fd()) => return Err(Failure::of(Status::ErrRemoved)),
            Some(path) => file::rename_exclusively(HERE, path.c(), place.path()),
        }
        .map_err(|errno| match errno.0 {
            libc::EEXIST => exists(place),
            libc::ENOENT if temporary.is_some() && file::status_in(HERE, place.folder()).is_ok() => {
                Failure::of(Status::ErrRemoved)
            }
            libc::ENOENT if temporary.is_none() && file::status_in(HERE, place.folder()).is_ok() => no_proc(errno),
            _ => cannot_create(errno, place),
        })
    });
    if let Some(path) = &temporary {
        if published.is_err() && leads_to(path.c(), region.fd()) {
            let _ = file::unlink_at(HERE, path.c());
        }
        let _ = file::lock(region.fd(), Lock::Unlocked, BUILD, 1);
    }
    published.map(|()| region)
}

/// What cannot be done where /proc is not mounted.
pub fn no_proc(errno: Errno) -> Failure {
    let failure = Failure::new(
        Status::ErrUnsupported,
        "the way to another name or descriptor of {name} leads through /proc, which is not mounted",
        "mount /proc",
    );
    Failure { errno: errno.0, ..failure }
}

fn cannot_create(errno: Errno, place: &Place) -> Failure {
    let failure = match errno.0 {
        libc::ENOENT | libc::ENOTDIR => Failure::new(
            Status::ErrNotFound,
            "there is no folder for {name}",
            "create the folder first; for posix: /dev/shm must be mounted",
        ),
        libc::EACCES | libc::EPERM | libc::EROFS => Failure::new(
            Status::ErrAccess,
            "the folder of {name} does not let this user create files",
            "use another folder, or let its owner grant access",
        ),
        libc::ENOSPC => Failure::new(
            Status::ErrNoSpace,
            "the file system of {name} has no room for another file ({free} bytes free of {capacity})",
            "remove what nobody needs, or make it larger (its number of files may be bounded too)",
        )
        .with(|figures| {
            if let Ok(room) = file::room_at(place.folder()) {
                (figures.free, figures.capacity) = (room.free, room.capacity);
            }
        }),
        _ => return Failure::system(errno),
    };
    Failure { errno: errno.0, ..failure }
}

/// Opens the temporary file of a name, alone: one that a dead builder left is used again.
fn temporary(region: &Region, place: &mut Place, options: &Options<'_>, deadline: &mut Deadline) -> Outcome<Chars> {
    let path = own_path(place, b"/.shmkit-new-")?;
    let name = path.c();
    loop {
        let (fd, status) = open_own(name, options.mode()).map_err(|errno| cannot_create(errno, place))?;
        region.set_fd(fd);
        let locked = lock_build(fd, deadline)?;
        if !status.is_regular() || status.uid != process::effective_user() {
            return Err(Failure::of(Status::ErrOwner).with(|figures| figures.uid = status.uid));
        }
        // The one before may have given this file its final name, or removed it. Without the lock the name says
        // nothing: while the kernel removes it, it still leads to the file for a moment, which has no links any more.
        let now = file::status_in(HERE, name).ok();
        let now = now.filter(|now| locked && (now.dev, now.ino) == (status.dev, status.ino));
        match now {
            // It died between giving the object its final name and taking this one away: it is a region, and in use.
            Some(now) if now.links > 1 => {
                let _ = file::unlink_at(HERE, name);
            }
            Some(_) => {
                file::ftruncate(fd, 0).map_err(Failure::system)?;
                return Ok(path);
            }
            None => {}
        }
        region.release();
    }
}

/// Whether a name leads to what a descriptor is of.
fn leads_to(name: &CStr, fd: i32) -> bool {
    match (file::status_in(HERE, name), file::status(fd)) {
        (Ok(there), Ok(own)) => (there.dev, there.ino) == (own.dev, own.ino),
        _ => false,
    }
}

/// A path of the library's own beside a name.
fn own_path(place: &mut Place, prefix: &[u8]) -> Outcome<Chars> {
    let mut digits = Text::<20>::new();
    digits.push_hex(place.hash());
    Chars::join(&[place.folder().to_bytes(), prefix, digits.bytes()])
}

/// Opens or makes a file of the library's own. A umask may take all permissions from a new one: its maker gives them
/// back at once, and so does whoever comes before that, or after its maker's death. Who comes before that and is slow
/// may be late: hence the mode that the file shall have in the end, which all who make the same region want alike.
fn open_own(name: &CStr, mode: u32) -> Result<(i32, file::Status), Errno> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut tries = 0;
    loop {
        match file::open_at(HERE, name, flags, 0o600) {
            Ok(fd) => {
                let status = file::status(fd).inspect_err(|_| {
                    let _ = file::close(fd);
                })?;
                if is_closed_own(&status) {
                    let _ = file::set_mode(fd, mode);
                }
                return Ok((fd, status));
            }
            // Each time it may be another file: its maker is done with the one before.
            Err(Errno(libc::EACCES)) if tries < 1000 && open_up(name, mode) => tries += 1,
            Err(errno) => return Err(errno),
        }
    }
}

fn is_closed_own(status: &file::Status) -> bool {
    status.is_regular() && status.mode & 0o600 != 0o600 && status.uid == process::effective_user()
}

/// Gives the permissions back to a file of this user's that has none. Not by its name, which may lead elsewhere by now.
fn open_up(name: &CStr, mode: u32) -> bool {
    let Ok(fd) = file::open_at(HERE, name, libc::O_PATH | libc::O_NOFOLLOW, 0) else {
        return file::status_in(HERE, name).is_err();
    };
    let done = match file::status(fd) {
        Ok(status) if is_closed_own(&status) => file::set_mode_of_path(fd, mode).is_ok(),
        // Its maker was first.
        Ok(status) => status.is_regular() && status.uid == process::effective_user(),
        Err(_) => false,
    };
    let _ = file::close(fd);
    done
}

/// Locks a file for building. False: its holder removed it, and it is of no use any more.
fn lock_build(fd: i32, deadline: &mut Deadline) -> Outcome<bool> {
    loop {
        match file::lock(fd, Lock::Exclusive, BUILD, 1) {
            Err(Errno(libc::EAGAIN | libc::EACCES)) => {
                if file::status(fd).is_ok_and(|status| status.links == 0) {
                    return Ok(false);
                }
                deadline.pause("another process built the region")?;
            }
            Ok(()) => return Ok(true),
            Err(errno) => return Err(Failure::system(errno)),
        }
    }
}

/// Makes an object without a name that is all of a region: mode, space, header, lease, mapping, the creator's callback.
fn fill(region: &mut Region, options: &mut Options<'_>, unit: u64, deadline: &mut Deadline) -> Outcome<()> {
    let fd = region.fd();
    let status = file::status(fd).map_err(Failure::system)?;
    region.identity = (status.dev, status.ino);
    if let Some(group) = options.group.filter(|group| *group != status.gid) {
        file::set_group(fd, group).map_err(|errno| {
            let failure = Failure::new(
                Status::ErrNotPermitted,
                "this user may not give {name} to group {count}",
                "name a group that this user is in",
            );
            Failure { errno: errno.0, ..failure }.with(|figures| figures.count = u64::from(group))
        })?;
    }
    if status.mode & 0o777 != options.mode() {
        file::set_mode(fd, options.mode()).map_err(Failure::system)?;
    }
    let max_size = if options.raw { options.size } else { options.max_size.max(options.size) };
    // Other software may look at the size of a raw region: it is what was asked for.
    let exact = options.raw && unit == page_size() as u64;
    let total = (options.size + options.data_offset() as u64).next_multiple_of(if exact { 1 } else { unit });
    reserve(fd, 0, total, options.space)?;
    region.confirm(total);
    let mut first = [0; header::SIZE + header::RECORD_SIZE];
    if !options.raw {
        region.set_lease(lease::take(fd, false, 0, deadline)?);
        let creator = identity::own();
        let header = Header {
            state: READY,
            flags: if options.persistent { header::PERSISTENT } else { 0 },
            data_offset: options.data_offset() as u64,
            size: options.size,
            max_size,
            generation: 0,
            layout: options.layout,
            creator,
            created: process::wall_clock_ns(),
            backend: region.backend as u32,
        };
        first[..header::SIZE].copy_from_slice(&header.encode(page_size() as u32));
        first[header::SIZE..].copy_from_slice(&Record { process: creator }.encode());
    }
    let written = if options.raw { Ok(first.len()) } else { file::write_at(fd, &first, 0) };
    let fragile = matches!(region.backend, Backend::Posix | Backend::File);
    if fragile {
        region.set_flag(FRAGILE);
    }
    map(region, max_size, unit, options)?;
    match written {
        Ok(count) if count == first.len() => {}
        // Huge pages can be written through a mapping only.
        Err(Errno(libc::EINVAL)) if region.hot.window.write(0, &first) => {}
        Ok(_) => return Err(Failure::no_space(fd, total)),
        Err(errno) => return Err(not_written(fd, errno, total)),
    }
    if options.space == Space::Populate {
        // Linux 5.14. Older kernels populate at the first touch.
        let _ = memory::madvise(region.hot.window.start(), total as usize, libc::MADV_POPULATE_WRITE);
    }
    region.initialise(options)?;
    // The guard may have put zeros where there was no space for what the callback wrote.
    if region.hot.is(POISONED) { Err(Failure::no_space(fd, total)) } else { Ok(()) }
}

/// Refuses an object that is longer than this process may write: past this limit the kernel sends SIGXFSZ, which kills,
/// even where nothing gets longer.
pub fn require_writable(end: u64) -> Outcome<()> {
    let limit = soft_limit(Resource::FileSize);
    if end <= limit {
        return Ok(());
    }
    Err(Failure::new(
        Status::ErrTooBig,
        "{needed} bytes are more than RLIMIT_FSIZE allows a file ({limit})",
        "ask for less, or raise the limit (ulimit -f)",
    )
    .with(|figures| (figures.needed, figures.limit) = (end, limit)))
}

/// Makes an object `end` bytes long, the bytes from `start` with space of their own unless that is left for later.
pub fn reserve(fd: i32, start: u64, end: u64, space: Space) -> Outcome<()> {
    require_writable(end)?;
    if space == Space::Lazy {
        return file::ftruncate(fd, end as i64).map_err(|errno| not_written(fd, errno, end - start));
    }
    let needed = end.saturating_sub(start);
    if needed >= LARGE && file::is_memory(fd) {
        require_memory(needed)?;
    }
    // A signal that comes again and again must not keep a large reservation from ever ending: smaller and smaller
    // steps.
    let (mut at, mut step) = (start, end - start);
    while at < end {
        let length = step.min(end - at);
        match file::posix_fallocate(fd, at as i64, length as i64) {
            Ok(()) => at += length,
            Err(Errno(libc::EINTR)) => step = (step / 2).max(1 << 20),
            Err(Errno(libc::ENOSPC)) => {
                let failure = Failure::no_space(fd, end - start);
                // What was reserved before the space ran out must not stay.
                let _ = file::ftruncate(fd, start as i64);
                return Err(failure);
            }
            Err(errno) => {
                let _ = file::ftruncate(fd, start as i64);
                return Err(Failure::system(errno));
            }
        }
    }
    Ok(())
}

/// Why nothing was written. A lazy object meets a full file system here, and not when it is made.
fn not_written(fd: i32, errno: Errno, needed: u64) -> Failure {
    match errno.0 {
        libc::ENOSPC => Failure::no_space(fd, needed),
        _ => Failure::system(errno),
    }
}

/// Refuses more than the machine can still give. The kernel does not: where memory has no bound of its own, or one as
/// large as the machine, it goes on until it has to kill processes.
pub fn require_memory(needed: u64) -> Outcome<()> {
    let Some(room) = crate::sys::limits::memory() else { return Ok(()) };
    if needed <= room.free {
        return Ok(());
    }
    Err(Failure::new(
        Status::ErrNoSpace,
        "{name} needs {needed} more bytes; the machine has {free} available of {capacity}",
        "ask for less, or use a file: region, which needs no memory of its own",
    )
    .with(|figures| (figures.needed, figures.free, figures.capacity) = (needed, room.free, room.capacity)))
}

/// Too few huge pages for so many bytes.
pub fn no_huge_pages(errno: i32, needed: u64) -> Failure {
    let failure = Failure::new(
        Status::ErrNoMemory,
        "the system has not enough huge pages for {needed} bytes, or forbids them to this user",
        "raise vm.nr_hugepages, or use huge_pages try",
    );
    Failure { errno, ..failure }.with(|figures| figures.needed = needed)
}

/// Makes a memfd or anonymous region.
pub fn unnamed(
    hot: &'static Hot,
    parsed: &Parsed,
    backend: Backend,
    label: &[u8],
    options: &mut Options<'_>,
    deadline: &mut Deadline,
) -> Outcome<Region> {
    let prefix: &[u8] = if backend == Backend::Anonymous { b"shmkit-" } else { b"" };
    let name = Chars::join(&[prefix, label])?;
    let name = name.c();
    if options.huge != Huge::None {
        let huge = crate::sys::limits::huge_page_size().unwrap_or(0) as u64;
        let region = Region::new(hot, parsed.text(), backend, options)?;
        match memfd(region, name, libc::MFD_HUGETLB, huge, options, deadline) {
            Err(failure) if options.huge == Huge::Require => {
                return Err(match failure.status {
                    // The figures of a file system say nothing of huge pages.
                    Status::ErrNoSpace | Status::ErrNoMemory => no_huge_pages(failure.errno, options.size),
                    _ => failure,
                });
            }
            Err(failure) if failure.status == Status::ErrCallback => return Err(failure),
            Err(_) => {}
            made => return made,
        }
    }
    memfd(Region::new(hot, parsed.text(), backend, options)?, name, 0, page_size() as u64, options, deadline)
}

fn memfd(
    mut region: Region,
    name: &CStr,
    flags: u32,
    unit: u64,
    options: &mut Options<'_>,
    deadline: &mut Deadline,
) -> Outcome<Region> {
    if unit == 0 {
        return Err(Failure::new(
            Status::ErrUnsupported,
            "this system has no huge pages",
            "use huge_pages try or none",
        ));
    }
    let flags = flags | libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // The seal also keeps the permission bits for execution as they are.
    let exec = if options.mode() & 0o111 == 0 { MFD_NOEXEC_SEAL } else { MFD_EXEC };
    let fd = match posix::memfd_create(name, flags | exec) {
        // Before Linux 6.3.
        Err(Errno(libc::EINVAL)) => posix::memfd_create(name, flags),
        other => other,
    };
    region.set_fd(fd.and_then(file::above_stdio).map_err(Failure::system)?);
    fill(&mut region, options, unit, deadline)?;
    // From here on nobody can take the memory away: no guard is needed.
    let fixed = if options.raw || options.max_size <= options.size { libc::F_SEAL_GROW } else { 0 };
    file::add_seals(region.fd(), libc::F_SEAL_SHRINK | fixed).map_err(Failure::system)?;
    Ok(region)
}

/// Reads the header of an object into `bytes`, and says what the kernel knows of the object.
pub fn read_header(fd: i32, bytes: &mut [u8; header::SIZE]) -> Outcome<Facts> {
    let count = file::read_at(fd, bytes, 0).map_err(Failure::system)?;
    let status = file::status(fd).map_err(Failure::system)?;
    if count < bytes.len() {
        return Err(Failure::of(Status::ErrTruncated));
    }
    Ok(Facts { object_size: status.size, page_size: page_size() as u64 })
}

/// In a forked child: an open file description of its own, with a lease of its own, under the descriptor and under the
/// mapping, so that the parent's lease ends with the parent. What cannot be had (/proc is missing, the process gave up
/// the right to open it) leaves the parent's: then either keeps the other's lease alive, which is the safe side.
pub fn renew(region: &Region) {
    let fd = region.fd();
    region.set_own_description(false);
    let Ok(access) = file::open_flags(fd) else { return };
    let access = access & libc::O_ACCMODE;
    let Ok(new) = file::reopen(fd, access) else { return };
    // A fork must not wait for a peer that stands still.
    let mut deadline = Deadline::after(RENEWAL_NS);
    let (mut own, mut recorded) = (Lease::None, true);
    if region.lease() != Lease::None {
        match lease::take(new, access == libc::O_RDONLY, lease::hint(), &mut deadline) {
            Ok(lease) => own = lease,
            Err(_) => {
                let _ = file::close(new);
                return;
            }
        }
        // Not past the end of what a peer made shorter: that would make it longer.
        if file::status(new).is_ok_and(|status| status.size >= page_size() as u64) {
            recorded = lease::record(new, own);
        }
    }
    inherit::remap(region.hot, new);
    if !recorded {
        lease::record_mapped(region.hot.window.start(), own);
    }
    if file::replace(new, fd).is_ok() {
        region.set_lease(own);
        region.set_own_description(true);
    } else {
        let _ = file::close(new);
    }
}

/// Keeps others from creating a region that this process is about to initialise: a file of its own beside the name,
/// where all see it who could create it, locked. A dead claimer's lock is gone, and its file is used again.
struct Claim {
    hot: &'static Hot,
    fd: i32,
    path: Chars,
    held: bool,
}

impl Claim {
    /// Waits for other claimers. `None` where no claim can be made (no such folder, another user's file in the way, no
    /// locks): then the region is still made atomically, but two callbacks may run, on two objects of which one is
    /// discarded.
    fn take(hot: &'static Hot, place: &mut Place, deadline: &mut Deadline) -> Outcome<Option<Claim>> {
        loop {
            let path = own_path(place, b"/.shmkit-claim-")?;
            let Ok((fd, status)) = open_own(path.c(), 0o600) else { return Ok(None) };
            // From here on `Drop` closes it.
            hot.set_claim(fd);
            let mut claim = Claim { hot, fd, path, held: false };
            if status.uid != process::effective_user() {
                return Ok(None);
            }
            let locked = match lock_build(fd, deadline) {
                Err(failure) if failure.status != Status::ErrTimeout => return Ok(None),
                locked => locked?,
            };
            // The claimer before removed the file when it was done: then another one counts now.
            if locked && file::status(fd).is_ok_and(|status| status.links > 0) {
                claim.held = true;
                return Ok(Some(claim));
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The name first, then the lock: who waits for the lock finds the file without a name.
        if self.held {
            let _ = file::unlink_at(HERE, self.path.c());
            let _ = file::lock(self.fd, Lock::Unlocked, BUILD, 1);
        }
        self.hot.set_claim(-1);
        let _ = file::close(self.fd);
    }
}

/// A descriptor for writing, closed when it is dropped.
struct Writable(i32);

impl Writable {
    fn open(place: &Place, identity: (u64, u64)) -> Option<Writable> {
        let flags = libc::O_RDWR | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let writable = Writable(file::open_at(HERE, place.path(), flags, 0).ok()?);
        let same = file::status(writable.0).is_ok_and(|status| (status.dev, status.ino) == identity);
        same.then_some(writable)
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        let _ = file::close(self.0);
    }
}

/// Removes a region's name, if it still leads to the object of this identity. The lock is held until the result is
/// dropped.
pub fn unlink_same(
    fd: i32,
    backend: Backend,
    rest: &[u8],
    identity: (u64, u64),
    deadline: &mut Deadline,
) -> Outcome<lease::Held> {
    let place = Place::new(backend, rest)?;
    // A descriptor for reading only cannot lock; one for writing may be had by the name, if that is still the object's.
    let writable = match file::open_flags(fd).unwrap_or(libc::O_RDWR) & libc::O_ACCMODE {
        libc::O_RDONLY => Writable::open(&place, identity),
        _ => None,
    };
    let locked = writable.as_ref().map_or(fd, |writable| writable.0);
    let alone = lease::hold(locked, lease::NAME, deadline, "another process removed the name")?;
    // Nobody who keeps to this lock can replace the name now: it is free only after an unlink, which needs the lock.
    match file::status_in(HERE, place.path()) {
        Ok(status) if (status.dev, status.ino) == identity => {
            file::unlink_at(HERE, place.path()).map_err(|errno| match errno.0 {
                libc::EACCES | libc::EPERM => Failure::new(
                    Status::ErrNotPermitted,
                    "{name} belongs to another user, and its folder lets only the owner remove it",
                    "unlink it as its owner",
                ),
                _ => Failure::system(errno),
            })
        }
        Ok(_) => Err(Failure::new(
            Status::ErrRemoved,
            "{name} now leads to another object: this one's name was removed, and somebody made it again",
            "leave it alone; it is not this region",
        )),
        Err(Errno(libc::ENOENT)) => {
            Err(Failure::new(Status::ErrRemoved, "{name} was removed already", "one process should own the unlink"))
        }
        Err(errno) => Err(Failure::system(errno)),
    }
    .map(|()| alone)
}

/// Gives a region's name to a draft, a file that has a name already in the same folder, unless somebody has the region
/// open: whether it did. The name leads to the one or to the other all the time.
pub fn replace(backend: Backend, rest: &[u8], draft: &CStr, deadline: &mut Deadline) -> Outcome<bool> {
    let place = Place::new(backend, rest)?;
    let fd = open_to_unlink(&place)?;
    let result = replace_held(fd, &place, draft, deadline);
    // By name, not only by close: a child that was forked meanwhile may have the same description.
    let _ = file::lock(fd, Lock::Unlocked, 0, 0);
    let _ = file::close(fd);
    result
}

fn replace_held(fd: i32, place: &Place, draft: &CStr, deadline: &mut Deadline) -> Outcome<bool> {
    let status = survey::require_region(fd)?;
    let alone = lease::hold(fd, lease::NAME, deadline, "another process removed the name")?;
    // Nobody can begin to use it now. Without locks, or with a descriptor for reading only, a look is all there is.
    let held = match lease::take_all(fd) {
        Some(all) => !all,
        None => lease::is_held(fd) == Some(true),
    };
    if held {
        return Ok(false);
    }
    let replaced = match file::status_in(HERE, place.path()) {
        Ok(now) if (now.dev, now.ino) == (status.dev, status.ino) => {
            file::rename(HERE, draft, place.path()).map(|()| true).map_err(Failure::system)
        }
        Ok(_) | Err(Errno(libc::ENOENT)) => Err(Failure::of(Status::ErrRemoved)),
        Err(errno) => Err(Failure::system(errno)),
    };
    alone.until_close();
    replaced
}

/// Opens what has a name, to remove that: a lock needs writing; who may only read can still remove a name in a folder of
/// its own.
fn open_to_unlink(place: &Place) -> Outcome<i32> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    file::open_at(HERE, place.path(), libc::O_RDWR | flags, 0)
        .or_else(|_| file::open_at(HERE, place.path(), libc::O_RDONLY | flags, 0))
        .map_err(|errno| match errno.0 {
            libc::ENOENT => Failure::new(Status::ErrNotFound, "there is no {name}", "it was unlinked already"),
            _ => cannot_open(errno, place.path()),
        })
}

/// Removes the name of whatever region it leads to; only of the one of this identity, if one is named.
pub fn unlink(backend: Backend, rest: &[u8], identity: Option<(u64, u64)>, deadline: &mut Deadline) -> Outcome<()> {
    let place = Place::new(backend, rest)?;
    let fd = open_to_unlink(&place)?;
    let result = survey::require_region(fd)
        .and_then(|status| unlink_same(fd, backend, rest, identity.unwrap_or((status.dev, status.ino)), deadline))
        .map(lease::Held::until_close);
    let _ = file::close(fd);
    result
}
