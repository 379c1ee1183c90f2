//! Something that is read from its beginning to its end while others may use it: a file, a POSIX object, a System V
//! segment; all of it, or the data of a region. Never touches memory that can go away: a truncation is an error here.
//! Next: `copy.rs` and `dump.rs`, which read.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use shmkit::error::Errno;
use shmkit::region::address::{Address, Backend, Parsed, path_of};
use shmkit::region::header::{self, Facts, Header};
use shmkit::sys::limits::page_size;
use shmkit::sys::shared::Window;
use shmkit::sys::{file, sysv};

use crate::exit::{Exit, Failure};
use crate::{gather, printable, refusal};

/// What an argument names: an address, as the tool prints it too, or a path, which means the file there.
pub struct Named {
    /// The canonical address.
    pub address: Vec<u8>,
    pub place: Place,
}

pub enum Place {
    /// A file or POSIX object.
    Path(PathBuf),
    /// A System V key.
    Key(i32),
    /// The id of a segment, which may have no key.
    Id(i32),
}

impl Named {
    pub fn new(text: &OsStr) -> Result<Named, Failure> {
        let bytes = text.as_bytes();
        if let Some(scheme) = [&b"semset:"[..], b"semaphore:"].iter().find(|scheme| bytes.starts_with(scheme)) {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} is a set of semaphores, which has no bytes", printable::text(bytes)),
                format!("a file whose name begins with {} is ./{0}...", printable::text(scheme)),
            ));
        }
        if let Some(digits) = bytes.strip_prefix(b"sysv:id=") {
            let id = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).filter(|id| *id >= 0);
            let id: i32 = id.ok_or_else(|| {
                let cause = format!("{} is no address", printable::text(bytes));
                Failure::new(Exit::Usage, cause, "write a number after id=")
            })?;
            return Ok(Named { address: format!("sysv:id={id}").into_bytes(), place: Place::Id(id) });
        }
        let schemes: [&[u8]; 5] = [b"posix:", b"sysv:", b"file:", b"memfd:", b"anon:"];
        if !schemes.iter().any(|scheme| bytes.starts_with(scheme)) {
            // A path is what it is: nothing that the tool prints has no scheme.
            return Named::of_address(&[b"file:", bytes].concat());
        }
        let exists = |address: &[u8]| Named::of_address(address).is_ok_and(|named| named.exists());
        Named::of_address(&gather::meant(bytes, exists)?)
    }

    /// What an address names, byte for byte.
    fn of_address(address: &[u8]) -> Result<Named, Failure> {
        let words = |failure: shmkit::region::Failure| refusal::failure(&failure, address);
        let parsed = Parsed::new(address).map_err(words)?;
        let place = match parsed.get() {
            Address::Path(backend, rest) => {
                let path = path_of(backend, rest).map_err(words)?;
                Place::Path(PathBuf::from(OsString::from_vec(path.bytes().to_vec())))
            }
            Address::Key(key) => Place::Key(key),
            Address::Label(..) => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("{} has no name by which another process could find it", printable::text(address)),
                    "name the file that a process has open, as /proc/PID/fd/N",
                ));
            }
        };
        Ok(Named { address: parsed.text().to_vec(), place })
    }

    fn exists(&self) -> bool {
        matches!(&self.place, Place::Path(path) if path.symlink_metadata().is_ok())
    }

    /// As it is shown.
    pub fn text(&self) -> String {
        printable::text(&self.address)
    }

    /// The kind of memory, as a header has it.
    pub fn backend(&self) -> Backend {
        match self.place {
            Place::Key(_) | Place::Id(_) => Backend::Sysv,
            Place::Path(_) if self.address.starts_with(b"posix:") => Backend::Posix,
            Place::Path(_) => Backend::File,
        }
    }
}

/// What the system refused, in its own words.
pub fn refused(what: &str, error: &std::io::Error) -> Failure {
    let exit = match error.kind() {
        std::io::ErrorKind::NotFound => Exit::NotFound,
        std::io::ErrorKind::PermissionDenied => Exit::NotPermitted,
        _ => Exit::Failed,
    };
    Failure::new(exit, format!("{what}: {error}"), "")
}

/// The same for a call of the library's.
pub fn refused_errno(what: &str, errno: Errno) -> Failure {
    refused(what, &std::io::Error::from_raw_os_error(errno.0))
}

enum Memory {
    File(File),
    Segment(Attached),
}

