//! How far each shard was read, and the text that says so.
//!
//! A [`Position`] is a point in one shard. The positions of a shard have a total order in which reading only goes up, so that
//! two checkpoints of one stream can be joined by taking the further position of each shard. That join is associative,
//! commutative and idempotent: checkpoints kept by several writers may be joined in any order, any number of times.
//!
//! # The text, version 1
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
//! Times are in milliseconds since the Unix epoch. `arn` and `created` are left out where they are not known. `sub`
//! tells that of the record after which the position is, which is an aggregate, only the messages up to that one are
//! delivered. Every shard that was seen has a place, also one that was never read.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cmp::Ordering;

use kinesis_reader_json as json;
use serde_json::{Map, Value};

use crate::error::CheckpointError;
use crate::identifier::is_name;
use crate::printable::printable;
use crate::sequence::Sequence;
use crate::time::Timestamp;

/// The version of the text that this reader writes, and the latest it reads.
const VERSION: u64 = 1;

/// A point in a shard. What is before it was delivered, or is not wanted.
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

/// A message, by its position in its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessagePosition {
    /// The sequence number of its record.
    pub sequence: Sequence,
    /// Its position within the record, if that is an aggregate. None: all that the record holds.
    pub subsequence: Option<u32>,
}

impl Ord for MessagePosition {
    fn cmp(&self, other: &MessagePosition) -> Ordering {
        // None is the whole record, which is further than any part of it.
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
    /// The sequence number of the last message delivered, if there is one and the shard goes on.
    pub(crate) fn after(&self) -> Option<&Sequence> {
        match self {
            Position::After(message) => Some(&message.sequence),
            Position::TrimHorizon | Position::At(_) | Position::End => None,
        }
    }
}

/// Which stream a checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its ARN, where it is known.
    pub arn: Option<String>,
    /// When it was made, where it is known: this tells it from an earlier stream of the same name.
    pub created: Option<Timestamp>,
}

impl Identity {
    /// Whether both can be the same stream: nothing that both know differs.
    pub(crate) fn agrees(&self, other: &Identity) -> bool {
        self.is_namesake(other) && meet(self.created, other.created)
    }

    /// Whether one can be a stream that was made in the place of the other, if it is not the same.
    pub(crate) fn is_namesake(&self, other: &Identity) -> bool {
        self.name == other.name && meet(self.arn.as_deref(), other.arn.as_deref())
    }

    /// What either knows.
    pub(crate) fn join(self, other: Identity) -> Identity {
        Identity { name: self.name, arn: self.arn.or(other.arn), created: self.created.or(other.created) }
    }

    /// For a person.
    pub(crate) fn describe(&self) -> String {
        let stream = self.arn.as_ref().unwrap_or(&self.name);
        let stream = printable(stream);
        match self.created {
            Some(created) => format!("{stream}, created at {} ms since the epoch", created.0),
            None => stream.into_owned(),
        }
    }
}

/// Whether two that are known are equal.
fn meet<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
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
    /// A place for each shard that was seen.
    pub shards: BTreeMap<String, Position>,
}

impl Checkpoint {
    /// Reads the text.
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
        read(text).map_err(|why| CheckpointError::Malformed(printable(&why).into_owned()))
    }

    /// The text. Equal checkpoints have equal texts.
    pub fn to_text(&self) -> String {
        write(&self.stream, &mut self.shards.iter().map(|(id, position)| (id.as_str(), position)))
    }

    /// Of each shard, the further position.
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

/// Joins the texts of two checkpoints of one stream: of each shard, the further position.
pub fn merge_checkpoints(left: &str, right: &str) -> Result<String, CheckpointError> {
    Ok(Checkpoint::parse(left)?.join(Checkpoint::parse(right)?)?.to_text())
}

/// The text of a checkpoint whose positions lie elsewhere.
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
    // Made of text alone.
    String::from_utf8(text).unwrap_or_default()
}

/// Reads the text. What is wrong is told in words.
fn read(text: &str) -> Result<Checkpoint, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let members = object(&value, "it")?;
    match members.get("version").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(version) => return Err(format!("version {version}, and this reader knows version {VERSION}")),
        None => return Err("it has no version".to_owned()),
    }
    known(members, &["version", "stream", "shards"], "it")?;
    let stream = object(members.get("stream").unwrap_or(&Value::Null), "stream")?;
    known(stream, &["name", "arn", "created"], "stream")?;
    let name = stream.get("name").ok_or("stream: it has no name")?;
    let stream = Identity {
        name: string(name, "stream: name")?,
        arn: stream.get("arn").map(|arn| string(arn, "stream: arn")).transpose()?,
        created: stream.get("created").map(|created| time(created, "stream: created")).transpose()?,
    };
    let mut shards = BTreeMap::new();
    for (id, position) in object(members.get("shards").unwrap_or(&Value::Null), "shards")? {
        if !is_name(id) {
            return Err(format!("not a shard id, 1 to 128 of [a-zA-Z0-9_.-]: \"{id}\""));
        }
        let position = read_position(position).map_err(|why| format!("shard {id}: {why}"))?;
        shards.insert(id.clone(), position);
    }
    Ok(Checkpoint { stream, shards })
}

