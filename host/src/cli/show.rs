//! `kinesis-reader show`: prints the tables of a database and, for each stream, the columns of its view, the newest
//! messages and the position in each shard.
//!
//! All of this comes from outside, so characters that could move the cursor of a terminal are escaped.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use kinesis_reader_machine::printable;
use rusqlite::{Connection, Error as SqliteError, OptionalExtension};
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::destination::{
    Error, MEMBERS_MAX, columns, database_error, open_read_only, quote, read_checkpoint, stream_error,
};
use crate::terminal;

/// The number of messages to show of each stream.
const NEWEST: usize = 5;

/// The maximum number of shards, and of other members, to show of each checkpoint.
const SHARDS_MAX: usize = 100;

/// The maximum number of columns to list of each view.
const COLUMNS_MAX: usize = 60;

/// The minimum width of a payload, however narrow the terminal is.
const DATA_WIDTH_MIN: usize = 20;

/// Prints the contents of the database at `path` to `out`, for a terminal of `width` columns.
pub fn show(path: &Path, width: usize, out: &mut dyn Write) -> Result<(), Error> {
    let db = open_read_only(path)?;
    let text = describe(&db, path, width).map_err(|error| database_error(path, "read", error))?;
    terminal::print(&text, out).map_err(stream_error)
}

fn describe(db: &Connection, path: &Path, width: usize) -> Result<String, SqliteError> {
    // A single transaction, so that the counts and the checkpoint are consistent.
    db.execute_batch("BEGIN")?;
    let mut text = format!("{}\n", clean(&path.display().to_string()));
    let tables = tables(db)?;
    if tables.is_empty() {
        text.push_str("\nno tables\n");
        return Ok(text);
    }
    list(&mut text, &tables);
    if tables.iter().any(|table| table.name == "_kinesis_checkpoints") {
        for checkpoint in checkpoints(db)? {
            if let Some(table) = tables.iter().find(|t| t.name == checkpoint.stream) {
                stream(&mut text, db, table, width)?;
                positions(&mut text, &checkpoint);
            }
        }
    }
    Ok(text)
}

struct Table {
    name: String,
    /// `None` if the rows cannot be counted, as in a virtual table whose module is not available.
    rows: Option<u64>,
}

struct Checkpoint {
    stream: String,
    revision: i64,
    text: String,
    saved: String,
}

fn tables(db: &Connection) -> Result<Vec<Table>, SqliteError> {
    let mut select = db.prepare(
        "SELECT name FROM sqlite_schema \
         WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let names = select.query_map([], |row| row.get(0))?;
    names
        .map(|name| {
            let name: String = name?;
            let count = format!("SELECT count(*) FROM {}", quote(&name));
            let rows = match db.query_row(&count, [], |row| row.get::<_, i64>(0)) {
                Ok(rows) => u64::try_from(rows).ok(),
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown) => None,
                Err(error) => return Err(error),
            };
            Ok(Table { name, rows })
        })
        .collect()
}

fn checkpoints(db: &Connection) -> Result<Vec<Checkpoint>, SqliteError> {
    let mut select = db.prepare("SELECT stream, revision, updated_at FROM _kinesis_checkpoints ORDER BY stream")?;
    let rows = select.query_map([], |row| {
        let stream: String = row.get(0)?;
        let text = read_checkpoint(db, &stream)?.unwrap_or_default();
        Ok(Checkpoint { stream, revision: row.get(1)?, text, saved: row.get(2)? })
    })?;
    rows.collect()
}

fn list(text: &mut String, tables: &[Table]) {
    let rows = |table: &Table| table.rows.map_or("?".to_owned(), thousands);
    let names = tables.iter().map(|t| clean(&t.name).width()).max();
    let counts = tables.iter().map(|t| rows(t).len()).max();
    let (names, counts) = (names.unwrap_or(0).max(5), counts.unwrap_or(0).max(4));
    let _ = writeln!(text, "\n{}  {:>counts$}", pad("table", names), "rows");
    for table in tables {
        let name = pad(&clean(&table.name), names);
        let _ = writeln!(text, "{name}  {:>counts$}", rows(table));
    }
}

