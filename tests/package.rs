//! The package as its users get it: built and installed by CMakeLists.txt, then looked at, linked and run.
//! Consumers are in tests/consumers/. Builds are kept in target/package; what is installed is removed again.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::mem::offset_of;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use shmkit::calls::limits::Limits;
use shmkit::calls::report::Report;
use shmkit::capi::error::{LastError, shmkit_status_t};
use shmkit::capi::options::{RegionLayout, RegionOptions};
use shmkit::capi::region::{RecordedProcess, RegionParticipant, RegionStat};
use shmkit::capi::survey::ListedObject;
use support::{root, run};
use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The file sizes to stay under, in bytes. More than half of the shared library is Rust's standard library, most of it
/// the symboliser of backtraces.
const SHARED_MOST: u64 = 850 << 10;
const STATIC_MOST: u64 = 2000 << 10;
/// What every program is run with, so that no setting of the caller's reaches it.
const SETTINGS: [&str; 5] = ["LD_LIBRARY_PATH", "LD_PRELOAD", "SHMKIT_POLICY", "SHMKIT_REPORT", "CPATH"];
const KINDS: [&str; 2] = ["shared", "static"];
/// What C++ code may be compiled without.
const WITHOUT: [&str; 2] = ["-fno-exceptions", "-fno-rtti"];

fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for name in SETTINGS {
        command.env_remove(name);
    }
    command
}

/// A line for whoever runs the tests, even when they succeed.
fn say(words: &str) {
    let mut line = words.to_string();
    line.push('\n');
    std::io::stderr().write_all(line.as_bytes()).expect("standard error is there");
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An installed copy, removed with the last test that uses it.
struct Package {
    folder: TempDir,
}

impl Package {
    /// The one copy of this run: built, installed, and moved away from where it was installed.
    fn get() -> Arc<Package> {
        static SHARED: Mutex<Weak<Package>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(package) = shared.upgrade() {
            return package;
        }
        let package = Arc::new(Package { folder: TempDir::new().expect("a temporary folder can be made") });
        configure(root(), &kept("build"), &["-DCMAKE_INSTALL_LIBDIR=lib", "-DSHMKIT_SHARED=ON"]);
        build(&kept("build"));
        install(&kept("build"), &package.folder.path().join("installed"));
        fs::rename(package.folder.path().join("installed"), package.prefix()).expect("it can be moved");
        *shared = Arc::downgrade(&package);
        package
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn prefix(&self) -> PathBuf {
        self.path("moved")
    }

    fn library(&self, name: &str) -> PathBuf {
        self.prefix().join("lib").join(name)
    }

    fn include(&self) -> PathBuf {
        self.prefix().join("include")
    }
}

/// A build folder that stays for the next run.
fn kept(name: &str) -> PathBuf {
    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    temporary.parent().expect("it is in the target folder").join("package").join(name)
}

fn configure(source: &Path, build: &Path, settings: &[&str]) {
    run(command("cmake").arg("-S").arg(source).arg("-B").arg(build).args(settings));
}

fn build(folder: &Path) {
    run(command("cmake").arg("--build").arg(folder).args(["--parallel", "2"]));
}

fn install(build: &Path, prefix: &Path) {
    run(command("cmake").arg("--install").arg(build).arg("--prefix").arg(prefix));
}

/// A C and a C++ compiler that belong together.
struct Compilers {
    c: String,
    cpp: String,
}

impl Compilers {
    fn gcc() -> Compilers {
        Compilers { c: "gcc".into(), cpp: "g++".into() }
    }

    /// None, and a line that says so, where it is not installed.
    fn clang() -> Option<Compilers> {
        let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
        let is_there = |ending: &String| folders.iter().any(|folder| folder.join(format!("clang++{ending}")).exists());
        let endings = std::iter::once(String::new()).chain((11..40).rev().map(|version| format!("-{version}")));
        let found = endings.into_iter().find(is_there);
        if found.is_none() {
            support::not_run("compiling with clang: it is not installed; scripts/setup gets it");
        }
        found.map(|ending| Compilers { c: format!("clang{ending}"), cpp: format!("clang++{ending}") })
    }

    fn all() -> Vec<Compilers> {
        std::iter::once(Compilers::gcc()).chain(Compilers::clang()).collect()
    }

    fn is_clang(&self) -> bool {
        self.c.starts_with("clang")
    }

    /// The compiler for this standard, told to use it.
    fn for_standard(&self, standard: &str) -> Command {
        let cpp = standard.contains("++");
        let mut compiler = command(if cpp { &self.cpp } else { &self.c });
        compiler.args(["-x", if cpp { "c++" } else { "c" }]).arg(format!("-std={standard}"));
        compiler
    }

    fn settings(&self) -> [String; 2] {
        [format!("-DCMAKE_C_COMPILER={}", self.c), format!("-DCMAKE_CXX_COMPILER={}", self.cpp)]
    }
}

fn consumers() -> PathBuf {
    root().join("tests/consumers")
}

/// Builds the consumers with cmake, from an installed copy or from the source, as `setting` says.
fn build_consumers(folder: &Path, compilers: &Compilers, setting: &str) {
    let [c, cpp] = compilers.settings();
    configure(&consumers(), folder, &[&c, &cpp, setting, &format!("-DWANTED_VERSION={VERSION}")]);
    build(folder);
}

/// What a consumer prints when all is well.
fn good(program: &str) -> String {
    format!("{program}: good\n")
}

/// Runs every consumer in `folder`, linked with either library, and removes what leftover leaves.
fn run_consumers(folder: &Path, prepare: impl Fn(&Path) -> Command) {
    for kind in KINDS {
        for program in ["parent-child", "segment", "typed", "sync", "unchanged"] {
            let output = run(&mut prepare(&folder.join(format!("{program}-{kind}"))));
            assert_eq!(output, good(program));
        }
        remove_segment(&run(&mut prepare(&folder.join(format!("leftover-{kind}")))));
    }
}

fn remove_segment(id: &str) {
    let id = id.trim().parse().unwrap_or_else(|_| panic!("{id:?} is no id of a segment"));
    // SAFETY: IPC_RMID takes no buffer.
    assert_eq!(unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) }, 0, "segment {id} is there");
}