/// A segment that is attached until this is dropped.
pub struct Attached {
    window: Window,
    pub id: i32,
}

impl Attached {
    pub fn new(id: i32, size: u64, flags: i32) -> Result<Attached, Errno> {
        let attached = Attached { window: Window::default(), id };
        attached.window.attach(id, size as usize, flags)?;
        Ok(attached)
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        self.window.write(offset as usize, bytes)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.window.detach();
    }
}

/// What is read. Offsets count from the beginning of what is wanted: of the object, or of a region's data.
pub struct Source {
    pub name: String,
    memory: Memory,
    /// What the header said when this was opened, when it is a region and its header can be true.
    pub header: Option<Header>,
    /// Why the header of what claims to be a region is not believed.
    pub lie: Option<Failure>,
    /// Whether only the data of a region is read.
    data_only: bool,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Device and inode; 0 and the id of a segment.
    pub identity: (u64, u64),
}

impl Source {
    /// Opens it for reading; `data_only` for the data of a region.
    pub fn open(named: &Named, data_only: bool) -> Result<Source, Failure> {
        let mut source = match &named.place {
            Place::Path(path) => Source::of_file(named, path)?,
            Place::Key(key) => {
                let id = sysv::shmget(*key, 0, 0).map_err(|errno| refused_errno(&named.text(), errno))?;
                Source::of_segment(named, id)?
            }
            Place::Id(id) => Source::of_segment(named, *id)?,
        };
        let mut bytes = [0; header::SIZE];
        let object_size = source.object_size()?;
        if object_size >= header::SIZE as u64
            && source.read_object(0, &mut bytes)? == bytes.len()
            && Header::is_claimed(&bytes)
        {
            let facts = Facts { object_size, page_size: page_size() as u64 };
            match Header::decode(&bytes, &facts) {
                Ok(header) => source.header = Some(header),
                Err(failure) => source.lie = Some(refusal::failure(&failure, &named.address)),
            }
        }
        if data_only && source.header.is_none() {
            return Err(source.lie.unwrap_or_else(|| {
                let cause = format!("{} is no region of shmkit's: all of it is data", source.name);
                Failure::new(Exit::Failed, cause, "leave --data out")
            }));
        }
        source.data_only = data_only;
        Ok(source)
    }

