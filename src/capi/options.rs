//! C ABI of `region::Options`: what a program asks for when it creates, opens or receives a region. Translation only.
//! Every number is checked: enums and flags come from C as integers.

use core::ffi::{c_char, c_int, c_void};

use super::is_plausible;
use super::outcome::place;
use crate::error::Status;
use crate::region::header::Layout;
use crate::region::{Failure, Huge, Options, Outcome, Owner, Space};

/// shmkit_region_options_t.timeout_ns: waits 10 seconds for a live peer (the default).
pub const SHMKIT_TIMEOUT_DEFAULT: u64 = 0;
/// shmkit_region_options_t.timeout_ns: waits for nobody, which is SHMKIT_ERR_TIMEOUT as soon as a peer is in the way.
pub const SHMKIT_TIMEOUT_NO_WAIT: u64 = 1;
/// shmkit_region_options_t.timeout_ns: waits for as long as the peer lives. A dead one is noticed at once.
pub const SHMKIT_TIMEOUT_FOREVER: u64 = u64::MAX;
/// shmkit_region_options_t.space: memory is reserved at creation and growth; what does not fit is SHMKIT_ERR_NO_SPACE
/// there, and no later touch fails for want of space (the default).
pub const SHMKIT_SPACE_RESERVE: i32 = 0;
/// shmkit_region_options_t.space: memory is found at the first touch of each page. When there is none left, that touch
/// is a SIGBUS, or the kernel kills a process: only for large regions that stay mostly empty.
pub const SHMKIT_SPACE_LAZY: i32 = 1;
/// shmkit_region_options_t.space: as SHMKIT_SPACE_RESERVE, and mapped at once, so that no first touch by
/// its creator costs a page fault.
pub const SHMKIT_SPACE_POPULATE: i32 = 2;
/// shmkit_region_options_t.huge_pages: pages of the usual size (the default).
pub const SHMKIT_HUGE_NONE: i32 = 0;
/// shmkit_region_options_t.huge_pages: huge pages where the system has them, usual ones otherwise;
/// shmkit_region_stat_t.page_size tells which.
pub const SHMKIT_HUGE_TRY: i32 = 1;
/// shmkit_region_options_t.huge_pages: huge pages or an error. memfd:, anon: and sysv: only.
pub const SHMKIT_HUGE_REQUIRE: i32 = 2;
/// shmkit_region_options_t.group: a new region gets the group that the system gives to new files (the default).
pub const SHMKIT_GROUP_SAME: u32 = u32::MAX;
/// shmkit_region_options_t.owner: open a region only when this user or root owns it (the default).
pub const SHMKIT_OWNER_SELF: u32 = u32::MAX;
/// shmkit_region_options_t.owner: open a region whoever owns it, also when everybody may write to it.
pub const SHMKIT_OWNER_ANY: u32 = u32::MAX - 1;

/// The type that a region holds; see SHMKIT_LAYOUT. A NULL name fits every region.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RegionLayout {
    /// The type's name. "struct telemetry" and "telemetry" are the same. At most 47 bytes count.
    pub name: *const c_char,
    /// sizeof the type.
    pub size: u64,
    /// The version that its author gives it.
    pub version: u32,
    /// alignof the type.
    pub alignment: u32,
}

/// Fills a new region before anybody else sees it. Returns 0 when it is done; anything else undoes the creation.
///
/// Must return: no exception, no longjmp. `size` is in bytes. A child that is forked inside does not have the data, and
/// must not return. To open or create the same name inside finds nothing, or waits for this very creator until the
/// timeout (SHMKIT_ERR_TIMEOUT): a System V region always does, and a creator with an `init`.
pub type RegionInit = Option<unsafe extern "C" fn(data: *mut c_void, size: usize, user: *mut c_void) -> c_int>;

/// What a program asks for. Begin with SHMKIT_REGION_OPTIONS_INIT, and set what differs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RegionOptions {
    /// sizeof this struct, so that it can grow.
    pub struct_size: usize,
    /// Bytes of data. Needed to create; when opening, the region must have at least as many.
    pub size: u64,
    /// The most that it may grow to, in bytes: address space, not memory. 0: it does not grow, as raw and System V regions
    /// never do.
    pub max_size: u64,
    /// The type that it holds.
    pub layout: RegionLayout,
    /// How long to wait for a peer that creates, grows or collects the region, in nanoseconds; SHMKIT_TIMEOUT_DEFAULT
    /// (0, which is 10 seconds), SHMKIT_TIMEOUT_NO_WAIT or SHMKIT_TIMEOUT_FOREVER. A dead peer is never waited for.
    pub timeout_ns: u64,
    /// Fills the region before it is seen; once, however many processes create it at the same time. May be NULL.
    pub init: RegionInit,
    /// Passed to `init`.
    pub init_user: *mut c_void,
    /// Permission bits of a new region, whatever the umask is. 0: 0600.
    pub mode: u32,
    /// The group of a new region, or SHMKIT_GROUP_SAME. A System V region has two, for ever: this one and its creator's.
    pub group: u32,
    /// Whose region may be opened: SHMKIT_OWNER_SELF (this user's or root's), SHMKIT_OWNER_ANY, or a user id.
    pub owner: u32,
    /// When memory is reserved: SHMKIT_SPACE_RESERVE, SHMKIT_SPACE_LAZY or SHMKIT_SPACE_POPULATE.
    pub space: i32,
    /// SHMKIT_HUGE_NONE, SHMKIT_HUGE_TRY or SHMKIT_HUGE_REQUIRE.
    pub huge_pages: i32,
    /// 1: open it for reading only; a touch that writes is then a SIGSEGV. Not for creation. 0: for reading and
    /// writing.
    pub read_only: i32,
    /// 1: without a header: an object that other software made, or that it will open. 0: a region of this library.
    pub raw: i32,
    /// 1: shmkit_gc() leaves it alone when nobody has it open. 0: shmkit_gc() removes it then.
    pub persistent: i32,
}