/// Every file and link below a folder, as paths below it.
fn files_below(folder: &Path, below: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let entry = entry.expect("the folder can be listed");
        let path = format!("{below}{}", entry.file_name().to_str().expect("names are ASCII"));
        match entry.file_type().expect("it has a type").is_dir() {
            true => files_below(&entry.path(), &format!("{path}/"), found),
            false => drop(found.insert(path)),
        }
    }
}

#[test]
fn files_and_links_are_where_they_belong() {
    let package = Package::get();
    let mut found = BTreeSet::new();
    files_below(&package.prefix(), "", &mut found);
    let major = VERSION.split('.').next().expect("a version has numbers");
    let (real, soname) = (format!("libshmkit.so.{VERSION}"), format!("libshmkit.so.{major}"));
    let mut expected: BTreeSet<String> = [
        "include/shmkit.h",
        "include/shmkit.hpp",
        "include/shmkit/dropin.h",
        "lib/cmake/shmkit/shmkitConfig.cmake",
        "lib/cmake/shmkit/shmkitConfigVersion.cmake",
        "lib/cmake/shmkit/shmkitTargets.cmake",
        "bin/shmkit",
        "lib/libshmkit.a",
        "lib/libshmkit.so",
        "lib/libshmkit_preload.so",
        "lib/pkgconfig/shmkit-dropin.pc",
        "lib/pkgconfig/shmkit.pc",
    ]
    .map(String::from)
    .into();
    for page in ["man/man1/shmkit.1", "bash-completion/completions/shmkit", "zsh/site-functions/_shmkit"] {
        expected.insert(format!("share/{page}"));
    }
    expected.insert("share/fish/vendor_completions.d/shmkit.fish".into());
    // A page for each command.
    let help = run(command(package.prefix().join("bin/shmkit")).arg("--help"));
    let commands =
        help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1).take_while(|line| !line.is_empty());
    let commands =
        commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    expected.extend(commands.filter(|name| *name != "help").map(|name| format!("share/man/man1/shmkit-{name}.1")));
    expected.extend([format!("lib/{real}"), format!("lib/{soname}")]);
    for document in ["README.md", "docs/rules.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        if root().join(document).exists() {
            expected.insert(format!("share/doc/shmkit/{}", document.trim_start_matches("docs/")));
        }
    }
    assert_eq!(found, expected);
    let link = |name: &str| fs::read_link(package.library(name)).expect("it is a link");
    assert_eq!(link("libshmkit.so"), Path::new(&soname));
    assert_eq!(link(&soname), Path::new(&real));
    for header in ["shmkit.h", "shmkit.hpp", "shmkit/dropin.h"] {
        assert_eq!(read(package.include().join(header)), read(root().join("include").join(header)));
    }
    let dynamic = run(command("readelf").args(["-dlW"]).arg(package.library(&real)));
    for word in [&*format!("soname: [{soname}]"), "BIND_NOW", "NODELETE", "GNU_RELRO"] {
        assert!(dynamic.contains(word), "{word} is missing:\n{dynamic}");
    }
    assert!(!dynamic.contains("TEXTREL") && !dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"), "{dynamic}");
}

