//! The committed header is what the source gives, and its numbers are those of the one table.
//! `SHMKIT_BLESS=1 cargo test --test header` (scripts/header) writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use shmkit::calls::policy::Policy;
use shmkit::calls::report::Outcome;
use shmkit::checks::Verdict;
use shmkit::error::Status;

/// The sources that hold exported functions and types, in the order in which the header shows them.
const SOURCES: [&str; 15] = [
    "src/capi/error.rs",
    "src/calls/report.rs",
    "src/capi/policy.rs",
    "src/capi/posix.rs",
    "src/capi/memory.rs",
    "src/capi/file.rs",
    "src/capi/sysv.rs",
    "src/capi/semset.rs",
    "src/capi/record.rs",
    "src/capi/sem.rs",
    "src/calls/limits.rs",
    "src/capi/limits.rs",
    "src/capi/options.rs",
    "src/capi/region.rs",
    "src/capi/survey.rs",
];

fn numbers() -> String {
    let mut out = String::new();
    let version: Vec<&str> = env!("CARGO_PKG_VERSION").split('.').collect();
    let mut line = |text: String| writeln!(out, "{text}").expect("a String takes all");
    line(format!("#define SHMKIT_VERSION \"{}\"", env!("CARGO_PKG_VERSION")));
    line(format!("#define SHMKIT_VERSION_MAJOR {}", version[0]));
    line(format!("#define SHMKIT_VERSION_MINOR {}", version[1]));
    line(format!("#define SHMKIT_VERSION_PATCH {}", version[2]));
    line("\n/* Status codes: 0, or negative. Numbers are never reused. */".into());
    for status in Status::ALL {
        let words = status.words();
        let number = status as i32;
        let number = if number < 0 { format!("({number})") } else { number.to_string() };
        line(format!("#define {:<28} {number:>5} /* {} */", words.name, words.cause));
    }
    line("\n/* Policies: what is refused. */".into());
    for (name, policy, words) in [
        ("OBSERVE", Policy::Observe, "nothing; everything is reported"),
        ("CHECK", Policy::Check, "what is wrong; hazards are reported and passed"),
        ("ENFORCE", Policy::Enforce, "what is wrong or hazardous"),
    ] {
        line(format!("#define SHMKIT_POLICY_{name:<8} {} /* {words} */", policy as i32));
    }
    line("\n/* Verdicts of a rule. */".into());
    for (name, verdict, words) in [
        ("WRONG", Verdict::Wrong, "POSIX or the manual page calls it an error or undefined"),
        ("HAZARD", Verdict::Hazard, "legal, and usually a bug"),
    ] {
        line(format!("#define SHMKIT_VERDICT_{name:<6} {} /* {words} */", verdict as i32));
    }
    line("\n/* What became of a reported call. */".into());
    for (name, outcome, words) in [
        ("PASSED", Outcome::Passed, "passed to the kernel"),
        ("REFUSED", Outcome::Refused, "refused by shmkit"),
        ("FAILED", Outcome::Failed, "refused by the kernel"),
    ] {
        line(format!("#define SHMKIT_OUTCOME_{name:<7} {} /* {words} */", outcome as i32));
    }
    out
}

/// What cbindgen cannot say: initialisers, a macro that names a type, and variadic functions.
const BY_HAND: &str = r#"
/** A shmkit_limits_t that is ready to be passed. */
#ifdef __cplusplus
#define SHMKIT_LIMITS_INIT (shmkit_limits_t{sizeof(shmkit_limits_t), 0, 0, 0, 0, 0, 0, 0, {0}, 0, 0, 0})
#else
#define SHMKIT_LIMITS_INIT { .struct_size = sizeof(shmkit_limits_t) }
#endif

/** Options that are ready to be changed: every field says "as usual". */
#ifdef __cplusplus
#define SHMKIT_REGION_OPTIONS_INIT                                                                             \
    (shmkit_region_options_t{sizeof(shmkit_region_options_t), 0, 0, shmkit_layout_t{nullptr, 0, 0, 0}, 0, nullptr, \
                             nullptr, 0, SHMKIT_GROUP_SAME, SHMKIT_OWNER_SELF, SHMKIT_SPACE_RESERVE,           \
                             SHMKIT_HUGE_NONE, 0, 0, 0})
#else
#define SHMKIT_REGION_OPTIONS_INIT \
    { .struct_size = sizeof(shmkit_region_options_t), .group = SHMKIT_GROUP_SAME, .owner = SHMKIT_OWNER_SELF }
#endif

/** A shmkit_region_stat_t that is ready to be passed. */
#ifdef __cplusplus
#define SHMKIT_REGION_STAT_INIT (shmkit::detail::sized<shmkit_region_stat_t>())
#else
#define SHMKIT_REGION_STAT_INIT { .struct_size = sizeof(shmkit_region_stat_t) }
#endif

