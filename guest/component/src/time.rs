//! Lengths of time as the WIT interface has them.

use core::time::Duration;

pub(crate) fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
