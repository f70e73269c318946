#![no_main]

use fuzz::checks::parts::{check, seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: fuzz::seed(&seeds()),
    |data: &[u8]| check(data)
);
