//! The code that the fuzz targets share. The checks themselves are in `checks`.

pub mod checks;

use std::path::Path;

/// Writes the seeds of a target to the directory named by `KINESIS_FUZZ_SEEDS`, if it is set.
///
/// libFuzzer calls this before it reads its inputs from there.
pub fn seed(seeds: &[Vec<u8>]) {
    let Some(folder) = std::env::var_os("KINESIS_FUZZ_SEEDS") else { return };
    let folder = Path::new(&folder);
    let write = |(number, seed): (usize, &Vec<u8>)| std::fs::write(folder.join(format!("seed-{number}")), seed);
    let written = std::fs::create_dir_all(folder).and_then(|()| seeds.iter().enumerate().try_for_each(write));
    written.unwrap_or_else(|error| panic!("cannot write seeds: {}: {error}", folder.display()));
}
