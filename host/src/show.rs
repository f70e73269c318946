//! What a database holds, in words for a terminal: its tables, the newest messages of each stream,
//! the columns of its view, and how far each of its shards was read.
//!
//! All of it comes from outside, so characters that could move a terminal's cursor are written as escapes.

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

/// The newest messages shown of each stream.
const NEWEST: usize = 5;

/// The most shards, and the most other members, shown of each checkpoint.
const SHARDS_MAX: usize = 100;

/// The columns named of each view.
const COLUMNS_MAX: usize = 60;

/// The least of a payload that is shown, however narrow the terminal is.
const DATA_WIDTH_MIN: usize = 20;

/// Prints what the database at `path` holds to `out`, for a terminal of `width` columns.
pub fn show(path: &Path, width: usize, out: &mut dyn Write) -> Result<(), Error> {
    let db = open_read_only(path)?;
    let text = describe(&db, path, width).map_err(|error| database_error(path, "read", error))?;
    terminal::print(&text, out).map_err(stream_error)
}

fn describe(db: &Connection, path: &Path, width: usize) -> Result<String, SqliteError> {
    // One transaction, so that what is counted and what the checkpoint says belong together.
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
    /// None: it cannot be counted, as with a virtual table whose module is not here.
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
    // Chosen by their envelopes alone, so that not every payload is read.
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
    let wide = |n: usize| rows.iter().map(|row| row[n].width()).max().unwrap_or(0);
    let key = wide(2).min(24);
    for [time, shard, partition, data] in &rows {
        let mut line = format!("    {}  {}  ", pad(time, wide(0)), pad(shard, wide(1)));
        if key > 0 {
            let _ = write!(line, "{}  ", pad(&shorten(partition, key), key));
        }
        let left = width.saturating_sub(line.width()).max(DATA_WIDTH_MIN);
        line.push_str(&shorten(data, left));
        let _ = writeln!(text, "{}", line.trim_end());
    }
    Ok(())
}

/// The checkpoint's text is the reader's own; what is not as expected is shown as it stands.
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
    let wide = shards.keys().map(|shard| clean(shard).width()).max();
    for (shard, value) in shards.iter().take(SHARDS_MAX) {
        let shard = pad(&clean(shard), wide.unwrap_or(0));
        let _ = writeln!(text, "    {shard}  {}", position(value));
    }
    if shards.len() > SHARDS_MAX {
        let _ = writeln!(text, "    and {} more shards", shards.len() - SHARDS_MAX);
    }
}

/// A value in words: `after 4959…, sub 3`, `at 2026-11-23T15:09:35.129Z`.
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

/// Names with commas between them, in lines of `width`.
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

/// Makes text printable. This is the user's own data, so passwords in it are not hidden.
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
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
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
    fn text_is_shortened_by_what_it_takes_on_the_screen() {
        assert_eq!(shorten("abc", 3), "abc");
        assert_eq!(shorten("abcd", 3), "ab…");
        assert_eq!(shorten("日本語", 4), "日…");
        assert_eq!(shorten("日本語", 0), "…");
    }

    #[test]
    fn a_checkpoint_is_told_in_words_and_a_strange_one_as_it_stands() {
        let told = |text: &str| {
            let mut out = String::new();
            let checkpoint =
                Checkpoint { stream: "s".to_owned(), revision: 3, text: text.to_owned(), saved: "then".to_owned() };
            positions(&mut out, &checkpoint);
            out
        };
        assert_eq!(
            told(
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
        assert!(told("not json\u{7}").ends_with("    not json\\u{7}\n"));
        assert!(told(r#"{"shards":[1]}"#).ends_with("    shards  [1]\n"));
        assert!(told("[]").ends_with("    []\n"));
    }
}