    fn of_file(named: &Named, path: &std::path::Path) -> Result<Source, Failure> {
        let name = named.text();
        // Not through a link where there should be none; and a pipe must not hold this up.
        let flags = if named.backend() == Backend::Posix { libc::O_NOFOLLOW } else { 0 } | libc::O_NONBLOCK;
        let file =
            OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| refused(&name, &error))?;
        let status = file.metadata().map_err(|error| refused(&name, &error))?;
        if !status.is_file() {
            return Err(Failure::new(Exit::Failed, format!("{name} is no regular file or object"), "name a file"));
        }
        // Files of /proc have contents and no size: what is copied of them would be nothing.
        let empty = |file: &File| file.metadata().is_ok_and(|status| status.len() == 0);
        if empty(&file) && matches!(file.read_at(&mut [0], 0), Ok(1)) && empty(&file) {
            return Err(Failure::new(Exit::Failed, format!("{name} does not tell its size"), "read it with cat"));
        }
        Ok(Source {
            name,
            header: None,
            lie: None,
            data_only: false,
            mode: status.mode() & 0o777,
            uid: status.uid(),
            gid: status.gid(),
            identity: (status.dev(), status.ino()),
            memory: Memory::File(file),
        })
    }

    fn of_segment(named: &Named, id: i32) -> Result<Source, Failure> {
        let name = named.text();
        // There is no segment of this id.
        let refuse = |errno| match errno {
            Errno(libc::EINVAL | libc::EIDRM) => refused_errno(&name, Errno(libc::ENOENT)),
            errno => refused_errno(&name, errno),
        };
        let status = sysv::status(id).map_err(refuse)?;
        let attached = Attached::new(id, status.size, libc::SHM_RDONLY).map_err(refuse)?;
        Ok(Source {
            memory: Memory::Segment(attached),
            header: None,
            lie: None,
            data_only: false,
            mode: status.mode & 0o777,
            uid: status.uid,
            gid: status.gid,
            identity: (0, id as u64),
            name,
        })
    }

    /// The descriptor of what has one.
    pub fn fd(&self) -> Option<i32> {
        match &self.memory {
            Memory::File(file) => Some(file.as_raw_fd()),
            Memory::Segment(_) => None,
        }
    }

    /// Where what is wanted begins in the object.
    pub fn base(&self) -> u64 {
        match self.header {
            Some(header) if self.data_only => header.data_offset,
            _ => 0,
        }
    }

    fn object_size(&self) -> Result<u64, Failure> {
        match &self.memory {
            Memory::File(file) => Ok(file.metadata().map_err(|error| refused(&self.name, &error))?.len()),
            // A segment never changes its size.
            Memory::Segment(attached) => Ok(attached.window.length() as u64),
        }
    }

    /// Bytes that there are now. A region that is shorter than its header says has been truncated: it has what is
    /// there.
    pub fn size(&self) -> Result<u64, Failure> {
        let object = self.object_size()?;
        if !self.data_only {
            return Ok(object);
        }
        let mut word = [0; 8];
        let room = object.saturating_sub(self.base());
        match self.read_object(header::SIZE_AT as u64, &mut word)? {
            8 => Ok(u64::from_ne_bytes(word).min(room)),
            _ => Ok(0),
        }
    }

    /// Whether all of it has space of its own, holes too. A segment's space is counted when it is made; a region's copy
    /// is to have its own again, and other software is not known to count on it.
    pub fn is_reserved(&self) -> Result<bool, Failure> {
        match &self.memory {
            Memory::File(file) => {
                let status = file.metadata().map_err(|error| refused(&self.name, &error))?;
                Ok(status.len() > 0 && status.blocks().saturating_mul(512) >= status.len())
            }
            Memory::Segment(_) => Ok(self.header.is_some() && !self.data_only),
        }
    }

    /// The header as it is now, against an object of this many bytes.
    pub fn header_now(&self, object_size: u64) -> Option<Header> {
        let mut bytes = [0; header::SIZE];
        let whole = self.read_object(0, &mut bytes).ok()? == bytes.len();
        let facts = Facts { object_size, page_size: page_size() as u64 };
        Header::decode(&bytes, &facts).ok().filter(|_| whole)
    }

    /// The first bytes at or after `from` that are no hole. Of a segment the kernel tells no holes.
    pub fn data_at(&self, from: u64) -> Result<Option<(u64, u64)>, Failure> {
        let end = self.size()?;
        let Some(fd) = self.fd() else { return Ok((from < end).then_some((from, end))) };
        let base = self.base();
        match file::data_at(fd, base + from) {
            // Of a truncation meanwhile the caller finds out by the size.
            Ok(found) => Ok(found.map(|(start, end)| (start.saturating_sub(base), end.saturating_sub(base)))),
            // It ended between the two looks.
            Err(Errno(libc::ENXIO)) => Ok(None),
            // No holes are known here.
            Err(Errno(libc::EINVAL | libc::EOPNOTSUPP)) => Ok((from < end).then_some((from, end))),
            Err(errno) => Err(refused_errno(&self.name, errno)),
        }
    }

    fn read_object(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        match &self.memory {
            Memory::File(file) => {
                let mut done = 0;
                while done < buffer.len() {
                    match file.read_at(&mut buffer[done..], offset + done as u64) {
                        Ok(0) => break,
                        Ok(count) => done += count,
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(refused(&self.name, &error)),
                    }
                }
                Ok(done)
            }
            Memory::Segment(attached) => {
                Ok(if attached.window.read(offset as usize, buffer) { buffer.len() } else { 0 })
            }
        }
    }

    /// Reads; fewer bytes than asked for only at the end.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, Failure> {
        self.read_object(self.base() + offset, buffer)
    }

    /// That it became shorter while it was read, or was never as long as it says.
    pub fn truncated(&self, doing: &str, before: u64, done: u64) -> Failure {
        let now = self.size().unwrap_or(0);
        if now >= before {
            return Failure::new(
                Exit::Failed,
                format!(
                    "{} has {now} bytes by its size, and fewer could be read: it tells a size that it does not have, \
                     as files of /sys do, or was shorter for a moment",
                    self.name
                ),
                "read it with cat",
            );
        }
        Failure::new(
            Exit::Failed,
            format!(
                "{} was truncated during the {doing}: it had {before} bytes and has {now}; {done} bytes were done",
                self.name
            ),
            "find out who makes it shorter, and try again when that is over",
        )
    }
}
