//! Responses of status 200 that cannot be used.

use alloc::format;
use alloc::string::String;

use crate::machine::shard::Verdict;
use crate::wire;

/// What is wrong with a response of status 200.
pub(super) struct Wrong {
    pub(super) verdict: Verdict,
    pub(super) why: String,
}

impl Wrong {
    pub(super) fn contradiction(why: String) -> Wrong {
        Wrong { verdict: Verdict::Wrong, why }
    }

    pub(super) fn not_a_sequence_number(text: &str) -> Wrong {
        Wrong::contradiction(format!("no sequence number: {text:?}"))
    }
}

impl From<wire::Unintelligible> for Wrong {
    fn from(wire::Unintelligible { why, is_forbidden }: wire::Unintelligible) -> Wrong {
        Wrong { verdict: if is_forbidden { Verdict::Wrong } else { Verdict::Transient }, why }
    }
}