fn read_position(position: &Value) -> Result<Position, String> {
    let members = object(position, "position")?;
    known(members, &["at", "after", "sub"], "position")?;
    match (members.get("at"), members.get("after"), members.get("sub")) {
        (Some(Value::String(name)), None, None) => match name.as_str() {
            "trim-horizon" => Ok(Position::TrimHorizon),
            "end" => Ok(Position::End),
            other => Err(format!("no position: \"{other}\"")),
        },
        (Some(at), None, None) => Ok(Position::At(time(at, "at")?)),
        (None, Some(after), sub) => {
            let after = string(after, "after")?;
            let Ok(sequence) = after.parse() else { return Err(format!("no sequence number: \"{after}\"")) };
            let number = |sub: &Value| sub.as_u64().and_then(|sub| u32::try_from(sub).ok()).ok_or("sub: no number");
            Ok(Position::After(MessagePosition { sequence, subsequence: sub.map(number).transpose()? }))
        }
        (Some(_), _, _) | (None, None, _) => {
            Err("a position is either `at` or `after`, with `sub` only beside `after`".to_owned())
        }
    }
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{what}: no object"))
}

fn string(value: &Value, what: &str) -> Result<String, String> {
    value.as_str().map(ToOwned::to_owned).ok_or_else(|| format!("{what}: no text"))
}

fn time(value: &Value, what: &str) -> Result<Timestamp, String> {
    value.as_u64().map(Timestamp).ok_or_else(|| format!("{what}: no time in milliseconds"))
}

fn known(members: &Map<String, Value>, names: &[&str], what: &str) -> Result<(), String> {
    match members.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => Err(format!("{what}: an unknown member: \"{key}\"")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        r#"{"version":1,"stream":{"name":"orders","arn":"arn:aws:kinesis:eu-west-1:123456789012:stream/orders","#,
        r#""created":1763900000000},"shards":{"a":{"at":"end"},"b":{"after":"9"},"c":{"after":"10","sub":3},"#,
        r#""d":{"at":"trim-horizon"},"e":{"at":1763900000000}}}"#
    );

    #[test]
    fn the_text_comes_back_to_the_letter() {
        assert_eq!(Checkpoint::parse(TEXT).expect("it is one").to_text(), TEXT);
    }

    #[test]
    fn what_is_none_is_refused_with_its_reason() {
        let refused = |text: &str| match Checkpoint::parse(text) {
            Err(CheckpointError::Malformed(why)) => why,
            other => panic!("{text}: {other:?}"),
        };
        assert!(refused("").contains("EOF"));
        assert!(refused(r#"{"version":2,"new":true}"#).contains("version 2"));
        assert!(refused(&TEXT.replace("\"shards\"", "\"sards\"")).contains("sards"));
        assert!(refused(&TEXT.replace("\"9\"", "\"09\"")).contains("shard b: no sequence number"));
        assert!(refused(&TEXT.replace("trim-horizon", "begin")).contains("no position: \"begin\""));
        assert!(refused(&TEXT.replace("\"e\":", r#""\u001b[2J\u202e":"#)).contains(r#": "\u{1b}[2J\u{202e}""#));
        assert!(
            refused(&TEXT.replace("\"9\"", &format!("\"{}\"", "\u{7f}".repeat(2000)))).ends_with("characters more)")
        );
        assert!(refused(&TEXT.replace(r#"{"at":"end"}"#, "{}")).contains("either `at` or `after`"));
        assert!(
            refused(&TEXT.replace(r#"{"at":"end"}"#, r#"{"at":"end","sub":1}"#)).contains("either `at` or `after`")
        );
    }

    #[test]
    fn positions_grow_from_the_horizon_to_the_end() {
        let after = |text: &str, subsequence| {
            Position::After(MessagePosition { sequence: text.parse().expect("a number"), subsequence })
        };
        let ladder = [
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
        for (i, low) in ladder.iter().enumerate() {
            for (j, high) in ladder.iter().enumerate() {
                assert_eq!(low.cmp(high), i.cmp(&j), "{low:?} {high:?}");
            }
        }
    }

    #[test]
    fn another_stream_is_not_joined() {
        let other = TEXT.replace("1763900000000},", "1763900000001},");
        assert!(matches!(merge_checkpoints(TEXT, &other), Err(CheckpointError::Foreign(_))));
        let nameless = TEXT.replace(r#","created":1763900000000"#, "");
        assert_eq!(merge_checkpoints(&nameless, TEXT).expect("the same stream"), TEXT);
    }
}
