//! Says to the layers of the library, which are compiled here once more, that the C library is behind this one.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(interposer)");
    println!("cargo:rustc-cfg=interposer");
    // Handlers of signals and of exit lead here until the process ends.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