/** The layout of a type: SHMKIT_LAYOUT(struct telemetry, 3). A changed definition gets a new version. */
#ifdef __cplusplus
#define SHMKIT_LAYOUT(type, version) (shmkit_layout_t{#type, sizeof(type), (version), alignof(type)})
#else
#define SHMKIT_LAYOUT(type, version) ((shmkit_layout_t){#type, sizeof(type), (version), _Alignof(type)})
#endif

#ifdef __cplusplus
namespace shmkit {
namespace detail {
template <typename T> inline T sized() {
    T value{};
    value.struct_size = sizeof value;
    return value;
}
} // namespace detail
} // namespace shmkit
#endif

#ifdef __cplusplus
extern "C"
#endif
/**
 * Moves or resizes a mapping; the fifth argument is `void *new_address`, for MREMAP_FIXED and MREMAP_DONTUNMAP.
 *
 * As mremap(2), checked first. Returns the address, or MAP_FAILED with errno. Thread-safe.
 */
void *shmkit_mremap(void *old_address, size_t old_size, size_t new_size, int flags, ...);

#ifdef __cplusplus
extern "C"
#endif
/**
 * Controls a set of System V semaphores: IPC_STAT, IPC_SET, IPC_RMID, GETVAL, SETVAL, GETALL, SETALL, GETPID, GETNCNT,
 * GETZCNT, IPC_INFO, SEM_INFO, SEM_STAT, SEM_STAT_ANY. The fourth argument is a `union semun`, for the commands that
 * take one.
 *
 * As semctl(2) and POSIX, checked first. Returns what the command gives, or -1 with errno. Thread-safe.
 */
int shmkit_semctl(int semid, int semnum, int cmd, ...);

#ifdef __cplusplus
extern "C" {
#endif
/**
 * Opens the named semaphore `name`, or creates it: with O_CREAT in `oflag`, a `mode_t` and an `unsigned int` follow, the
 * mode and the value of a new one.
 *
 * As sem_open(3) and POSIX, checked first. Returns its address, or SEM_FAILED with errno. Thread-safe. A forked child has
 * it open too; exec closes it. It outlives the process until somebody unlinks it.
 */
sem_t *shmkit_sem_open(const char *name, int oflag, ...);

/**
 * fcntl. Record locks are checked: F_GETLK, F_SETLK and F_SETLKW, of a process, and F_OFD_GETLK, F_OFD_SETLK and
 * F_OFD_SETLKW, of an open file description. Every other command is the C library's, without words.
 *
 * As fcntl(2) and POSIX. Returns what the command gives, or -1 with errno. Thread-safe and async-signal-safe;
 * F_SETLKW and F_OFD_SETLKW are cancellation points.
 */
int shmkit_fcntl(int fd, int cmd, ...);

/** The same as shmkit_fcntl: file offsets have 64 bits on every supported platform. */
int shmkit_fcntl64(int fd, int cmd, ...);
#ifdef __cplusplus
}
#endif
"#;

/// Takes out of the C header what only a Rust caller needs, the safety sections, and puts a comment of one line on one.
fn for_c(header: &str) -> String {
    let mut out = String::new();
    let mut skipping = false;
    for line in header.lines() {
        let text = line.trim_start().trim_start_matches('*').trim();
        match text {
            "# Safety" => {
                skipping = true;
                while out.ends_with(" *\n") {
                    out.truncate(out.len() - " *\n".len());
                }
                continue;
            }
            "/" => skipping = false,
            _ => {}
        }
        if !skipping {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    let short = regex::Regex::new(r"/\*\*\n\s*\* (.{1,100})\n\s*\*/").expect("the pattern is well-formed");
    short.replace_all(&out, "/** $1 */").into_owned()
}

fn generate() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is well-formed");
    config.after_includes = Some(format!("\n{}{BY_HAND}", numbers()));
    config.documentation_style = cbindgen::DocumentationStyle::Doxy;
    let builder =
        SOURCES.iter().fold(cbindgen::Builder::new().with_config(config), |b, source| b.with_src(root.join(source)));
    let mut bytes = Vec::new();
    builder.generate().expect("the sources are well-formed").write(&mut bytes);
    for_c(&String::from_utf8(bytes).expect("the header is text"))
}

#[test]
fn the_committed_header_is_what_the_source_gives() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/shmkit.h");
    let generated = generate();
    if std::env::var_os("SHMKIT_BLESS").is_some() {
        std::fs::write(&path, &generated).expect("include/ can be written");
    }
    let committed = std::fs::read_to_string(&path).expect("include/shmkit.h is committed");
    assert!(committed == generated, "include/shmkit.h differs from the source: run scripts/header");
}
