//! Names the shared library's soname. Never generates code and never needs the network: the header is
//! committed, and `tests/header.rs` fails when it differs from what the source gives.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").expect("cargo sets the version");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libshmkit.so.{major}");
    // The ledger is read after every other exit handler, so the library must stay loaded until then.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
