//! What the fuzz targets share. See `checks`.

pub mod checks;

use std::path::Path;

/// Puts the seeds of a target where libFuzzer looks for inputs, if `KINESIS_FUZZ_SEEDS` names that folder.
///
/// libFuzzer calls this before it reads them.
pub fn seed(seeds: &[Vec<u8>]) {
    let Some(folder) = std::env::var_os("KINESIS_FUZZ_SEEDS") else { return };
    let folder = Path::new(&folder);
    let write = |(number, seed): (usize, &Vec<u8>)| std::fs::write(folder.join(format!("seed-{number}")), seed);
    let written = std::fs::create_dir_all(folder).and_then(|()| seeds.iter().enumerate().try_for_each(write));
    written.unwrap_or_else(|error| panic!("cannot write seeds: {}: {error}", folder.display()));
}
