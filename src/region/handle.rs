//! An open region: what a handle leads to, how it comes to be and how it ends.
//! Never keeps anything half-open: what fails on the way is undone by `Drop`. Next: `object.rs` and `segment.rs` for how
//! the kinds of memory are made, `access.rs` for what is done with them.

use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};

use super::address::{Address, Backend, Parsed};
use super::chars::Chars;
use super::clock::Deadline;
use super::failure::{Failure, Outcome};
use super::header::{self, Header, Layout};
use super::inherit::{self, Span};
use super::lease::{self, Lease};
use super::{identity, object, segment};
use crate::error::Status;
use crate::sys::limits::page_size;
use crate::sys::shared::Window;
use crate::sys::table::{Table, Used};
use crate::sys::{self, file};

/// How space is reserved.
#[repr(i32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Space {
    /// At creation and growth: what does not fit is an error there.
    #[default]
    Reserve = 0,
    /// At the first touch: what does not fit is a SIGBUS there, or an error with the guard.
    Lazy = 1,
    /// At creation, and mapped into this process at once.
    Populate = 2,
}

/// Whether huge pages are asked for.
#[repr(i32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Huge {
    /// Usual pages.
    #[default]
    None = 0,
    /// Huge pages where the system has them, usual ones otherwise; `stat` tells which.
    Try = 1,
    /// Huge pages or an error.
    Require = 2,
}

/// Whose objects may be opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// This user's and root's.
    #[default]
    Own,
    /// Everybody's.
    Any,
    /// This user's.
    User(u32),
}

/// The creator's own work on a region that nobody else sees yet: gets the address and size of the data; 0 when done.
pub type Init<'a> = &'a mut dyn FnMut(usize, usize) -> i32;

/// What a program asks for.
#[derive(Default)]
pub struct Options<'a> {
    /// Bytes of data.
    pub size: u64,
    /// The most that it may grow to; 0 for `size`.
    pub max_size: u64,
    /// The type that it holds.
    pub layout: Layout,
    /// How long to wait for peers, in nanoseconds.
    pub timeout_ns: u64,
    /// Fills the region before it is seen.
    pub init: Option<Init<'a>>,
    /// Permission bits.
    pub mode: u32,
    /// The group that it is given to.
    pub group: Option<u32>,
    /// Whose region may be opened.
    pub owner: Owner,
    /// When space is reserved.
    pub space: Space,
    /// Huge pages.
    pub huge: Huge,
    /// Map it for reading only.
    pub read_only: bool,
    /// Without a header: an object of other software, or for it.
    pub raw: bool,
    /// `shmkit_gc` leaves it alone.
    pub persistent: bool,
}