const DEFAULTS: RegionOptions = RegionOptions {
    struct_size: size_of::<RegionOptions>(),
    size: 0,
    max_size: 0,
    layout: RegionLayout { name: core::ptr::null(), size: 0, version: 0, alignment: 0 },
    timeout_ns: SHMKIT_TIMEOUT_DEFAULT,
    init: None,
    init_user: core::ptr::null_mut(),
    mode: 0,
    group: SHMKIT_GROUP_SAME,
    owner: SHMKIT_OWNER_SELF,
    space: SHMKIT_SPACE_RESERVE,
    huge_pages: SHMKIT_HUGE_NONE,
    read_only: 0,
    raw: 0,
    persistent: 0,
};

/// The program's options, as far as this library knows them.
///
/// # Safety
/// `from` is null, or cannot be an address, or leads to as many bytes as its first word says.
unsafe fn read(from: *const RegionOptions) -> Outcome<RegionOptions> {
    const SIZE: usize = size_of::<RegionOptions>();
    if from.is_null() {
        return Ok(DEFAULTS);
    }
    if !is_plausible(from as usize) || !(from as usize).is_multiple_of(align_of::<RegionOptions>()) {
        return Err(Failure::of(Status::ErrBadPointer));
    }
    let bad = || {
        Failure::argument(
            "struct_size is that of no version of the options, or fields are set that this version does not know",
            "begin with SHMKIT_REGION_OPTIONS_INIT; run with the version that the program was built with, or a newer one",
        )
    };
    // SAFETY: the caller's promise. What this version does not know must be zero, which means "as before" everywhere.
    unsafe {
        let size = from.cast::<usize>().read();
        if !(SIZE..=4096).contains(&size) {
            return Err(bad());
        }
        let rest = core::slice::from_raw_parts(from.cast::<u8>().add(SIZE), size - SIZE);
        if rest.iter().any(|byte| *byte != 0) { Err(bad()) } else { Ok(from.read()) }
    }
}

fn flag(value: i32) -> Outcome<bool> {
    match value {
        0 | 1 => Ok(value == 1),
        _ => {
            Err(Failure::argument("read_only, raw and persistent are 0 or 1", "begin with SHMKIT_REGION_OPTIONS_INIT"))
        }
    }
}

/// The layout of a C program; one without a name is none.
///
/// # Safety
/// `layout` is null, or cannot be an address, or leads to a layout whose name is good.
pub(super) unsafe fn layout_of(layout: *const RegionLayout) -> Outcome<Layout> {
    if layout.is_null() {
        return Ok(Layout::default());
    }
    // SAFETY: the caller's promise.
    let theirs = unsafe { place(layout.cast_mut())?.read() };
    if theirs.name.is_null() {
        return Ok(Layout::default());
    }
    // SAFETY: the caller's promise.
    let name = unsafe { super::outcome::address(theirs.name) }.get()?;
    let layout = Layout::new(name, theirs.version, theirs.size, theirs.alignment);
    // Blanks do not count, and a layout without a name would fit everything.
    if layout.is_any() {
        return Err(Failure::argument("the layout's name is empty", "use SHMKIT_LAYOUT(type, version)"));
    }
    Ok(layout)
}

/// Runs `work` with the options of a C program.
///
/// # Safety
/// `options` is null, or cannot be an address, or leads to options whose strings and callback are good.
pub(super) unsafe fn with_options<R>(
    options: *const RegionOptions,
    work: impl FnOnce(&mut Options<'_>) -> Outcome<R>,
) -> Outcome<R> {
    // SAFETY: the caller's promise.
    let theirs = unsafe { read(options)? };
    // SAFETY: the caller's promise.
    let layout = unsafe { layout_of(&theirs.layout)? };
    let mut call = theirs.init.map(|init| {
        move |data: usize, size: usize| {
            // SAFETY: the caller's promise on the callback; the memory is mapped for `size` bytes.
            unsafe { init(data as *mut c_void, size, theirs.init_user) }
        }
    });
    let mut ours = Options {
        size: theirs.size,
        max_size: theirs.max_size,
        layout,
        timeout_ns: theirs.timeout_ns,
        init: call.as_mut().map(|call| call as &mut dyn FnMut(usize, usize) -> i32),
        mode: theirs.mode,
        group: (theirs.group != SHMKIT_GROUP_SAME).then_some(theirs.group),
        owner: match theirs.owner {
            SHMKIT_OWNER_SELF => Owner::Own,
            SHMKIT_OWNER_ANY => Owner::Any,
            user => Owner::User(user),
        },
        space: match theirs.space {
            SHMKIT_SPACE_RESERVE => Space::Reserve,
            SHMKIT_SPACE_LAZY => Space::Lazy,
            SHMKIT_SPACE_POPULATE => Space::Populate,
            _ => return Err(Failure::argument("space is none of SHMKIT_SPACE_", "use one of those constants")),
        },
        huge: match theirs.huge_pages {
            SHMKIT_HUGE_NONE => Huge::None,
            SHMKIT_HUGE_TRY => Huge::Try,
            SHMKIT_HUGE_REQUIRE => Huge::Require,
            _ => return Err(Failure::argument("huge_pages is none of SHMKIT_HUGE_", "use one of those constants")),
        },
        read_only: flag(theirs.read_only)?,
        raw: flag(theirs.raw)?,
        persistent: flag(theirs.persistent)?,
    };
    work(&mut ours)
}
