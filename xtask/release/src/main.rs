//! What `cargo xtask dist` cannot do by starting other programs:
//!
//! - `release wit FOLDER OUT`: the WIT package in a folder, as one binary file.
//! - `release seal DIST`: the sums of all files, beside them.
//! - `release check DIST VERSION UNPACKED`: whether they are what a release is made of.

mod check;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use sha2::{Digest, Sha256};
use wit_parser::Resolve;

/// The file of sums, in the form of `sha256sum`.
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

/// The files of a release by name, without that of the sums.
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
