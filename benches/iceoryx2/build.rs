//! Links the code that fills and reads messages, which `scripts/bench queues` compiled for all that are measured.
fn main() {
    println!("cargo:rerun-if-env-changed=QUEUES_PAYLOAD");
    if let Ok(object) = std::env::var("QUEUES_PAYLOAD") {
        println!("cargo:rerun-if-changed={object}");
        println!("cargo:rustc-link-arg={object}");
    }
}