/// The tool finds the interposer of its own prefix, wherever that was moved, and checks a program with it.
#[test]
fn the_installed_tool_runs_a_program() {
    let package = Package::get();
    let tool = package.prefix().join("bin/shmkit");
    let words = run(command(&tool).args(["run", "--json", "--report", "off", "--", "ls", "/dev/null"]));
    assert!(words.contains("\"schema\": \"shmkit.run\"") && words.contains("\"program\": \"ls\""), "{words}");
    assert!(run(command(&tool).arg("--version")).contains(VERSION));
}

/// A program in whose threads the library was not there when they began loads it, and they lock.
#[test]
fn loaded_at_run_time() {
    let package = Package::get();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let program = folder.path().join("loads");
    let source = root().join("tests/consumers/loads.c");
    run(command("gcc").args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(&program).arg(source));
    run(command(&program).arg(package.library("libshmkit.so")));
}

#[test]
fn sizes_stay_small() {
    let package = Package::get();
    let size = |name: &str| fs::metadata(package.library(name)).expect("it is installed").len();
    let (shared, archive) = (size("libshmkit.so"), size("libshmkit.a"));
    let kib = |bytes: u64| format!("{:.1} KiB", bytes as f64 / 1024.0);
    say(&format!("libshmkit.so {}, libshmkit.a {}", kib(shared), kib(archive)));
    assert!(shared < SHARED_MOST, "libshmkit.so has {}, more than {}", kib(shared), kib(SHARED_MOST));
    assert!(archive < STATIC_MOST, "libshmkit.a has {}, more than {}", kib(archive), kib(STATIC_MOST));
}

/// The names of the global symbols that a library defines, by `nm` with these options.
fn symbols(options: &[&str], file: &Path) -> Vec<String> {
    let table = run(command("nm").args(options).arg(file));
    let mut names: Vec<String> =
        table.lines().filter_map(|line| line.split_whitespace().nth(2)).map(String::from).collect();
    names.sort();
    names
}

#[test]
fn nothing_is_exported_but_what_the_list_allows() {
    let package = Package::get();
    let list = read(root().join("tests/exports.txt"));
    let allowed: Vec<&str> = list.lines().collect();
    assert!(allowed.is_sorted() && !allowed.is_empty(), "tests/exports.txt is not sorted");
    assert_eq!(symbols(&["-D", "--defined-only"], &package.library("libshmkit.so")), allowed);
    assert_eq!(symbols(&["-g", "--defined-only"], &package.library("libshmkit.a")), allowed);
    let header = read(package.include().join("shmkit.h"));
    let undeclared: Vec<_> = allowed.iter().filter(|name| !header.contains(&format!("{name}("))).collect();
    assert!(undeclared.is_empty(), "shmkit.h does not declare {undeclared:?}");
}

#[test]
fn no_path_of_the_build_is_left() {
    let package = Package::get();
    let mut found = BTreeSet::new();
    files_below(&package.prefix(), "", &mut found);
    let home = std::env::var("HOME").unwrap_or_default();
    for file in found.iter().filter(|file| !file.starts_with("share/")) {
        let bytes = fs::read(package.prefix().join(file)).expect("it is readable");
        let text = String::from_utf8_lossy(&bytes);
        for path in [root(), package.folder.path(), &kept(""), Path::new(&home).join(".cargo").as_path()] {
            let path = path.to_str().expect("paths are text").trim_end_matches('/');
            assert!(!text.contains(path), "{file} names {path}");
        }
    }
}

/// What pkg-config says, as arguments.
fn pkg_config(libraries: &Path, arguments: &[&str]) -> Vec<String> {
    let folder = libraries.join("pkgconfig");
    let output = run(command("pkg-config").args(arguments).env("PKG_CONFIG_PATH", folder));
    output.split_whitespace().map(String::from).collect()
}

