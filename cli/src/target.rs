//! What a copy is made into: a file without a name until it is whole, or a segment that others may not open until then.
//! What is not finished is gone when it is dropped. Never replaces what it was not told to. Next: `copy.rs`.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use shmkit::error::{Errno, Status};
use shmkit::region::access;
use shmkit::region::survey::{self, Answer};
use shmkit::sys::limits::{Resource, page_size, soft_limit};
use shmkit::sys::{file, sysv};

use crate::exit::{Exit, Failure};
use crate::refusal;
use crate::source::{Attached, Named, refused, refused_errno};

const HERE: i32 = libc::AT_FDCWD;

/// A file or POSIX object that is made.
pub struct FileTarget {
    name: String,
    address: Vec<u8>,
    path: PathBuf,
    file: File,
    /// Its name until it is done, where the file system cannot do without one.
    draft: Option<PathBuf>,
    /// What is replaced: a region, or anything else.
    replaces: Option<Replaced>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Replaced {
    /// The library replaces it, with every opener locked out.
    Region,
    Other,
}

fn exists(name: &str) -> Failure {
    Failure::new(Exit::Failed, format!("{name} exists"), "choose another name, or replace it with --force")
}

fn text(path: &Path) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Failure::new(Exit::Usage, format!("{} is no path", path.display()), "write one without NUL"))
}

impl FileTarget {
    /// Begins a file that will get this path. `source` is what is copied: it must not be its own destination.
    pub fn new(named: &Named, path: &Path, source: (u64, u64), force: bool) -> Result<FileTarget, Failure> {
        let name = named.text();
        let replaces = match fs::symlink_metadata(path) {
            Ok(status) if status.is_dir() => {
                return Err(Failure::new(Exit::Usage, format!("{name} is a folder"), "name the file in it"));
            }
            Ok(status) if (status.dev(), status.ino()) == source => {
                return Err(Failure::new(Exit::Usage, format!("{name} is what is to be copied"), "name another file"));
            }
            Ok(_) if !force => return Err(exists(&name)),
            Ok(status) if !status.is_file() => {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("{name} is no regular file, and only those are replaced"),
                    "name the file itself, or remove this first",
                ));
            }
            Ok(_) => Some(replaced(named)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(refused(&name, &error)),
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        let unnamed = options.clone().custom_flags(libc::O_TMPFILE).open(folder);
        let (file, draft) = match unnamed {
            Ok(file) => (file, None),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) => {
                let draft = draft_of(path);
                let file = options.create_new(true).open(&draft).map_err(|error| refused(&name, &error))?;
                (file, Some(draft))
            }
            Err(error) => return Err(refused(&name, &error)),
        };
        Ok(FileTarget { name, address: named.address.clone(), path: path.into(), file, draft, replaces })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn len(&self) -> Result<u64, Failure> {
        Ok(self.file.metadata().map_err(|error| refused(&self.name, &error))?.len())
    }

    /// Makes it so long, with a hole at its end.
    pub fn set_len(&self, length: u64) -> Result<(), Failure> {
        let limit = soft_limit(Resource::FileSize);
        // Past it the kernel sends a signal.
        if length > limit {
            return Err(Failure::new(
                Exit::Failed,
                format!("{} would have {length} bytes, and RLIMIT_FSIZE is {limit}", self.name),
                "raise the limit (ulimit -f)",
            ));
        }
        self.file.set_len(length).map_err(|error| self.refused(&error, length))
    }

    fn refused(&self, error: &io::Error, needed: u64) -> Failure {
        if !matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT)) {
            return refused(&self.name, error);
        }
        let room = match file::room(self.file.as_raw_fd()) {
            Ok(room) => format!("its file system has {} bytes free of {}", room.free, room.capacity),
            Err(_) => "its file system is full".into(),
        };
        Failure::new(
            Exit::Failed,
            format!("no space for {}: {needed} bytes more are needed, and {room}", self.name),
            "free space there (shmkit gc), or make it larger",
        )
    }

    /// Gives a range space of its own; `needed` is what is still to come, for the words.
    pub fn reserve(&self, offset: u64, length: u64, needed: u64) -> Result<(), Failure> {
        loop {
            match file::posix_fallocate(self.file.as_raw_fd(), offset as i64, length as i64) {
                Ok(()) => return Ok(()),
                Err(Errno(libc::EINTR)) => {}
                // Then space is made as it is written, and writing says when there is none.
                Err(Errno(libc::EOPNOTSUPP | libc::EINVAL)) => return Ok(()),
                Err(errno) => return Err(self.refused(&io::Error::from_raw_os_error(errno.0), needed)),
            }
        }
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.refused(&error, bytes.len() as u64))
    }

    /// Gives it mode, owner and name, in this order.
    pub fn finish(mut self, mode: u32, owner: Option<(u32, u32)>, sync: bool) -> Result<(), Failure> {
        let refuse = |error: &io::Error| refused(&self.name, error);
        if let Some((uid, gid)) = owner {
            fchown(&self.file, Some(uid), Some(gid)).map_err(|error| refuse(&error))?;
        }
        self.file.set_permissions(Permissions::from_mode(mode)).map_err(|error| refuse(&error))?;
        if sync {
            self.file.sync_all().map_err(|error| refuse(&error))?;
        }
        self.publish()?;
        if sync {
            let folder = self.path.parent().unwrap_or(Path::new("/"));
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| refused(&self.name, &error))?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Failure> {
        let Some(replaces) = self.replaces else { return self.name_it() };
        // A name of its own first: what it replaces is there until the copy is whole and named.
        let draft = match &self.draft {
            Some(draft) => draft.clone(),
            None => {
                let draft = draft_of(&self.path);
                file::link_unnamed(self.file.as_raw_fd(), HERE, &text(&draft)?)
                    .map_err(|errno| refused_errno(&self.name, errno))?;
                self.draft.insert(draft).clone()
            }
        };
        match replaces {
            // Looked at once more, with every opener locked out.
            Replaced::Region => match access::replace(&self.address, &text(&draft)?) {
                Ok(true) => {}
                Ok(false) => return Err(in_use(&self.name)),
                Err(failure) if failure.status == Status::ErrNotFound => return self.name_it(),
                Err(failure) => return Err(refusal::failure(&failure, &self.address)),
            },
            // It may have become a region since.
            Replaced::Other if matches!(survey::is_orphan(&self.address), Ok(Answer::No)) => {
                return Err(in_use(&self.name));
            }
            Replaced::Other => fs::rename(&draft, &self.path).map_err(|error| refused(&self.name, &error))?,
        }
        self.draft = None;
        Ok(())
    }

    /// Gives it its name, which nobody else may have.
    fn name_it(&mut self) -> Result<(), Failure> {
        let path = text(&self.path)?;
        let named = match &self.draft {
            None => file::link_unnamed(self.file.as_raw_fd(), HERE, &path),
            Some(draft) => file::rename_exclusively(HERE, &text(draft)?, &path),
        };
        match named {
            Ok(()) => {
                self.draft = None;
                Ok(())
            }
            Err(Errno(libc::EEXIST)) => Err(exists(&self.name)),
            Err(errno) => Err(refused_errno(&self.name, errno)),
        }
    }
}