impl Options<'_> {
    /// The mode, with the default.
    pub fn mode(&self) -> u32 {
        if self.mode == 0 { 0o600 } else { self.mode }
    }

    /// Bytes in front of the data.
    pub fn data_offset(&self) -> usize {
        if self.raw { 0 } else { page_size() }
    }

    /// What cannot be asked for.
    fn check_creation(&self) -> Outcome<()> {
        if self.size == 0 {
            return Err(Failure::argument("a region without a size cannot be created", "set size in the options"));
        }
        if self.max_size != 0 && self.max_size < self.size {
            return Err(Failure::argument(
                "max_size is smaller than size",
                "set max_size to 0 or to the most it may grow to",
            ));
        }
        if self.raw && self.max_size > self.size {
            return Err(Failure::argument(
                "a raw region cannot grow: it has no header in which other processes would see its size",
                "set max_size to 0, or create it without raw",
            ));
        }
        if self.size.max(self.max_size) > i64::MAX as u64 / 2 {
            return Err(Failure::of(Status::ErrTooBig));
        }
        if self.mode() & 0o600 != 0o600 {
            return Err(Failure::argument(
                "mode does not let the owner read and write, who could then never open it again",
                "let the owner read and write, as 0644",
            ));
        }
        if self.read_only {
            return Err(Failure::argument(
                "a region that its creator may not write would stay empty for ever",
                "create it without read_only, and protect or open it read-only afterwards",
            ));
        }
        if !self.layout.is_any() && self.layout.size > self.size {
            return Err(Failure::argument(
                "size is smaller than the type that layout names",
                "use sizeof of that type",
            ));
        }
        Ok(())
    }

    /// What makes no sense, whatever is done with it.
    pub fn check(&self) -> Outcome<()> {
        if self.mode & !0o777 != 0 {
            return Err(Failure::argument("mode has bits other than permissions", "use nine permission bits, as 0600"));
        }
        if !self.layout.is_any() && (self.raw || !self.layout.alignment.is_power_of_two()) {
            return Err(Failure::argument(
                "layout is no SHMKIT_LAYOUT, or is given for a raw region, which has no header to keep it in",
                "use SHMKIT_LAYOUT(type, version), or leave it out",
            ));
        }
        if u64::from(self.layout.alignment) > page_size() as u64 {
            return Err(Failure::argument(
                "the type's alignment is larger than a page",
                "align the type to a page at most",
            ));
        }
        Ok(())
    }

    /// Refuses an object of a user who is not trusted, or that everybody may write.
    pub fn check_owner(&self, uid: u32, mode: u32) -> Outcome<()> {
        let trusted = match self.owner {
            Owner::Own => uid == 0 || uid == sys::process::effective_user(),
            Owner::Any => true,
            Owner::User(user) => uid == user,
        };
        if !trusted {
            return Err(Failure::new(
                Status::ErrOwner,
                "{name} belongs to user {uid}, who is not trusted: the name may have been taken by somebody else",
                "find out who made it; set owner in the options to that user if that is meant",
            )
            .with(|figures| figures.uid = uid));
        }
        if mode & 0o002 != 0 && self.mode & 0o002 == 0 && self.owner != Owner::Any {
            return Err(Failure::new(
                Status::ErrOwner,
                "{name} has mode {mode}: everybody may write to it",
                "create it with a mode without 0002; set that bit in mode if it is meant",
            )
            .with(|figures| figures.mode = u64::from(mode & 0o777)));
        }
        Ok(())
    }

    /// Compares a header with what is asked for.
    pub fn require(&self, header: &Header) -> Outcome<()> {
        self.layout.require(&header.layout)?;
        self.require_size(header.size)
    }

    /// Refuses an object that is smaller than asked for.
    pub fn require_size(&self, size: u64) -> Outcome<()> {
        if self.size <= size {
            return Ok(());
        }
        Err(Failure::new(
            Status::ErrPastEnd,
            "{name} has {found} bytes, and {expected} are asked for",
            "ask for what it was created with, or let its creator make it larger",
        )
        .with(|figures| (figures.expected, figures.found) = (self.size, size)))
    }
}

/// Flags of the hot part: no header.
pub const RAW: u32 = 1;
/// Mapped for reading only.
pub const READ_ONLY: u32 = 2;
/// A peer may make the object shorter, or it has no space reserved: a touch may fault.
pub const FRAGILE: u32 = 4;
/// It did: zeros lie where the memory was.
pub const POISONED: u32 = 8;
/// The program took away the right to touch a part of it.
pub const PROTECTED: u32 = 16;
/// It is poisoned for want of space, and not because a peer made it shorter.
pub const STARVED: u32 = 32;
/// The program asked that a forked child does not have the memory.
pub const NOT_FORKED: u32 = 64;
/// This is such a child: where the memory was, there is none.
pub const WITHHELD: u32 = 128;

/// The part of a handle that fast paths and the signal handler read; lives for ever.
#[derive(Default)]
pub struct Hot {
    /// The mapping, header and all.
    pub window: Window,
    /// Where the data begins in it.
    pub offset: AtomicUsize,
    /// Bytes of data that are mapped: size may grow so far.
    pub capacity: AtomicUsize,
    /// Bytes of data that the kernel said are there: a size beyond this is a peer's word, and looked into.
    pub confirmed: AtomicUsize,
    /// Bytes of data that were the size once: it never becomes smaller.
    pub known: AtomicUsize,
    /// See RAW and the others.
    pub flags: AtomicU32,
    /// What core dumps leave out.
    pub undumped: Span,
    /// What is to have huge pages.
    pub huge: Span,
    /// What this child does not have of its parent's mapping.
    pub withheld: Span,
    /// The descriptor plus one; 0 where there is none, and in a child that could not open its own.
    fd: AtomicI32,
    /// Whether the program has seen the descriptor, and may have made copies of it.
    shared: AtomicBool,
    /// How often this process had forked when the descriptor's description was made.
    forks: AtomicU32,
    /// The descriptor of a claim plus one, while the region is built; see `object.rs`.
    claim: AtomicI32,
}

