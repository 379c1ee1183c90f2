//! C ABI of `region::Options`: what a program asks for when it creates, opens or receives a region. Translation only.
//! Every number is checked: enums and flags come from C as integers.

use core::ffi::{c_char, c_int, c_void};

use super::is_plausible;
use crate::error::Status;
use crate::region::header::Layout;
use crate::region::{Failure, Huge, Options, Outcome, Owner, Space};

/// Space is reserved at creation and growth: what does not fit is an error there (the default).
pub const SHMKIT_SPACE_RESERVE: i32 = 0;
/// Space is found at the first touch.
pub const SHMKIT_SPACE_LAZY: i32 = 1;
/// Space is reserved, and mapped at once.
pub const SHMKIT_SPACE_POPULATE: i32 = 2;
/// Usual pages (the default).
pub const SHMKIT_HUGE_NONE: i32 = 0;
/// Huge pages where the system has them, usual ones otherwise; shmkit_region_stat() tells which.
pub const SHMKIT_HUGE_TRY: i32 = 1;
/// Huge pages or an error.
pub const SHMKIT_HUGE_REQUIRE: i32 = 2;
/// The group stays the one that the system gives (the default).
pub const SHMKIT_GROUP_SAME: u32 = 0xffffffff;
/// Open what this user or root owns (the default).
pub const SHMKIT_OWNER_SELF: u32 = 0xffffffff;
/// Open whatever has the name.
pub const SHMKIT_OWNER_ANY: u32 = 0xfffffffe;

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
/// Must return: no exception, no longjmp. `size` is in bytes.
pub type RegionInit = Option<unsafe extern "C" fn(data: *mut c_void, size: usize, user: *mut c_void) -> c_int>;

/// What a program asks for. Begin with SHMKIT_REGION_OPTIONS_INIT, and set what differs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RegionOptions {
    /// sizeof this struct, so that it can grow.
    pub struct_size: usize,
    /// Bytes of data. Needed to create; when opening, the region must have at least as many.
    pub size: u64,
    /// The most that it may grow to, in bytes: address space, not memory. 0: it does not grow.
    pub max_size: u64,
    /// The type that it holds.
    pub layout: RegionLayout,
    /// How long to wait for a creator, a grower or a collector, in nanoseconds. 0: 10 seconds. UINT64_MAX: for ever.
    /// A dead one is never waited for.
    pub timeout_ns: u64,
    /// Fills the region before it is seen; once, however many processes create it at the same time. May be NULL.
    pub init: RegionInit,
    /// Passed to `init`.
    pub init_user: *mut c_void,
    /// Permission bits of a new region, whatever the umask is. 0: 0600.
    pub mode: u32,
    /// The group of a new region, or SHMKIT_GROUP_SAME.
    pub group: u32,
    /// Whose region may be opened: SHMKIT_OWNER_SELF (this user's or root's), SHMKIT_OWNER_ANY, or a user id.
    pub owner: u32,
    /// SHMKIT_SPACE_RESERVE, _LAZY or _POPULATE.
    pub space: i32,
    /// SHMKIT_HUGE_NONE, _TRY or _REQUIRE.
    pub huge_pages: i32,
    /// 1: map it for reading only.
    pub read_only: i32,
    /// 1: without a header: an object that other software made, or that it will open.
    pub raw: i32,
    /// 1: shmkit_gc() leaves it alone when nobody has it open.
    pub persistent: i32,
}

const DEFAULTS: RegionOptions = RegionOptions {
    struct_size: size_of::<RegionOptions>(),
    size: 0,
    max_size: 0,
    layout: RegionLayout { name: core::ptr::null(), size: 0, version: 0, alignment: 0 },
    timeout_ns: 0,
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
    let layout = if theirs.layout.name.is_null() {
        Layout::default()
    } else {
        // SAFETY: the caller's promise.
        let name = unsafe { super::address(theirs.layout.name) }.get()?;
        let layout = Layout::new(name, theirs.layout.version, theirs.layout.size, theirs.layout.alignment);
        // Blanks do not count, and a layout without a name would fit everything.
        if layout.is_any() {
            return Err(Failure::argument("the layout's name is empty", "use SHMKIT_LAYOUT(type, version)"));
        }
        layout
    };
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
