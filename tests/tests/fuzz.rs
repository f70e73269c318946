//! Runs the checks of the fuzz targets without a fuzzer: on their seeds, whole and truncated, and on earlier findings.
//!
//! `cargo xtask fuzz` runs the fuzzer.

use std::path::Path;

#[path = "../fuzz/src/checks/mod.rs"]
#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
mod checks;

#[test]
fn answers() {
    on_all("answers", checks::answers::check, checks::answers::seeds());
}

#[test]
fn checkpoint() {
    on_all("checkpoint", checks::checkpoint::check, checks::checkpoint::seeds());
}

#[test]
fn config() {
    on_all("config", checks::config::check, checks::config::seeds());
}

#[test]
fn driver() {
    on_all("driver", checks::driver::check, checks::driver::seeds());
}

#[test]
fn envelope() {
    on_all("envelope", checks::envelope::check, checks::envelope::seeds());
}

#[test]
fn kpl() {
    on_all("kpl", checks::kpl::check, checks::kpl::seeds());
}

#[test]
fn page() {
    on_all("page", checks::page::check, checks::page::seeds());
}

#[test]
fn service() {
    on_all("service", checks::service::check, checks::service::seeds());
}

#[test]
fn parts() {
    on_all("parts", checks::parts::check, checks::parts::seeds());
}

/// The number of positions at which a seed is truncated.
const CUTS: usize = 24;

fn on_all(target: &str, check: fn(&[u8]), seeds: Vec<Vec<u8>>) {
    assert!(!seeds.is_empty());
    for seed in &seeds {
        check(seed);
        for cut in 0..CUTS.min(seed.len()) {
            check(&seed[..seed.len() * cut / CUTS]);
        }
    }
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions").join(target);
    for file in std::fs::read_dir(found).into_iter().flatten() {
        check(&std::fs::read(file.expect("a readable file").path()).expect("a readable file"));
    }
}