fn stream(text: &mut String, db: &Connection, table: &Table, width: usize) -> Result<(), SqliteError> {
    let _ =
        writeln!(text, "\nstream {}: {} messages", clean(&table.name), table.rows.map_or("?".to_owned(), thousands));
    let view = format!("{}_flat", table.name);
    let names = columns(db, &view)?;
    if !names.is_empty() {
        let _ = writeln!(text, "  view {}:", clean(&view));
        wrap(text, names.get(..COLUMNS_MAX).unwrap_or(&names), width);
        if names.len() > COLUMNS_MAX {
            let _ = writeln!(text, "    and {} more", names.len() - COLUMNS_MAX);
        }
    }
    let members = db
        .query_row("SELECT count(*) FROM _kinesis_members WHERE stream = ?1", [&table.name], |row| row.get::<_, i64>(0))
        .optional()?;
    if members.is_some_and(|members| members >= MEMBERS_MAX as i64) {
        let _ = writeln!(text, "    ({MEMBERS_MAX} members, the most that become columns)");
    }
    newest(text, db, &table.name, width)
}

fn newest(text: &mut String, db: &Connection, table: &str, width: usize) -> Result<(), SqliteError> {
    let order = "\"_kinesis__ts\" DESC, length(\"_kinesis__seq_no\") DESC, \
                 \"_kinesis__seq_no\" DESC, \"_kinesis__sub_seq\" DESC";
    let table = quote(table);
    // Selected by their envelopes alone, so that not all payloads are read.
    let mut select = db.prepare(&format!(
        "SELECT \"_kinesis__ts\", \"_kinesis__shard_id\", \"_kinesis__partition\", typeof(data), \
                CASE typeof(data) WHEN 'text' THEN substr(data, 1, ?1) ELSE hex(substr(data, 1, ?1)) END \
         FROM {table} WHERE \"_kinesis_msg_id\" IN \
             (SELECT \"_kinesis_msg_id\" FROM {table} ORDER BY {order} LIMIT ?2) \
         ORDER BY {order}"
    ))?;
    let rows = select.query_map([width as i64, NEWEST as i64], |row| {
        let data: Option<String> = row.get(4)?;
        let data = data.unwrap_or_default();
        Ok([
            row.get(0)?,
            row.get(1)?,
            row.get::<_, Option<String>>(2)?.unwrap_or_default(),
            match row.get::<_, String>(3)?.as_str() {
                "text" => data,
                _ => format!("x'{data}'"),
            },
        ])
    })?;
    let rows =
        rows.map(|row| Ok(row?.map(|cell: String| clean(&cell)))).collect::<Result<Vec<[String; 4]>, SqliteError>>()?;
    if rows.is_empty() {
        return Ok(());
    }
    text.push_str("  newest:\n");
    let width_of = |n: usize| rows.iter().map(|row| row[n].width()).max().unwrap_or(0);
    let key_width = width_of(2).min(24);
    for [time, shard, partition, data] in &rows {
        let mut line = format!("    {}  {}  ", pad(time, width_of(0)), pad(shard, width_of(1)));
        if key_width > 0 {
            let _ = write!(line, "{}  ", pad(&shorten(partition, key_width), key_width));
        }
        let left = width.saturating_sub(line.width()).max(DATA_WIDTH_MIN);
        line.push_str(&shorten(data, left));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    Ok(())
}

/// Prints a checkpoint. Its format belongs to the reader, so whatever is not as expected is printed as it is.
fn positions(text: &mut String, checkpoint: &Checkpoint) {
    let _ = writeln!(text, "  checkpoint: revision {}, saved {}", checkpoint.revision, clean(&checkpoint.saved));
    let Ok(Value::Object(mut members)) = serde_json::from_str(&checkpoint.text) else {
        let _ = writeln!(text, "    {}", clean(&checkpoint.text));
        return;
    };
    let shards = match members.remove("shards") {
        Some(Value::Object(shards)) => shards,
        Some(other) => [("shards".to_owned(), other)].into_iter().collect(),
        None => serde_json::Map::new(),
    };
    for (name, value) in members.iter().take(SHARDS_MAX) {
        let _ = writeln!(text, "    {}: {}", clean(name), position(value));
    }
    let width = shards.keys().map(|shard| clean(shard).width()).max();
    for (shard, value) in shards.iter().take(SHARDS_MAX) {
        let shard = pad(&clean(shard), width.unwrap_or(0));
        let _ = writeln!(text, "    {shard}  {}", position(value));
    }
    if shards.len() > SHARDS_MAX {
        let _ = writeln!(text, "    and {} more shards", shards.len() - SHARDS_MAX);
    }
}

/// Formats a position: `after 4959…, sub 3`, `at 2026-11-23T15:09:35.129Z`.
fn position(value: &Value) -> String {
    let Value::Object(members) = value else {
        return scalar("", value);
    };
    let members = members.iter().map(|(name, value)| format!("{} {}", clean(name), scalar(name, value)));
    clean(&members.collect::<Vec<_>>().join(", "))
}

fn scalar(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => clean(text),
        // The times in a checkpoint are in milliseconds.
        Value::Number(ms) if matches!(name, "at" | "created") => match ms.as_i64().map(Timestamp::from_millisecond) {
            Some(Ok(time)) => format!("{time:.3}"),
            Some(Err(_)) | None => ms.to_string(),
        },
        other => clean(&other.to_string()),
    }
}

