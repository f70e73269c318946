//! The names of tables and columns.

use rusqlite::Connection;

/// The columns of a stream's table. All but `data` are the envelope.
pub(super) const COLUMNS: [(&str, &str); 8] = [
    ("_kinesis_msg_id", "TEXT PRIMARY KEY NOT NULL"),
    ("_kinesis__shard_id", "TEXT NOT NULL"),
    ("_kinesis__seq_no", "TEXT NOT NULL"),
    ("_kinesis__sub_seq", "INTEGER"),
    ("_kinesis__ts", "TEXT NOT NULL"),
    ("_kinesis__partition", "TEXT"),
    ("_kinesis__stream_name", "TEXT NOT NULL"),
    // Without a type, so that text stays text and bytes stay bytes.
    ("data", ""),
];

pub(super) const CHECKPOINTS: &str = "_kinesis_checkpoints";
pub(super) const POSITIONS: &str = "_kinesis_positions";
pub(super) const MEMBERS: &str = "_kinesis_members";

/// Quotes the name of a table or column for SQL.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The names of the columns of a table or view.
pub(crate) fn columns(db: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    names(db, "SELECT name FROM pragma_table_info(?1)", table)
}

/// Runs a query for names that depends on a table.
pub(super) fn names(db: &Connection, sql: &str, table: &str) -> rusqlite::Result<Vec<String>> {
    db.prepare(sql)?.query_map([table], |row| row.get(0))?.collect()
}