#[test]
fn another_library_folder_and_a_static_library_alone() {
    let package = Package::get();
    let other = package.path("other");
    let settings = ["-DCMAKE_INSTALL_LIBDIR=lib/multi", "-DSHMKIT_SHARED=OFF", "-DSHMKIT_TOOL=OFF"];
    configure(root(), &kept("static"), &settings);
    build(&kept("static"));
    install(&kept("static"), &other);
    let libraries = other.join("lib/multi");
    assert!(libraries.join("libshmkit.a").exists() && !libraries.join("libshmkit.so").exists());
    assert_eq!(pkg_config(&libraries, &["--modversion", "shmkit"]), [VERSION]);
    let program = package.path("alone");
    let source = consumers().join("parent-child.c");
    let flags = pkg_config(&libraries, &["--cflags", "--libs", "shmkit"]);
    run(command("cc").arg(source).args(flags).arg("-o").arg(&program));
    assert_eq!(run(&mut command(program)), good("parent-child"));
}

#[test]
fn the_native_libraries_are_those_that_rust_names() {
    let package = Package::get();
    let named = read(kept("build").join("cargo/staticlib/native-static-libs"));
    let mut named: BTreeSet<&str> = named.split_whitespace().collect();
    // Every compiler driver adds these two itself, as the kind of link needs them.
    assert!(named.remove("-lgcc_s") && named.remove("-lc"));
    let given = pkg_config(&package.prefix().join("lib"), &["--static", "--libs-only-l", "shmkit"]);
    let given: BTreeSet<&str> = given.iter().map(String::as_str).filter(|library| *library != "-lshmkit").collect();
    assert_eq!(given, named);
}

#[test]
fn headers_compile_alone_and_twice() {
    let package = Package::get();
    let mut count = 0;
    for header in ["shmkit.h", "shmkit.hpp", "shmkit/dropin.h"] {
        for (how, times) in [("once", 1), ("twice", 2)] {
            let source = package.path(&format!("{}-{how}", header.replace('/', "-")));
            fs::write(&source, format!("#include <{header}>\n").repeat(times)).expect("it can be written");
            for compilers in Compilers::all() {
                for standard in ["c11", "c17", "c2x", "c++17", "c++20", "c++2b"] {
                    for without in [&[][..], &WITHOUT] {
                        let cpp = standard.contains("++");
                        if !cpp && (header.ends_with(".hpp") || !without.is_empty()) {
                            continue;
                        }
                        let mut compiler = compilers.for_standard(standard);
                        compiler.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]).args(without);
                        run(compiler.arg("-I").arg(package.include()).arg(&source));
                        count += 1;
                    }
                }
            }
        }
    }
    say(&format!("headers compiled {count} times"));
}

/// Compiles a consumer of two sources, in C and in C++, with what pkg-config says; gives the program.
fn compile_typed(package: &Package, compilers: &Compilers, standard: &str, flags: &[&str], link: &[String]) -> PathBuf {
    const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];
    let (object, program) = (package.path("typed-in-c.o"), package.path("typed"));
    let cflags = pkg_config(&package.prefix().join("lib"), &["--cflags", "shmkit"]);
    let mut c = compilers.for_standard("c11");
    run(c.args(STRICT).args(&cflags).arg("-c").arg(consumers().join("typed-in-c.c")).arg("-o").arg(&object));
    let mut cpp = compilers.for_standard(standard);
    cpp.args(STRICT).args(&cflags).args(flags).arg(consumers().join("typed.cpp")).args(["-x", "none"]).arg(object);
    run(cpp.args(link).arg("-o").arg(&program));
    program
}

/// Compiles the consumer of locks, or of queues, in the same way.
fn compile_cpp(
    name: &str,
    package: &Package,
    compilers: &Compilers,
    standard: &str,
    flags: &[&str],
    link: &[String],
) -> PathBuf {
    let program = package.path(name);
    let cflags = pkg_config(&package.prefix().join("lib"), &["--cflags", "shmkit"]);
    let mut cpp = compilers.for_standard(standard);
    cpp.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"]).args(&cflags).args(flags);
    cpp.arg(consumers().join(format!("{name}.cpp"))).args(["-x", "none"]).args(link);
    run(cpp.arg("-o").arg(&program));
    program
}

