//! The value that holds the lease and the checkpoint, and its JSON form in the store.
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

/// The version of the JSON form that we write, and the only one that we read.
const VERSION: u64 = 1;

/// The largest epoch and revision. Up to here, any JSON reader represents them exactly. With a write each millisecond
/// it is reached in 285,000 years.
const COUNT_MAX: u64 = 1 << 53;

/// The longest name of an owner, in bytes. Ours are 32 bytes long.
const OWNER_MAX: usize = 128;

/// Who may read the stream, and how far it has been read. Times are in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// Counts the owners, from 1. It serves as a fencing token: anything with a lower epoch comes from a former owner.
    pub epoch: u64,
    /// Counts the attempts to write, over all epochs.
    pub revision: u64,
    /// The name of the owner, new for each acquisition.
    pub owner: String,
    /// When the lease ends. 0 if it was given back.
    pub until: u64,
    /// When the first owner began. As long as there is no checkpoint, a reader that starts at `latest` begins here.
    pub begun: u64,
    /// The reader's checkpoint, as JSON. `None` until the first commit.
    pub checkpoint: Option<String>,
}

/// Why a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

impl Value {
    /// Parses the result of [`Value::to_bytes`].
    pub fn parse(bytes: &[u8]) -> Result<Value, Unreadable> {
        // serde would also accept an array of the members in order.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(Unreadable("not a lease: not a JSON object".to_owned()));
        }
        let Version { version } =
            serde_json::from_slice(bytes).map_err(|error| Unreadable(format!("not a lease: {error}")))?;
        if version != VERSION {
            return Err(Unreadable(format!("version {version} is not supported, only version {VERSION}")));
        }
        let text: Text = serde_json::from_slice(bytes).map_err(|error| Unreadable(error.to_string()))?;
        let Text { version: _, epoch, revision, owner, until, begun, checkpoint } = text;
        if epoch > COUNT_MAX || revision > COUNT_MAX {
            return Err(Unreadable(format!("epoch or revision out of range: {}", epoch.max(revision))));
        }
        if owner.len() > OWNER_MAX {
            return Err(Unreadable(format!("the owner's name is longer than {OWNER_MAX} bytes: {}", owner.len())));
        }
        let checkpoint = checkpoint.map(|text| text.get().to_owned());
        Ok(Value { epoch, revision, owner, until, begun, checkpoint })
    }

    /// Returns the JSON form, or `None` if the checkpoint is not JSON or is `null`.
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
    fn a_value_survives_a_round_trip_and_other_text_is_rejected() {
        let mut value = Value { epoch: 7, revision: 31, owner: "a".to_owned(), until: 5, begun: 3, checkpoint: None };
        for checkpoint in [None, Some(r#"{"version":1,"shards":{"a":{"after":"49"}}}"#.to_owned())] {
            value.checkpoint = checkpoint;
            assert_eq!(Value::parse(&value.to_bytes().expect("the checkpoint is JSON")), Ok(value.clone()));
        }
        let rejected = |text: &str| Value::parse(text.as_bytes()).expect_err(text).0;
        assert!(rejected("").contains("not a lease"));
        assert!(rejected("1").contains("not a lease"));
        assert!(rejected(r#"[1,7,31,"a",5,3,null]"#).contains("not a lease"));
        assert!(rejected("\u{0}\u{0}").contains("not a lease"));
        assert!(rejected(r#"{"version":2,"more":true}"#).contains("version 2"));
        assert!(rejected(r#"{"version":1,"epoch":1}"#).contains("revision"));
        let unknown = r#"{"version":1,"epoch":1,"revision":1,"owner":"a","until":1,"begun":1,"checkpoint":null,"x":1}"#;
        assert!(rejected(unknown).contains('x'));
        for (epoch, revision, owner) in
            [("18446744073709551615", "1", 1), ("1", "9007199254740993", 1), ("1", "1", 129)]
        {
            let owner = "a".repeat(owner);
            rejected(&format!(
                r#"{{"version":1,"epoch":{epoch},"revision":{revision},"owner":"{owner}","until":1,"begun":1,"checkpoint":null}}"#
            ));
        }
        value.checkpoint = Some("{".to_owned());
        assert_eq!(value.to_bytes(), None);
    }
}
