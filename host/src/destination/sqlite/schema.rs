//! Creates the tables, or checks those that exist:
//!
//! - one with the name of the stream, with a row for each message,
//! - `_kinesis_checkpoints`, with a row for each stream,
//! - `_kinesis_positions`, with a row for each shard of a stream,
//! - `_kinesis_members`, with the members that are columns of a stream's view.
//!
//! A table may have additional columns and indexes, as long as a row can be inserted without them. It must have all of
//! ours.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::super::error::{Error, database_error};
use super::flat::Flat;
use super::names::{CHECKPOINTS, COLUMNS, MEMBERS, POSITIONS, columns, names, quote};

/// Refuses stream names that cannot be the name of the table.
pub(super) fn check_name(path: &Path, stream: &str) -> Result<(), Error> {
    let lower = stream.to_ascii_lowercase();
    let by = if lower.starts_with("sqlite_") {
        "SQLite, which reserves names that begin with sqlite_"
    } else if [CHECKPOINTS, POSITIONS, MEMBERS].contains(&&*lower) {
        "a table of this program"
    } else {
        return Ok(());
    };
    Err(Error::NameTaken { path: path.to_owned(), name: stream.to_owned(), by: by.to_owned() })
}

/// Creates missing tables and checks existing ones, in one transaction.
pub(super) fn set_up(db: &Connection, path: &Path, stream: &str) -> Result<Flat, Error> {
    let failed = |error| database_error(path, "write to", error);
    db.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
    check_name_is_free(db, path, stream)?;

    let columns = COLUMNS.map(|(name, kind)| format!("{} {kind}", quote(name)));
    db.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {} ({});
         CREATE TABLE IF NOT EXISTS {CHECKPOINTS} (
             stream TEXT PRIMARY KEY NOT NULL,
             revision INTEGER NOT NULL,
             checkpoint TEXT NOT NULL,
             updated_at TEXT NOT NULL
         );
         CREATE TABLE IF NOT EXISTS {POSITIONS} (
             stream TEXT NOT NULL,
             shard TEXT NOT NULL,
             position TEXT NOT NULL,
             PRIMARY KEY (stream, shard)
         ) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS {MEMBERS} (
             stream TEXT NOT NULL,
             member TEXT NOT NULL,
             column_name TEXT NOT NULL,
             PRIMARY KEY (stream, member)
         );",
        quote(stream),
        columns.join(", ").replace(" ,", ","),
    ))
    .map_err(failed)?;

    check_table(db, path, stream, &COLUMNS.map(|(name, _)| name))?;
    if key(db, stream).map_err(failed)? != ["_kinesis_msg_id"] {
        return Err(foreign(path, stream, "its primary key is not _kinesis_msg_id".to_owned()));
    }
    let checkpoints = ["stream", "revision", "checkpoint", "updated_at"];
    check_table(db, path, CHECKPOINTS, &checkpoints)?;
    check_table(db, path, POSITIONS, &["stream", "shard", "position"])?;
    check_table(db, path, MEMBERS, &["stream", "member", "column_name"])?;

    let mut flat = Flat::load(db, stream).map_err(failed)?;
    flat.save(db).map_err(failed)?;
    db.execute_batch("COMMIT").map_err(failed)?;
    Ok(flat)
}

/// The statement that inserts a message, unless it is there.
pub(super) fn insert(stream: &str) -> String {
    let names = COLUMNS.map(|(name, _)| quote(name)).join(", ");
    format!(
        "INSERT INTO {} ({names}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
         ON CONFLICT (\"_kinesis_msg_id\") DO NOTHING",
        quote(stream)
    )
}

/// Fails if the name of the stream's table is in use. Tables, views and indexes share one namespace. SQLite treats
/// `Orders` and `orders` as the same name, but for Kinesis they are different streams.
fn check_name_is_free(db: &Connection, path: &Path, stream: &str) -> Result<(), Error> {
    let found: Option<(String, String)> = db
        .query_row(
            "SELECT type, name FROM sqlite_schema \
             WHERE type IN ('table', 'view', 'index') AND name = ?1 COLLATE NOCASE",
            [stream],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()
        .map_err(|error| database_error(path, "read", error))?;
    match found {
        Some((kind, name)) if kind != "table" || name != stream => {
            Err(Error::NameTaken { path: path.to_owned(), name: stream.to_owned(), by: format!("the {kind} {name}") })
        }
        Some(_) | None => Ok(()),
    }
}

fn check_table(db: &Connection, path: &Path, table: &str, names: &[&str]) -> Result<(), Error> {
    let found = columns(db, table).map_err(|error| database_error(path, "read", error))?;
    let missing: Vec<&str> =
        names.iter().filter(|name| !found.iter().any(|found| found.eq_ignore_ascii_case(name))).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(foreign(path, table, format!("it lacks {}", missing.join(", "))))
}

fn foreign(path: &Path, table: &str, why: String) -> Error {
    Error::ForeignTable { path: path.to_owned(), table: table.to_owned(), why }
}

fn key(db: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    names(db, "SELECT lower(name) FROM pragma_table_info(?1) WHERE pk > 0", table)
}