#[test]
fn the_cpp_header_works_with_and_without_exceptions() {
    let package = Package::get();
    let libraries = package.prefix().join("lib");
    let shared = pkg_config(&libraries, &["--libs", "shmkit"]);
    let mut whole = pkg_config(&libraries, &["--static", "--libs", "shmkit"]);
    whole.push("-static".into());
    let mut count = 0;
    for compilers in Compilers::all() {
        for standard in ["c++17", "c++20", "c++2b"] {
            for without in [&[][..], &WITHOUT[1..], &WITHOUT] {
                for link in [&shared, &whole] {
                    let typed = compile_typed(&package, &compilers, standard, without, link);
                    let [sync, queues] =
                        ["sync", "queues"].map(|name| compile_cpp(name, &package, &compilers, standard, without, link));
                    for (name, program) in [("typed", typed), ("sync", sync), ("queues", queues)] {
                        let mut good_run = command(&program);
                        assert_eq!(run(good_run.env("LD_LIBRARY_PATH", &libraries)), good(name));
                        count += 1;
                    }
                }
            }
            // The programs that were built last have no exceptions: they say why they end.
            for (name, call, errno) in [
                ("typed", "shmkit_region_open(\"posix:/", "ENOENT"),
                ("sync", "shmkit_mutex_lock(0x", "EOWNERDEAD"),
                ("queues", "shmkit_ring_attach(0x", "EINVAL"),
            ] {
                let output = command(package.path(name)).arg("fail").output().expect("it starts");
                let words = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{words}");
                assert!(words.starts_with(call) && words.contains(errno), "{words}");
            }
        }
    }
    say(&format!("typed regions, locks and queues: {count} programs"));
}

#[test]
fn what_a_program_must_not_do_does_not_compile() {
    let package = Package::get();
    let source = consumers().join("refused.cpp");
    let cases = regex::Regex::new(r"(?m)^#(?:if|elif) CASE == (\d+)(?: // (.+))?$").expect("it is well-formed");
    let text = read(&source);
    let mut count = 0;
    for compilers in Compilers::all() {
        for case in cases.captures_iter(&text) {
            let mut compiler = compilers.for_standard("c++17");
            compiler.args(["-fsyntax-only", "-Werror=unused-result"]).arg(format!("-DCASE={}", &case[1]));
            let output = compiler.arg("-I").arg(package.include()).arg(&source).output().expect("the compiler runs");
            let words = String::from_utf8_lossy(&output.stderr);
            let Some(reason) = case.get(2) else {
                assert!(output.status.success(), "the good case does not compile:\n{words}");
                continue;
            };
            let reason = regex::Regex::new(reason.as_str()).expect("it is well-formed");
            let said = words.lines().any(|line| line.contains("error:") && reason.is_match(line));
            assert!(!output.status.success() && said, "{} case {}: no \"{reason}\":\n{words}", compilers.cpp, &case[1]);
            count += 1;
        }
    }
    say(&format!("{count} programs refused by the compiler"));
    assert!(count >= 36, "the cases were not found");
}

#[test]
fn found_by_cmake_and_clean_under_valgrind() {
    let package = Package::get();
    for compilers in Compilers::all() {
        let folder = package.path(&format!("found-{}", compilers.c));
        build_consumers(&folder, &compilers, &format!("-DCMAKE_PREFIX_PATH={}", package.prefix().display()));
        run_consumers(&folder, |program| command(program));
        check_layout(&folder);
        check_destructor(&folder);
        if !compilers.is_clang() {
            run_consumers(&folder, |program| {
                let mut valgrind = command("valgrind");
                valgrind.args(["--error-exitcode=9", "--leak-check=full", "-q"]);
                valgrind.arg("--errors-for-leak-kinds=definite,possible").arg(program);
                valgrind
            });
        }
    }
}

