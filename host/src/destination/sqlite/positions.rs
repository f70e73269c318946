//! Stores a checkpoint in parts: the stream in a row of `_kinesis_checkpoints`, and the position of each shard in a row
//! of `_kinesis_positions`. A commit then writes only what changed, however many shards there are.
//!
//! A checkpoint is read back unchanged. If its text does not have the reader's form, it is stored whole in the row of
//! the stream. Before there was a table of positions, all checkpoints were stored that way.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::names::{CHECKPOINTS, POSITIONS, columns};

type Positions<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// A parsed checkpoint.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts<'a> {
    #[serde(borrow)]
    version: &'a RawValue,
    #[serde(borrow)]
    stream: &'a RawValue,
    /// `None` if the positions are in rows of their own.
    #[serde(borrow, default)]
    shards: Option<Positions<'a>>,
}

impl Parts<'_> {
    /// The text without the positions.
    fn head(&self) -> String {
        format!("{{\"version\":{},\"stream\":{}}}", self.version, self.stream)
    }
}

/// Reads the checkpoint of `stream`, if there is one.
pub(crate) fn read(db: &Connection, stream: &str) -> rusqlite::Result<Option<String>> {
    if columns(db, POSITIONS)?.is_empty() {
        let select = format!("SELECT checkpoint FROM {CHECKPOINTS} WHERE stream = ?1");
        return db.query_row(&select, [stream], |row| row.get(0)).optional();
    }
    // A single statement, so that all rows are from the same commit.
    let mut select = db.prepare(&format!(
        "SELECT checkpoint, shard, position FROM {CHECKPOINTS} LEFT JOIN {POSITIONS} USING (stream) \
         WHERE stream = ?1 ORDER BY shard"
    ))?;
    let mut rows = select.query([stream])?;
    let Some(first) = rows.next()? else { return Ok(None) };
    let head: String = first.get(0)?;
    let positions: Vec<(String, String)> = match first.get(1)? {
        Some(shard) => {
            let mut positions = vec![(shard, first.get(2)?)];
            while let Some(row) = rows.next()? {
                positions.push((row.get(1)?, row.get(2)?));
            }
            positions
        }
        None => Vec::new(),
    };
    let is_whole = !matches!(serde_json::from_str(&head), Ok(Parts { shards: None, .. }));
    Ok(Some(if is_whole {
        head
    } else {
        join(&head, positions.iter().map(|(shard, position)| (&**shard, &**position)))
    }))
}

/// Replaces the stored positions by those of `checkpoint`. Returns the text for the stream's row, and whether the
/// positions are in rows of their own now.
pub(super) fn replace<'a>(
    db: &Connection,
    stream: &str,
    checkpoint: &'a str,
) -> rusqlite::Result<(Cow<'a, str>, bool)> {
    db.execute(&format!("DELETE FROM {POSITIONS} WHERE stream = ?1"), [stream])?;
    match split(checkpoint) {
        Some((head, positions)) if join(&head, texts(&positions)) == checkpoint => {
            write(db, stream, &positions)?;
            Ok((head.into(), true))
        }
        Some(_) | None => Ok((checkpoint.into(), false)),
    }
}

/// Updates the positions that are in `changes`. Returns the text for the stream's row, or `None` if `changes` does not
/// have the reader's form.
pub(super) fn update(db: &Connection, stream: &str, changes: &str) -> rusqlite::Result<Option<String>> {
    let Some((head, positions)) = split(changes) else { return Ok(None) };
    write(db, stream, &positions)?;
    Ok(Some(head))
}

fn write(db: &Connection, stream: &str, positions: &Positions<'_>) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(&format!(
        "INSERT INTO {POSITIONS} (stream, shard, position) VALUES (?1, ?2, ?3) \
         ON CONFLICT (stream, shard) DO UPDATE SET position = excluded.position"
    ))?;
    for (shard, position) in positions {
        insert.execute(params![stream, shard, position.get()])?;
    }
    Ok(())
}

/// Splits a checkpoint into the text without the positions, and the positions.
fn split(text: &str) -> Option<(String, Positions<'_>)> {
    let parts: Parts<'_> = serde_json::from_str(text).ok()?;
    Some((parts.head(), parts.shards?))
}

fn texts<'a>(positions: &'a Positions<'_>) -> impl Iterator<Item = (&'a str, &'a str)> {
    positions.iter().map(|(shard, position)| (&**shard, position.get()))
}

fn join<'a>(head: &str, positions: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = head.strip_suffix('}').unwrap_or(head).to_owned();
    text.push_str(",\"shards\":{");
    for (count, (shard, position)) in positions.enumerate() {
        text.push_str(if count == 0 { "" } else { "," });
        text.push_str(&serde_json::Value::from(shard).to_string());
        text.push(':');
        text.push_str(position);
    }
    text.push_str("}}");
    text
}