impl Hot {
    /// Whether all of these flags are set.
    #[inline(always)]
    pub fn is(&self, flags: u32) -> bool {
        self.flags.load(Relaxed) & flags == flags
    }

    /// Notes the descriptor of a claim, -1 for none: a child that is forked meanwhile must not keep it.
    pub fn set_claim(&self, fd: i32) {
        self.claim.store(fd + 1, Relaxed);
    }

    /// Whether an address lies in what is mapped.
    pub fn covers(&self, address: usize) -> bool {
        let start = self.window.start();
        (start..start.saturating_add(self.window.length())).contains(&address)
    }

    /// The address of the data.
    #[inline(always)]
    pub fn data(&self) -> usize {
        self.window.start() + self.offset.load(Relaxed)
    }
}

/// An open region.
pub struct Region {
    /// The hot part of the same slot.
    pub hot: &'static Hot,
    /// Its address string.
    pub address: Chars,
    /// The kind of memory.
    pub backend: Backend,
    /// What the kernel calls it: device and inode, or 0 and the segment's id.
    pub identity: (u64, u64),
    /// The semaphores of a System V region; -1 where there are none.
    pub set: i32,
    /// The lease, packed: a fork gives the child another one.
    pub lease: AtomicU64,
    /// The process that took the lease where it is of semaphores: one that was made behind the C library's fork handlers
    /// must not give it back.
    pub holder: AtomicI32,
    /// How long to wait for peers.
    pub timeout_ns: u64,
    /// 1 while a thread of this process grows it.
    pub growing: AtomicU32,
    /// When space is reserved.
    pub space: Space,
}

static REGIONS: Table<Hot, Region> = Table::new();

impl Region {
    /// A region that has nothing yet; what it gets later is given back by `Drop`.
    pub fn new(hot: &'static Hot, address: &[u8], backend: Backend, options: &Options<'_>) -> Outcome<Region> {
        let address = Chars::join(&[address])?;
        let flags = if options.raw { RAW } else { 0 } | if options.read_only { READ_ONLY } else { 0 };
        hot.flags.store(flags, Relaxed);
        hot.offset.store(options.data_offset(), Relaxed);
        hot.capacity.store(0, Relaxed);
        hot.shared.store(false, Relaxed);
        for span in [&hot.undumped, &hot.huge, &hot.withheld] {
            span.clear();
        }
        hot.forks.store(forks(), Relaxed);
        hot.confirmed.store(0, Relaxed);
        hot.known.store(0, Relaxed);
        Ok(Region {
            hot,
            address,
            backend,
            identity: (0, 0),
            set: -1,
            lease: AtomicU64::new(Lease::None.pack()),
            holder: AtomicI32::new(0),
            timeout_ns: options.timeout_ns,
            growing: AtomicU32::new(0),
            space: options.space,
        })
    }

    /// The descriptor, for the program.
    pub fn shared_fd(&self) -> i32 {
        self.hot.shared.store(true, Relaxed);
        self.fd()
    }

    /// The descriptor.
    pub fn fd(&self) -> i32 {
        self.hot.fd.load(Relaxed) - 1
    }

    /// In a forked child: whether the description is its own now, with a lease of its own. The parent's is not the child's
    /// to give back.
    pub fn set_own_description(&self, own: bool) {
        match own {
            true => self.hot.forks.store(forks(), Relaxed),
            false => self.hot.forks.store(forks().wrapping_sub(1), Relaxed),
        }
    }

    /// Keeps a descriptor, which `Drop` closes.
    pub fn set_fd(&self, fd: i32) {
        self.hot.fd.store(fd + 1, Relaxed);
    }

    /// Gives the descriptor and its lease back.
    pub fn release(&self) {
        let fd = self.hot.fd.swap(0, Relaxed) - 1;
        if fd >= 0 {
            // The description may live on where the program passed it on: the lock must not. Otherwise it goes with the
            // last that refers to it. A child that was forked since then may need it: until it has a lease of its own, or
            // for good where it cannot get one.
            if self.hot.shared.load(Relaxed) {
                give_unless_forked(|| self.hot.forks.load(Relaxed), || lease::give(fd, self.lease()));
            }
            self.set_lease(Lease::None);
            let _ = file::close(fd);
        }
    }

