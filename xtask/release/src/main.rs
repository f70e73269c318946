//! The parts of `cargo xtask dist` that need libraries:
//!
//! - `release wit FOLDER OUT`: encodes the WIT package in a directory as a binary file.
//! - `release seal DIST`: writes the checksums of all files.
//! - `release check DIST VERSION UNPACKED`: checks a complete release.

mod check;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use wit_parser::Resolve;

/// The file of checksums, in the format of `sha256sum`.
const SUMS: &str = "SHA256SUMS";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["wit", folder, out] => wit(Path::new(folder), Path::new(out)),
        ["seal", dist] => seal(Path::new(dist)),
        ["check", dist, version, unpacked] => check::all(Path::new(dist), version, Path::new(unpacked)),
        _ => {
            eprintln!("usage: release wit FOLDER OUT, release seal DIST, release check DIST VERSION UNPACKED");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn wit(folder: &Path, out: &Path) -> Result<()> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(folder)?;
    std::fs::write(out, wit_component::encode(&resolve, package, false)?)?;
    Ok(())
}

fn seal(dist: &Path) -> Result<()> {
    let lines = files(dist)?.into_iter().map(|(name, bytes)| format!("{}  {name}\n", sum(&bytes)));
    std::fs::write(dist.join(SUMS), lines.collect::<String>())?;
    Ok(())
}

/// Reads all files of a release, except the checksums.
fn files(dist: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dist)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != SUMS {
            files.insert(name, std::fs::read(entry.path())?);
        }
    }
    Ok(files)
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
