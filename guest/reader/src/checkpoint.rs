//! Checkpoints: how far each shard was read, and the text in which that is saved.
//!
//! A [`Position`] is a point in one shard. The positions of a shard are totally ordered, and reading only moves up. Two
//! checkpoints of the same stream are joined by taking the further position of each shard. The join is associative,
//! commutative and idempotent: checkpoints saved by several writers can be joined in any order, any number of times.
//!
//! # Text format, version 1
//!
//! ```json
//! {"version":1,
//!  "stream":{"name":"orders","arn":"arn:aws:kinesis:eu-west-1:123456789012:stream/orders","created":1763900000000},
//!  "shards":{"shardId-000000000000":{"at":"end"},
//!            "shardId-000000000001":{"after":"49590338271490256608559692538361571095921575989136588898"},
//!            "shardId-000000000002":{"after":"49590338271490256608559692540925702759324208523137515618","sub":3},
//!            "shardId-000000000003":{"at":"trim-horizon"},
//!            "shardId-000000000004":{"at":1763900000000}}}
//! ```
//!
//! Times are in milliseconds since the Unix epoch. `arn` and `created` are omitted if they are not known. With `sub`,
//! the record named by `after` is an aggregated record of which only the messages up to that index are delivered. Every
//! shard that was seen has a position, even if it was never read.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;

use core::fmt;

use kinesis_reader_json as json;
use serde_json::{Map, Value};

use crate::identifier::is_name;
use crate::pages::sequence::Sequence;
use crate::printable::printable;
use crate::time::Timestamp;

/// The version of the text format that this reader reads and writes.
const VERSION: u64 = 1;

/// A point in a shard. Everything before it was delivered or is not wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// Before the oldest record that is left.
    TrimHorizon,
    /// Before the first record that arrived at this time or later.
    At(Timestamp),
    /// After a message.
    After(MessagePosition),
    /// After the last record of a closed shard.
    End,
}

/// The position of a message in its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePosition {
    /// The sequence number of its record.
    pub sequence: Sequence,
    /// The index within an aggregated record, or `None` for the record as a whole.
    pub subsequence: Option<u32>,
}

impl Ord for MessagePosition {
    fn cmp(&self, other: &MessagePosition) -> Ordering {
        // The whole record is further than any part of it.
        let part = |message: &MessagePosition| message.subsequence.map_or(u64::MAX, u64::from);
        self.sequence.cmp(&other.sequence).then_with(|| part(self).cmp(&part(other)))
    }
}

impl PartialOrd for MessagePosition {
    fn partial_cmp(&self, other: &MessagePosition) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Position {
    /// Returns the sequence number that this position comes after, if any.
    pub(crate) fn after(&self) -> Option<&Sequence> {
        match self {
            Position::After(message) => Some(&message.sequence),
            Position::TrimHorizon | Position::At(_) | Position::End => None,
        }
    }
}

/// The stream that a checkpoint belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its ARN, if known.
    pub arn: Option<String>,
    /// When it was created, if known. This distinguishes it from an earlier stream of the same name.
    pub created: Option<Timestamp>,
}

impl Identity {
    /// Whether both can be the same stream: nothing that is known of both differs.
    pub(crate) fn agrees(&self, other: &Identity) -> bool {
        self.is_namesake(other) && is_compatible(self.created, other.created)
    }

    /// Whether both can be the same stream, or one can be the other after it was recreated.
    pub(crate) fn is_namesake(&self, other: &Identity) -> bool {
        self.name == other.name && is_compatible(self.arn.as_deref(), other.arn.as_deref())
    }

    /// Combines what is known of the same stream.
    pub(crate) fn join(self, other: Identity) -> Identity {
        Identity { name: self.name, arn: self.arn.or(other.arn), created: self.created.or(other.created) }
    }

    /// Describes the stream for an error message.
    pub(crate) fn describe(&self) -> String {
        let stream = self.arn.as_ref().unwrap_or(&self.name);
        let stream = printable(stream);
        match self.created {
            Some(created) => format!("{stream}, created at {} ms since the epoch", created.0),
            None => stream.into_owned(),
        }
    }
}

/// Whether two values are equal, as far as they are known.
fn is_compatible<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b,
        (Some(_) | None, None) | (None, Some(_)) => true,
    }
}

/// How far each shard of a stream was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The stream.
    pub stream: Identity,
    /// The position in each shard that was seen.
    pub shards: BTreeMap<String, Position>,
}