impl Drop for FileTarget {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            let _ = fs::remove_file(draft);
        }
    }
}

/// A name beside the destination, where a rename can reach it. Not one of the library's own, which gc would collect.
fn draft_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    folder.join(format!(".copy-{}-{:x}", std::process::id(), shmkit::sys::process::monotonic_ns()))
}

fn replaced(named: &Named) -> Result<Replaced, Failure> {
    let name = named.text();
    match survey::is_orphan(&named.address) {
        Ok(Answer::Yes) => Ok(Replaced::Region),
        Ok(Answer::No) => Err(in_use(&name)),
        // No region at all, or a file system without the locks that tell.
        Ok(Answer::Unknown) => Ok(Replaced::Other),
        Err(failure) => Err(refusal::failure(&failure, &named.address)),
    }
}

fn in_use(name: &str) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("{name} is a region that is in use, and its users would go on with the old one"),
        format!("see who it is (shmkit who {name}), or choose another name"),
    )
}

/// A System V segment that is made. Its key is taken from the beginning on; so only its owner may look at
/// it, and nobody write, until it is whole.
pub struct SegmentTarget {
    name: String,
    attached: Attached,
    /// Its group when it was made.
    gid: u32,
    done: bool,
}

impl SegmentTarget {
    pub fn new(named: &Named, key: i32, size: u64) -> Result<SegmentTarget, Failure> {
        let name = named.text();
        if size == 0 {
            return Err(Failure::new(
                Exit::Failed,
                format!("{name} cannot have 0 bytes: no segment can"),
                "copy to a file",
            ));
        }
        let made = sysv::shmget(key, size as usize, libc::IPC_CREAT | libc::IPC_EXCL | 0o600);
        let id = made.map_err(|errno| match errno.0 {
            libc::EEXIST => Failure::new(Exit::Failed, format!("{name} exists"), "remove it first (shmkit rm)"),
            libc::EINVAL => Failure::new(
                Exit::Failed,
                format!("{name} would have {size} bytes, and SHMMAX is {}", sysv::info().map_or(0, |info| info.shmmax)),
                "raise it (sysctl kernel.shmmax)",
            ),
            libc::ENOSPC => Failure::new(
                Exit::Failed,
                format!(
                    "no room for {name}, of {} pages: SHMALL or SHMMNI is used up",
                    size.div_ceil(page_size() as u64)
                ),
                "see shmkit limits, and shmkit gc",
            ),
            _ => refused_errno(&name, errno),
        })?;
        let attached = Attached::new(id, size, 0).map_err(|errno| {
            let _ = sysv::remove(id);
            refused_errno(&name, errno)
        })?;
        let mut target = SegmentTarget { name, attached, gid: 0, done: false };
        let status = sysv::status(id).map_err(|errno| refused_errno(&target.name, errno))?;
        target.gid = status.gid;
        // Without the right to read, its owner could not even change its mode again.
        sysv::set_access(id, 0o400, status.gid).map_err(|errno| refused_errno(&target.name, errno))?;
        Ok(target)
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        match self.attached.write(offset, bytes) {
            true => Ok(()),
            false => Err(Failure::new(Exit::Failed, format!("{} ends before its data does", self.name), "")),
        }
    }

    /// Lets others open it.
    pub fn finish(mut self, mode: u32) -> Result<(), Failure> {
        sysv::set_access(self.attached.id, mode, self.gid).map_err(|errno| refused_errno(&self.name, errno))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for SegmentTarget {
    fn drop(&mut self) {
        if !self.done {
            let _ = sysv::remove(self.attached.id);
        }
    }
}
