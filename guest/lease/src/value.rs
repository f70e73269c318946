//! The value, and the text that it is kept as.
//!
//! ```json
//! {"version":1,"epoch":7,"revision":31,"owner":"5f…","until":1763900030000,"begun":1763900000000,
//!  "checkpoint":{"version":1,"stream":{"name":"orders"},"shards":{}}}
//! ```

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The version of the text that is written, and the latest that is read.
const VERSION: u64 = 1;

/// The most that epochs and revisions may be, and the number up to which any reader of JSON has them exactly. With a write
/// each millisecond it is reached in 285,000 years.
const COUNT_MAX: u64 = 1 << 53;

/// The longest name of an owner, in bytes. Ours have 32.
const OWNER_MAX: usize = 128;

/// Who may read the stream, and how far it was read. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Counts the owners, from 1. It fences: what comes with a lower one is of an owner that was given up.
    pub epoch: u64,
    /// Counts the attempts to write, over all epochs.
    pub revision: u64,
    /// The name of the owner, new for each acquisition.
    pub owner: String,
    /// Until when nobody else takes it. 0: it was given back.
    pub until: u64,
    /// When the first owner came: where reading begins as long as there is no checkpoint, if it begins at the latest.
    pub begun: u64,
    /// The reader's checkpoint, as JSON. None: nothing was committed yet.
    pub checkpoint: Option<String>,
}

/// Why a value is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Value {
    /// Reads what [`Value::to_bytes`] gave.
    pub fn parse(bytes: &[u8]) -> Result<Value, Unreadable> {
        // A list would be read as the members in their order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Unreadable("it is no lease: no JSON object".to_owned()));
        }
        let Version { version } =
            serde_json::from_slice(bytes).map_err(|error| Unreadable(format!("it is no lease: {error}")))?;
        if version != VERSION {
            return Err(Unreadable(format!("it is of version {version}, and version {VERSION} is known")));
        }
        let text: Text = serde_json::from_slice(bytes).map_err(|error| Unreadable(error.to_string()))?;
        let Text { version: _, epoch, revision, owner, until, begun, checkpoint } = text;
        if epoch > COUNT_MAX || revision > COUNT_MAX {
            return Err(Unreadable(format!("it counts further than any does: {}", epoch.max(revision))));
        }
        if owner.len() > OWNER_MAX {
            return Err(Unreadable(format!("its owner's name has {} bytes, and may have {OWNER_MAX}", owner.len())));
        }
        let checkpoint = checkpoint.map(|text| text.get().to_owned());
        Ok(Value { epoch, revision, owner, until, begun, checkpoint })
    }

    /// The text. None: the checkpoint is not JSON, or `null`.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let Value { epoch, revision, owner, until, begun, checkpoint } = self.clone();
        let checkpoint = match checkpoint {
            Some(text) if text == "null" => return None,
            Some(text) => Some(RawValue::from_string(text).ok()?),
            None => None,
        };
        serde_json::to_vec(&Text { version: VERSION, epoch, revision, owner, until, begun, checkpoint }).ok()
    }
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    version: u64,
    epoch: u64,
    revision: u64,
    owner: String,
    until: u64,
    begun: u64,
    checkpoint: Option<Box<RawValue>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_comes_back_and_anything_else_is_refused() {
        let mut value = Value { epoch: 7, revision: 31, owner: "a".to_owned(), until: 5, begun: 3, checkpoint: None };
        for checkpoint in [None, Some(r#"{"version":1,"shards":{"a":{"after":"49"}}}"#.to_owned())] {
            value.checkpoint = checkpoint;
            assert_eq!(Value::parse(&value.to_bytes().expect("it is JSON")), Ok(value.clone()));
        }
        let refused = |text: &str| Value::parse(text.as_bytes()).expect_err(text).0;
        assert!(refused("").contains("no lease"));
        assert!(refused("1").contains("no lease"));
        assert!(refused(r#"[1,7,31,"a",5,3,null]"#).contains("no lease"));
        assert!(refused("\u{0}\u{0}").contains("no lease"));
        assert!(refused(r#"{"version":2,"more":true}"#).contains("version 2"));
        assert!(refused(r#"{"version":1,"epoch":1}"#).contains("revision"));
        let more = r#"{"version":1,"epoch":1,"revision":1,"owner":"a","until":1,"begun":1,"checkpoint":null,"x":1}"#;
        assert!(refused(more).contains('x'));
        for (epoch, revision, owner) in
            [("18446744073709551615", "1", 1), ("1", "9007199254740993", 1), ("1", "1", 129)]
        {
            let owner = "a".repeat(owner);
            refused(&format!(
                r#"{{"version":1,"epoch":{epoch},"revision":{revision},"owner":"{owner}","until":1,"begun":1,"checkpoint":null}}"#
            ));
        }
        value.checkpoint = Some("{".to_owned());
        assert_eq!(value.to_bytes(), None);
    }
}