/// The library's destructor ran after the program's own exit handler and reported the segment that was left.
fn check_destructor(folder: &Path) {
    for kind in KINDS {
        let program = folder.join(format!("leftover-{kind}"));
        let output = command(program).env("SHMKIT_REPORT", "stderr").output().expect("it runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        remove_segment(&out);
        let own = err.find("the program's own exit handler").expect("the handler ran");
        let reported = err.find(&format!("segment {}", out.trim())).unwrap_or_else(|| panic!("no report:\n{err}"));
        assert!(own < reported && err.contains("SHM-EXIT-SEGMENT"), "{err}");
    }
}

/// Lines as tests/consumers/layout.c prints them.
macro_rules! layout {
    ($out:ident, $name:literal, $struct:ty $(, $field:ident)*) => {
        writeln!($out, "{} {} {}", $name, size_of::<$struct>(), align_of::<$struct>()).expect("a String takes all");
        $({
            fn size<S, F>(_field: impl Fn(&S) -> &F) -> usize {
                size_of::<F>()
            }
            let (offset, size) = (offset_of!($struct, $field), size(|all: &$struct| &all.$field));
            writeln!($out, "{}.{} {offset} {size}", $name, stringify!($field)).expect("a String takes all");
        })*
    };
}

fn check_layout(folder: &Path) {
    let mut expected = String::new();
    layout!(expected, "shmkit_error_t", LastError, struct_size, call, rule, cause, remedy, code, errno_value);
    layout!(
        expected,
        "shmkit_report_t",
        Report,
        struct_size,
        rule,
        call,
        cause,
        remedy,
        verdict,
        outcome,
        code,
        errno_value
    );
    layout!(
        expected,
        "shmkit_limits_t",
        Limits,
        struct_size,
        shmmax,
        shmmin,
        shmmni,
        shmall,
        shmseg,
        page_size,
        shmlba,
        huge_page_sizes,
        huge_page_count,
        posix_capacity,
        posix_free
    );
    layout!(expected, "shmkit_layout_t", RegionLayout, name, size, version, alignment);
    layout!(
        expected,
        "shmkit_region_options_t",
        RegionOptions,
        struct_size,
        size,
        max_size,
        layout,
        timeout_ns,
        init,
        init_user,
        mode,
        group,
        owner,
        space,
        huge_pages,
        read_only,
        raw,
        persistent
    );
    layout!(expected, "shmkit_process_t", RecordedProcess, pid, uid, start_time, boot_id, pid_namespace);
    layout!(
        expected,
        "shmkit_region_stat_t",
        RegionStat,
        struct_size,
        size,
        max_size,
        generation,
        object_size,
        reserved,
        page_size,
        data_offset,
        created_ns,
        creator,
        layout_name,
        layout_size,
        layout_version,
        layout_alignment,
        device,
        inode,
        links,
        backend,
        mode,
        uid,
        gid,
        seals,
        read_only,
        raw,
        persistent,
        fragile
    );
    layout!(expected, "shmkit_participant_t", RegionParticipant, struct_size, process, live, own, read_only);
    layout!(
        expected,
        "shmkit_object_t",
        ListedObject,
        struct_size,
        address,
        backend,
        content,
        size,
        reserved,
        device,
        inode,
        users,
        creator,
        created_ns,
        layout_name,
        layout_version,
        uid,
        gid,
        mode,
        orphan,
        unlinked,
        persistent,
        pid
    );
    layout!(expected, "shmkit_status_t", shmkit_status_t);
    for kind in KINDS {
        assert_eq!(run(&mut command(folder.join(format!("layout-{kind}")))), expected);
    }
}

#[test]
fn built_as_part_of_another_project() {
    for compilers in Compilers::all() {
        let folder = kept(&format!("source-{}", compilers.c));
        build_consumers(&folder, &compilers, &format!("-DSHMKIT_SOURCE={}", root().display()));
        run_consumers(&folder, |program| command(program));
        let prefix = TempDir::new().expect("a temporary folder can be made");
        install(&folder, prefix.path());
        assert_eq!(fs::read_dir(prefix.path()).expect("it is there").count(), 0, "a part installs itself");
    }
}

#[test]
fn found_by_pkg_config() {
    let package = Package::get();
    let libraries = package.prefix().join("lib");
    let shared = pkg_config(&libraries, &["--cflags", "--libs", "shmkit"]);
    // Linked with no shared library at all: pkg-config's private libraries must then be enough.
    let mut whole = pkg_config(&libraries, &["--static", "--cflags", "--libs", "shmkit"]);
    whole.push("-static".into());
    for compilers in Compilers::all() {
        for (program, standard) in [("parent-child.c", "c11"), ("segment.cpp", "c++17")] {
            let link = |flags: &[String], more: &[&str]| {
                let (stem, _) = program.split_once('.').expect("the name has an ending");
                let place = package.path(&format!("{stem}-{}", compilers.c));
                let mut compiler = compilers.for_standard(standard);
                compiler.arg(consumers().join(program)).args(["-x", "none", "-pthread"]).args(flags).args(more);
                run(compiler.arg("-o").arg(&place));
                assert_eq!(run(command(&place).env("LD_LIBRARY_PATH", &libraries)), good(stem));
            };
            link(&shared, &[]);
            link(&shared, &["-lrt"]);
            link(&whole, &[]);
        }
        check_dropin_by_pkg_config(&package, &compilers);
    }
}

/// One set of flags turns an unchanged program into a checked one.
fn check_dropin_by_pkg_config(package: &Package, compilers: &Compilers) {
    let libraries = package.prefix().join("lib");
    let flags = |what: &str| pkg_config(&libraries, &[what, "shmkit-dropin"]);
    let object = package.path(&format!("unchanged-{}.o", compilers.c));
    let program = package.path(&format!("unchanged-{}", compilers.c));
    let mut c = compilers.for_standard("c11");
    run(c.arg("-c").arg(consumers().join("unchanged.c")).args(flags("--cflags")).arg("-o").arg(&object));
    let mut cpp = compilers.for_standard("c++17");
    cpp.arg(consumers().join("unchanged.cpp")).args(flags("--cflags")).args(["-x", "none"]).arg(object);
    cpp.args(flags("--libs"));
    run(cpp.arg("-o").arg(&program));
    assert_eq!(run(command(&program).env("LD_LIBRARY_PATH", &libraries)), good("unchanged"));
}

/// Builds another Rust static library whose one function begins with `prefix`.
fn other_rust_library(package: &Package, prefix: &str) -> PathBuf {
    let source = package.path(&format!("{prefix}.rs"));
    fs::write(&source, read(consumers().join("other.rs")).replace("other_", prefix)).expect("it can be written");
    let library = package.path(&format!("lib{prefix}.a"));
    run(command("rustc").args(["--edition", "2024", "--crate-type", "staticlib"]).arg(source).arg("-o").arg(&library));
    library
}

#[test]
fn other_rust_libraries_stand_beside_it() {
    let package = Package::get();
    let plain = other_rust_library(&package, "third_");
    let (input, output) = (other_rust_library(&package, "other_"), package.path("other_local.a"));
    let mut localize = command("cmake");
    localize.arg(format!("-DINPUT={}", input.display())).arg(format!("-DOUTPUT={}", output.display()));
    localize.args(["-DPREFIX=other_", "-DLINKER=ld", "-DOBJCOPY=objcopy", "-DAR=ar", "-DNM=nm", "-P"]);
    run(localize.arg(root().join("cmake/localize.cmake")));
    assert_eq!(symbols(&["-g", "--defined-only"], &output), ["other_unwinds"]);
    for compilers in Compilers::all() {
        for flags in [&[][..], &["-static", "-Wl,--gc-sections"]] {
            let program = package.path("beside");
            let mut compiler = command(&compilers.c);
            compiler.arg(consumers().join("beside.c")).arg("-I").arg(package.include()).args(flags);
            compiler.arg(package.library("libshmkit.a")).arg(&output).arg(&plain);
            run(compiler.args(["-lpthread", "-ldl", "-lm", "-lrt", "-o"]).arg(&program));
            assert_eq!(run(&mut command(program)), good("beside"));
        }
    }
}

/// The calls that the drop-in redirects and every language mode declares; then those that some modes leave out.
const EVERYWHERE: [&str; 28] = [
    "close",
    "fcntl",
    "fstat",
    "ftok",
    "mlock",
    "mmap",
    "mprotect",
    "msync",
    "munlock",
    "munmap",
    "sem_close",
    "sem_destroy",
    "sem_getvalue",
    "sem_init",
    "sem_open",
    "sem_post",
    "sem_trywait",
    "sem_unlink",
    "sem_wait",
    "semctl",
    "semget",
    "semop",
    "shm_open",
    "shm_unlink",
    "shmat",
    "shmctl",
    "shmdt",
    "shmget",
];
const SOMEWHERE: [&str; 11] = [
    "fcntl64",
    "ftruncate",
    "ftruncate64",
    "madvise",
    "memfd_create",
    "mmap64",
    "mremap",
    "posix_fallocate",
    "sem_clockwait",
    "sem_timedwait",
    "semtimedop",
];
/// Those that have no function of their own in the library.
const ALIASES: [&str; 3] = ["fstat64", "posix_fallocate64", "__fxstat"];

/// One way to compile a program with the drop-in.
struct Mode<'a> {
    standard: &'a str,
    place: &'a str,
    offsets: &'a str,
    gnu: bool,
}