    /// The lease.
    pub fn lease(&self) -> Lease {
        Lease::unpack(self.lease.load(Relaxed))
    }

    /// Keeps a lease.
    pub fn set_lease(&self, lease: Lease) {
        self.lease.store(lease.pack(), Relaxed);
    }

    /// Notes how much data is mapped.
    pub fn set_capacity(&self, bytes: u64) {
        self.hot.capacity.store(bytes as usize, Relaxed);
    }

    /// Notes how many bytes the object has, header and all, as the kernel says.
    pub fn confirm(&self, object_size: u64) {
        let room = (object_size as usize).saturating_sub(self.hot.offset.load(Relaxed));
        self.hot.confirmed.store(room, Relaxed);
    }

    /// Sets a flag.
    pub fn set_flag(&self, flag: u32) {
        self.hot.flags.fetch_or(flag, Relaxed);
    }

    /// The address without its NUL.
    pub fn address(&self) -> &[u8] {
        self.address.bytes()
    }

    /// Runs the creator's callback on memory that nobody else sees.
    pub fn initialise(&self, options: &mut Options<'_>) -> Outcome<()> {
        let Some(init) = &mut options.init else { return Ok(()) };
        match init(self.hot.data(), options.size as usize) {
            0 => Ok(()),
            answer => Err(Failure::new(
                Status::ErrCallback,
                "the init callback answered {count}, so the region was not made",
                "see why the callback refused; nothing is left behind",
            )
            .with(|figures| figures.count = i64::from(answer) as u64)),
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        match self.backend {
            Backend::Sysv => {
                segment::erase(self);
                // What fills a child's holes is no part of the attach.
                let window = &self.hot.window;
                let _ = if self.hot.is(WITHHELD) { window.unmap() } else { window.detach() };
                segment::give(self);
            }
            _ => {
                let _ = self.hot.window.unmap();
            }
        }
        self.release();
    }
}

/// What a handle leads to.
pub fn get(token: u64) -> Outcome<Used<'static, Hot, Region>> {
    REGIONS.get(token).ok_or_else(|| Failure::of(Status::ErrBadHandle))
}

/// The hot part of a handle, for paths that cannot pay for `get`.
#[inline(always)]
pub fn hot(token: u64) -> Option<&'static Hot> {
    REGIONS.hot(token)
}

/// Finds the region that an address lies in; for the signal handler.
pub fn find_hot(each: impl FnMut(&Hot, bool) -> bool) -> bool {
    REGIONS.find_hot(each)
}

/// Whether an address lies in a region that is open here and not the same object as this one.
pub fn find_other(region: &Region, address: usize) -> bool {
    let mut found = false;
    REGIONS.for_each(|hot, other| found |= other.identity != region.identity && hot.covers(address));
    found
}

/// Closes a handle: unmaps, gives the lease back, closes the descriptor. The object stays.
pub fn close(token: u64) -> Outcome<()> {
    if REGIONS.close(token) { Ok(()) } else { Err(Failure::of(Status::ErrBadHandle)) }
}

/// Puts what `make` makes behind a new handle.
pub fn insert(make: impl FnOnce(&'static Hot) -> Outcome<Region>) -> Outcome<u64> {
    watch_forks();
    REGIONS.insert(make).unwrap_or_else(|| Err(Failure::of(Status::ErrNoMemory)))
}

/// How a region is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A new one.
    Create,
    /// An existing one.
    Open,
    /// An existing one, or else a new one.
    Either,
}

