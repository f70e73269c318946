//! Says what to run if the component that the host embeds has not been built.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=component");
    if !["kinesis_reader.wasm", "reader.wit"].iter().all(|file| Path::new("component").join(file).exists()) {
        println!("cargo::error=the component has not been built; run `cargo xtask guest` first");
    }
}