impl Mode<'_> {
    fn is_cpp(&self) -> bool {
        self.standard.contains("++")
    }

    /// Clang refuses a second name for a function that was declared already: the one mode in which the drop-in header
    /// may stop the compiler. It must never be passed over in silence.
    fn may_be_refused(&self, compilers: &Compilers) -> bool {
        compilers.is_clang() && !self.is_cpp() && self.place == "-include" && self.offsets == "-DOFFSET_BITS_HERE"
    }

    fn words(&self, compilers: &Compilers) -> String {
        let gnu = if self.gnu { "-D_GNU_SOURCE" } else { "" };
        format!("{} -std={} {} {} {gnu}", compilers.c, self.standard, self.place, self.offsets)
    }

    fn compile(&self, compilers: &Compilers, package: &Package, object: &Path) -> Output {
        let mut compiler = compilers.for_standard(self.standard);
        compiler.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c"]).arg("-I").arg(package.include());
        compiler.arg(consumers().join("every-call.c")).arg("-o").arg(object);
        compiler
            .args([self.offsets, if self.gnu { "-D_GNU_SOURCE" } else { "" }].iter().filter(|flag| !flag.is_empty()));
        match self.place {
            "-include" => compiler.args(["-include", "shmkit/dropin.h"]),
            place => compiler.arg(place),
        };
        compiler.output().expect("the compiler runs")
    }
}