fn make(address: &[u8], options: &mut Options<'_>, wish: Wish) -> Outcome<(u64, bool)> {
    options.check()?;
    if wish != Wish::Open {
        options.check_creation()?;
    }
    let parsed = Parsed::new(address)?;
    let mut deadline = Deadline::after(options.timeout_ns);
    let mut created = false;
    let token = insert(|hot| {
        let (region, new) = match parsed.get() {
            Address::Path(backend, rest) => object::by_path(hot, &parsed, backend, rest, options, wish, &mut deadline)?,
            Address::Key(key) => segment::by_key(hot, &parsed, key, options, wish, &mut deadline)?,
            Address::Label(backend, label) if wish != Wish::Open => {
                (object::unnamed(hot, &parsed, backend, label, options, &mut deadline)?, true)
            }
            Address::Label(..) => {
                return Err(Failure::backend(
                    "memfd: and anon: regions have no name by which they could be opened",
                    "let its creator pass it with shmkit_region_send, or inherit it by fork",
                ));
            }
        };
        created = new;
        Ok(region)
    })?;
    Ok((token, created))
}

/// Makes a new region; an error when there is one.
pub fn create(address: &[u8], options: &mut Options<'_>) -> Outcome<u64> {
    make(address, options, Wish::Create).map(|(token, _)| token)
}

/// Opens an existing region. Never creates.
pub fn open(address: &[u8], options: &mut Options<'_>) -> Outcome<u64> {
    make(address, options, Wish::Open).map(|(token, _)| token)
}

/// Opens a region, or makes it; says whether it was made.
pub fn open_or_create(address: &[u8], options: &mut Options<'_>) -> Outcome<(u64, bool)> {
    make(address, options, Wish::Either)
}

/// Registers what is done in a forked child. When the library is loaded, or else with the first region.
pub fn watch_forks() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Relaxed) {
        sys::process::at_fork(count_fork, nothing, renew_all);
    }
}

static FORKS: AtomicU32 = AtomicU32::new(0);
/// Threads that are giving a lock back that a child may have.
static GIVING: AtomicU32 = AtomicU32::new(0);

/// Gives a lock back, unless this process has forked since a count of forks was taken.
fn give_unless_forked(count: impl Fn() -> u32, give: impl Fn()) {
    // In this order here, and in the other in `count_fork`: one of the two sees the other.
    GIVING.fetch_add(1, SeqCst);
    if FORKS.load(SeqCst) == count() {
        give();
    }
    GIVING.fetch_sub(1, SeqCst);
}

/// How long a forked child waits for a peer, for each lease that it takes: 100 milliseconds.
pub const RENEWAL_NS: u64 = 100_000_000;

/// How often this process has forked, or begun to.
pub fn forks() -> u32 {
    FORKS.load(Relaxed)
}

extern "C" fn count_fork() {
    FORKS.fetch_add(1, SeqCst);
    // One system call of theirs. Not for ever: a signal handler may fork in the midst of this thread's own.
    for _ in 0..1000 {
        if GIVING.load(SeqCst) == 0 {
            break;
        }
        sys::process::yield_now();
    }
}

extern "C" fn nothing() {}

/// In a child: gives the parent's leases back, which it shares through its descriptors, and takes its own. Only calls
/// that are async-signal-safe.
extern "C" fn renew_all() {
    identity::forget();
    // The threads that were giving something back are not here.
    GIVING.store(0, SeqCst);
    let before = sys::errno();
    // What another thread was building is not the child's; its descriptors would keep the parent's locks alive.
    REGIONS.find_hot(|hot, open| {
        for place in [&hot.fd, &hot.claim] {
            let fd = if open { 0 } else { place.swap(0, Relaxed) };
            if fd > 0 {
                let _ = file::close(fd - 1);
            }
        }
        if !open {
            // A mapping keeps the description alive as a descriptor does. (An attach is unmapped like any other.)
            let _ = hot.window.unmap();
        }
        false
    });
    REGIONS.forget_other_threads();
    REGIONS.for_each(|_, region| {
        region.growing.store(0, Relaxed);
        match region.backend {
            Backend::Sysv => segment::renew(region),
            _ => object::renew(region),
        }
        inherit::close_holes(region);
    });
    sys::set_errno(before);
}

/// The header of an open region, as a checked copy.
pub fn header_of(region: &Region) -> Outcome<Header> {
    let mut bytes = [0; header::SIZE];
    let facts = match region.backend {
        Backend::Sysv => {
            region.hot.window.read(0, &mut bytes);
            header::Facts { object_size: region.hot.window.length() as u64, page_size: page_size() as u64 }
        }
        _ => object::read_header(region.fd(), &mut bytes)?,
    };
    Header::decode(&bytes, &facts)
}