/// Prints names separated by commas, in lines of up to `width` columns.
fn wrap(text: &mut String, names: &[String], width: usize) {
    const INDENT: &str = "    ";
    let mut line = INDENT.to_owned();
    for (n, name) in names.iter().enumerate() {
        let mut name = clean(name);
        if n + 1 < names.len() {
            name.push(',');
        }
        if line.width() + 1 + name.width() > width && line != INDENT {
            let _ = writeln!(text, "{}", line.trim_end());
            line = INDENT.to_owned();
        }
        if line != INDENT {
            line.push(' ');
        }
        line.push_str(&name);
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

/// Makes text printable. Unlike [`terminal::clean`], this does not hide passwords, as they are the user's data.
fn clean(text: &str) -> String {
    printable(text).into_owned()
}

fn pad(text: &str, width: usize) -> String {
    let mut text = text.to_owned();
    text.extend(std::iter::repeat_n(' ', width.saturating_sub(text.width())));
    text
}

fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut left = width.saturating_sub(1);
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if columns > left {
            break;
        }
        left -= columns;
        short.push(c);
    }
    short.push('…');
    short
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn a_payload_cannot_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[2Jb\n\u{202e}c"), "a\\u{1b}[2Jb\\n\\u{202e}c");
        assert_eq!(clean("zażółć 🐢"), "zażółć 🐢");
    }

    #[test]
    fn text_is_shortened_by_its_width_on_the_screen() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abcd", 3), "ab…");
        assert_eq!(shorten("日本語", 4), "日…");
        assert_eq!(shorten("日本語", 0), "…");
    }

    #[test]
    fn an_unknown_checkpoint_is_printed_as_it_is() {
        let shown = |text: &str| {
            let mut out = String::new();
            let checkpoint =
                Checkpoint { stream: "s".to_owned(), revision: 3, text: text.to_owned(), saved: "then".to_owned() };
            positions(&mut out, &checkpoint);
            out
        };
        assert_eq!(
            shown(
                r#"{"version":1,"stream":{"name":"s","created":1763900000000},"shards":{
                   "shardId-0":{"at":"end"},"shardId-1":{"after":"49","sub":3},"s":{"at":1763900000123}}}"#
            ),
            "  checkpoint: revision 3, saved then\n    \
                 stream: created 2025-11-23T12:13:20.000Z, name s\n    \
                 version: 1\n    \
                 s          at 2025-11-23T12:13:20.123Z\n    \
                 shardId-0  at end\n    \
                 shardId-1  after 49, sub 3\n"
        );
        assert!(shown("not json\u{7}").ends_with("    not json\\u{7}\n"));
        assert!(shown(r#"{"shards":[1]}"#).ends_with("    shards  [1]\n"));
        assert!(shown("[]").ends_with("    []\n"));
    }
}