impl Checkpoint {
    /// Parses the text of a checkpoint.
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
        read(text).map_err(|why| CheckpointError::Malformed(printable(&why).into_owned()))
    }

    /// Returns the text of the checkpoint. Equal checkpoints have equal texts.
    pub fn to_text(&self) -> String {
        write(&self.stream, &mut self.shards.iter().map(|(id, position)| (id.as_str(), position)))
    }

    /// Joins two checkpoints of the same stream, taking the further position of each shard.
    pub fn join(mut self, other: Checkpoint) -> Result<Checkpoint, CheckpointError> {
        if !self.stream.agrees(&other.stream) {
            return Err(CheckpointError::Foreign(other.stream.describe()));
        }
        self.stream = self.stream.join(other.stream);
        for (id, position) in other.shards {
            match self.shards.entry(id) {
                Entry::Vacant(entry) => {
                    entry.insert(position);
                }
                Entry::Occupied(mut entry) => {
                    if position > *entry.get() {
                        entry.insert(position);
                    }
                }
            }
        }
        Ok(self)
    }
}

/// Joins the texts of two checkpoints of the same stream, taking the further position of each shard.
pub fn merge_checkpoints(left: &str, right: &str) -> Result<String, CheckpointError> {
    Ok(Checkpoint::parse(left)?.join(Checkpoint::parse(right)?)?.to_text())
}

/// Writes the text of a checkpoint whose positions are stored elsewhere.
pub(crate) fn write<'a>(stream: &Identity, shards: &mut dyn Iterator<Item = (&'a str, &'a Position)>) -> String {
    let mut text = Vec::new();
    let put = |piece: &str, text: &mut Vec<u8>| text.extend_from_slice(piece.as_bytes());
    let number = |number: u64, text: &mut Vec<u8>| put(itoa::Buffer::new().format(number), text);

    put("{\"version\":", &mut text);
    number(VERSION, &mut text);
    put(",\"stream\":{\"name\":", &mut text);
    json::write_string(&stream.name, &mut text);
    if let Some(arn) = &stream.arn {
        put(",\"arn\":", &mut text);
        json::write_string(arn, &mut text);
    }
    if let Some(created) = stream.created {
        put(",\"created\":", &mut text);
        number(created.0, &mut text);
    }
    put("},\"shards\":{", &mut text);
    for (count, (id, position)) in shards.enumerate() {
        put(if count == 0 { "" } else { "," }, &mut text);
        json::write_string(id, &mut text);
        match position {
            Position::TrimHorizon => put(":{\"at\":\"trim-horizon\"}", &mut text),
            Position::End => put(":{\"at\":\"end\"}", &mut text),
            Position::At(time) => {
                put(":{\"at\":", &mut text);
                number(time.0, &mut text);
                put("}", &mut text);
            }
            Position::After(MessagePosition { sequence, subsequence }) => {
                put(":{\"after\":", &mut text);
                json::write_string(sequence.as_str(), &mut text);
                if let Some(subsequence) = subsequence {
                    put(",\"sub\":", &mut text);
                    number(u64::from(*subsequence), &mut text);
                }
                put("}", &mut text);
            }
        }
    }
    put("}}", &mut text);
    // Only text was written, so this cannot fail.
    String::from_utf8(text).unwrap_or_default()
}

/// Parses the text. The error says what is wrong with it.
fn read(text: &str) -> Result<Checkpoint, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let members = object(&value, "top level")?;
    match members.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(version) => return Err(format!("unsupported version (this reader supports {VERSION}): {version}")),
        None => return Err("missing version".to_owned()),
    }
    check_names(members, &["version", "stream", "shards"], "top level")?;
    let stream = object(members.get("stream").unwrap_or(&Value::Null), "stream")?;
    check_names(stream, &["name", "arn", "created"], "stream")?;
    let name = stream.get("name").ok_or("stream: missing name")?;
    let stream = Identity {
        name: string(name, "stream: name")?,
        arn: stream.get("arn").map(|arn| string(arn, "stream: arn")).transpose()?,
        created: stream.get("created").map(|created| time(created, "stream: created")).transpose()?,
    };
    let mut shards = BTreeMap::new();
    for (id, position) in object(members.get("shards").unwrap_or(&Value::Null), "shards")? {
        if !is_name(id) {
            return Err(format!("not a shard id, which has 1 to 128 of [a-zA-Z0-9_.-]: \"{id}\""));
        }
        let position = read_position(position).map_err(|why| format!("shard {id}: {why}"))?;
        shards.insert(id.clone(), position);
    }
    Ok(Checkpoint { stream, shards })
}