/// Every mode. G++ and Clang define _GNU_SOURCE for C++ themselves, so there it makes no two modes.
fn modes() -> Vec<Mode<'static>> {
    let mut modes = Vec::new();
    for standard in ["c11", "c17", "gnu11", "c2x", "c++17", "c++20"] {
        for place in ["-DINCLUDE_BEFORE", "-DINCLUDE_AFTER", "-include"] {
            for offsets in ["", "-D_FILE_OFFSET_BITS=64", "-DOFFSET_BITS_HERE"] {
                modes.push(Mode { standard, place, offsets, gnu: false });
                if !standard.contains("++") {
                    modes.push(Mode { standard, place, offsets, gnu: true });
                }
            }
        }
    }
    modes
}

/// What is wrong with the drop-in in one mode, if anything.
fn complaint(mode: &Mode, compilers: &Compilers, package: &Package) -> Option<String> {
    let object = package.path(&format!("every-call-{}.o", compilers.c));
    let output = mode.compile(compilers, package, &object);
    let words = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let loud = words.contains("error:");
        return (!loud || !mode.may_be_refused(compilers)).then(|| words.lines().take(4).collect());
    }
    let table = run(command("nm").arg("-u").arg(&object));
    let undefined: BTreeSet<&str> = table.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let standard = EVERYWHERE.iter().chain(&SOMEWHERE).chain(&ALIASES);
    let passed_over: Vec<_> = standard.filter(|name| undefined.contains(**name)).collect();
    if !passed_over.is_empty() {
        return Some(format!("not redirected: {passed_over:?}"));
    }
    let some: &[&str] = if mode.gnu || mode.is_cpp() { &SOMEWHERE } else { &[] };
    let unused: Vec<_> =
        EVERYWHERE.iter().chain(some).filter(|name| !undefined.contains(&*format!("shmkit_{name}"))).collect();
    (!unused.is_empty()).then(|| format!("not called: {unused:?}"))
}

fn check_dropin(compilers: &Compilers) {
    let package = Package::get();
    let complaints: Vec<String> = modes()
        .iter()
        .filter_map(|mode| Some(format!("{}: {}", mode.words(compilers), complaint(mode, compilers, &package)?)))
        .collect();
    assert!(complaints.is_empty(), "{} modes:\n{}", complaints.len(), complaints.join("\n"));
}

#[test]
fn the_dropin_redirects_every_call_with_gcc() {
    check_dropin(&Compilers::gcc());
}

#[test]
fn the_dropin_redirects_every_call_with_clang() {
    if let Some(clang) = Compilers::clang() {
        check_dropin(&clang);
    }
}