fn read_position(position: &Value) -> Result<Position, String> {
    let members = object(position, "position")?;
    check_names(members, &["at", "after", "sub"], "position")?;
    match (members.get("at"), members.get("after"), members.get("sub")) {
        (Some(Value::String(name)), None, None) => match name.as_str() {
            "trim-horizon" => Ok(Position::TrimHorizon),
            "end" => Ok(Position::End),
            other => Err(format!("not a position: \"{other}\"")),
        },
        (Some(at), None, None) => Ok(Position::At(time(at, "at")?)),
        (None, Some(after), sub) => {
            let after = string(after, "after")?;
            let Ok(sequence) = after.parse() else { return Err(format!("not a sequence number: \"{after}\"")) };
            let number = |sub: &Value| sub.as_u64().and_then(|sub| u32::try_from(sub).ok()).ok_or("sub: not a number");
            Ok(Position::After(MessagePosition { sequence, subsequence: sub.map(number).transpose()? }))
        }
        (Some(_), _, _) | (None, None, _) => {
            Err("a position has either `at` or `after`, and `sub` only with `after`".to_owned())
        }
    }
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{what}: not an object"))
}

fn string(value: &Value, what: &str) -> Result<String, String> {
    value.as_str().map(ToOwned::to_owned).ok_or_else(|| format!("{what}: not a string"))
}

fn time(value: &Value, what: &str) -> Result<Timestamp, String> {
    value.as_u64().map(Timestamp).ok_or_else(|| format!("{what}: not a time in milliseconds"))
}

fn check_names(members: &Map<String, Value>, names: &[&str], what: &str) -> Result<(), String> {
    match members.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => Err(format!("{what}: unknown member: \"{key}\"")),
        None => Ok(()),
    }
}

/// Why a checkpoint cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// It is not a checkpoint, or has a newer version. The text says which.
    Malformed(String),
    /// It belongs to another stream, which the text describes.
    Foreign(String),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::Malformed(why) => write!(f, "invalid checkpoint: {why}"),
            CheckpointError::Foreign(stream) => write!(f, "the checkpoint belongs to another stream: {stream}"),
        }
    }
}

impl core::error::Error for CheckpointError {}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        r#"{"version":1,"stream":{"name":"orders","arn":"arn:aws:kinesis:eu-west-1:123456789012:stream/orders","#,
        r#""created":1763900000000},"shards":{"a":{"at":"end"},"b":{"after":"9"},"c":{"after":"10","sub":3},"#,
        r#""d":{"at":"trim-horizon"},"e":{"at":1763900000000}}}"#
    );

    #[test]
    fn the_text_of_a_checkpoint_round_trips() {
        assert_eq!(Checkpoint::parse(TEXT).expect("a checkpoint").to_text(), TEXT);
    }

    #[test]
    fn an_invalid_checkpoint_is_rejected_with_a_reason() {
        let why = |text: &str| match Checkpoint::parse(text) {
            Err(CheckpointError::Malformed(why)) => why,
            other => panic!("{text}: {other:?}"),
        };
        assert!(why("").contains("EOF"));
        assert!(why(r#"{"version":2,"new":true}"#).contains("unsupported version (this reader supports 1): 2"));
        assert!(why(&TEXT.replace("\"shards\"", "\"sards\"")).contains("sards"));
        assert!(why(&TEXT.replace("\"9\"", "\"09\"")).contains("shard b: not a sequence number"));
        assert!(why(&TEXT.replace("trim-horizon", "begin")).contains("not a position: \"begin\""));
        assert!(why(&TEXT.replace("\"e\":", r#""\u001b[2J\u202e":"#)).contains(r#": "\u{1b}[2J\u{202e}""#));
        assert!(why(&TEXT.replace("\"9\"", &format!("\"{}\"", "\u{7f}".repeat(2000)))).ends_with("characters more)"));
        assert!(why(&TEXT.replace(r#"{"at":"end"}"#, "{}")).contains("either `at` or `after`"));
        assert!(why(&TEXT.replace(r#"{"at":"end"}"#, r#"{"at":"end","sub":1}"#)).contains("either `at` or `after`"));
    }

    #[test]
    fn positions_are_ordered_from_the_trim_horizon_to_the_end() {
        let after = |text: &str, subsequence| {
            Position::After(MessagePosition { sequence: text.parse().expect("a sequence number"), subsequence })
        };
        let ascending = [
            Position::TrimHorizon,
            Position::At(Timestamp(1)),
            Position::At(Timestamp(2)),
            after("9", Some(0)),
            after("9", Some(1)),
            after("9", None),
            after("10", Some(0)),
            after("10", None),
            Position::End,
        ];
        for (i, left) in ascending.iter().enumerate() {
            for (j, right) in ascending.iter().enumerate() {
                assert_eq!(left.cmp(right), i.cmp(&j), "{left:?} and {right:?}");
            }
        }
    }

    #[test]
    fn checkpoints_of_different_streams_are_not_joined() {
        let other = TEXT.replace("1763900000000},", "1763900000001},");
        assert!(matches!(merge_checkpoints(TEXT, &other), Err(CheckpointError::Foreign(_))));
        let undated = TEXT.replace(r#","created":1763900000000"#, "");
        assert_eq!(merge_checkpoints(&undated, TEXT).expect("the same stream"), TEXT);
    }
}
