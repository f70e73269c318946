//! A database: it contains exactly what was committed, and anything that is not ours is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use kinesis_reader::destination::{Destination, Error, Message, Sqlite, WithState};
use kinesis_reader::state::FileState;
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::common::{Dir, Fake, batch, message, text};

#[test]
fn sqlite_has_exactly_what_was_committed() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap(), None);
    let written = db.write(&mut batch(0..10)).unwrap();
    assert_eq!((written.messages, written.new, written.invalid), (10, 10, 0));
    db.write(&mut batch(10..25)).unwrap();
    db.commit(r#"{"n":25}"#).unwrap();
    db.write(&mut batch(25..40)).unwrap();
    drop(db);

    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap().as_deref(), Some(r#"{"n":25}"#));
    assert_eq!(dir.count("a.db", "orders"), 25);
    db.write(&mut batch(25..40)).unwrap();
    db.commit(r#"{"n":40}"#).unwrap();
    db.commit(r#"{"n":41}"#).unwrap();
    drop(db);
    assert_eq!(dir.count("a.db", "orders"), 40);
    assert_eq!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap().as_deref(), Some(r#"{"n":41}"#));
    assert_eq!(dir.names(), ["a.db"], "neither a lock nor a log is left");
}

#[test]
fn sqlite_keeps_a_repeated_message_once() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    db.write(&mut batch(0..10)).unwrap();
    let written = db.write(&mut batch(5..15)).unwrap();
    assert_eq!((written.messages, written.new), (10, 5));
    db.commit("{}").unwrap();
    drop(db);
    assert_eq!(dir.count("a.db", "orders"), 15);
}

#[test]
fn sqlite_keeps_envelope_and_payload_unchanged() {
    let dir = Dir::new();
    let payloads: [(&[u8], Value); 6] = [
        (b"{\"n\": 1.10}", text("{\"n\": 1.10}")),
        ("za\u{17c}\u{1f422}".as_bytes(), text("za\u{17c}\u{1f422}")),
        (b"12", text("12")),
        (b"", text("")),
        (b"a\0b", Value::Blob(b"a\0b".to_vec())),
        (b"\xff\xfe", Value::Blob(b"\xff\xfe".to_vec())),
    ];
    let messages = payloads.iter().enumerate().map(|(n, (data, _))| Message {
        subsequence: (n == 1).then_some(7),
        partition_key: (n != 2).then(|| format!("key {n}")),
        ..message(n as u64, data)
    });
    let mut db = Sqlite::open(&dir.path("a.db"), "o-r.d_3").unwrap();
    db.write(&mut Fake::new(messages)).unwrap();
    db.commit("{}").unwrap();
    drop(db);

    let db = Connection::open(dir.path("a.db")).unwrap();
    let mut select = db
        .prepare(
            "SELECT _kinesis_msg_id, _kinesis__shard_id, _kinesis__seq_no, _kinesis__sub_seq, \
             _kinesis__ts, _kinesis__partition, _kinesis__stream_name, data \
             FROM \"o-r.d_3\" ORDER BY _kinesis_msg_id",
        )
        .unwrap();
    let rows: Vec<Vec<Value>> =
        select.query_map([], |row| (0..8).map(|n| row.get(n)).collect()).unwrap().map(Result::unwrap).collect();
    for (n, (row, (_, data))) in rows.iter().zip(&payloads).enumerate() {
        assert_eq!(
            *row,
            [
                text(&format!("id-{n:08}")),
                text("shardId-000000000000"),
                text(&format!("4968{n:052}")),
                if n == 1 { Value::Integer(7) } else { Value::Null },
                text(&format!("2025-11-23T12:13:20.{n:03}Z")),
                if n == 2 { Value::Null } else { text(&format!("key {n}")) },
                text("o-r.d_3"),
                data.clone(),
            ]
        );
    }
    assert_eq!(rows.len(), payloads.len());
}

#[test]
fn a_database_holds_several_streams_with_one_reader_each() {
    let dir = Dir::new();
    symlink("a.db", dir.path("link.db")).unwrap();
    let mut orders = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    orders.write(&mut batch(0..1)).unwrap();
    orders.commit("{}").unwrap();
    let mut payments = Sqlite::open(&dir.path("a.db"), "payments").unwrap();
    payments.write(&mut batch(0..2)).unwrap();
    payments.commit("{}").unwrap();

    for name in ["a.db", "link.db"] {
        let error = Sqlite::open(&dir.path(name), "orders").err().unwrap();
        let words = error.to_string();
        assert!(matches!(error, Error::Held { .. }), "{error:?}");
        assert!(words.contains(&format!("process {}", std::process::id())), "{words}");
        assert!(words.contains("orders"), "{words}");
        assert!(error.is_usage_error() && error.hint().is_some());
    }
    drop(orders);
    Sqlite::open(&dir.path("link.db"), "orders").unwrap();
}

#[test]
fn a_reader_whose_checkpoint_was_changed_rolls_back() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    db.write(&mut batch(0..1)).unwrap();
    db.commit("{}").unwrap();
    let other = Connection::open(dir.path("a.db")).unwrap();
    other.execute("UPDATE _kinesis_checkpoints SET revision = revision + 1", []).unwrap();
    db.write(&mut batch(1..5)).unwrap();
    let error = db.commit("{}").unwrap_err();
    assert!(matches!(error, Error::Overtaken { .. }), "{error:?}");
    assert!(error.is_usage_error());
    assert!(matches!(db.write(&mut batch(5..6)), Err(Error::Broken)));
    assert!(matches!(db.commit("{}"), Err(Error::Broken)));
    drop(db);
    assert_eq!(dir.count("a.db", "orders"), 1);
}

#[test]
fn a_batch_that_fails_midway_rolls_back_to_the_last_commit() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    db.write(&mut batch(0..5)).unwrap();
    db.commit("{}").unwrap();
    db.write(&mut batch(5..9)).unwrap();
    let mut bad = batch(9..20);
    bad.fails_at = Some(15);
    let error = db.write(&mut bad).unwrap_err();
    assert!(error.to_string().contains("it trapped"), "{error}");
    assert!(matches!(db.commit("{}"), Err(Error::Broken)));
    drop(db);
    assert_eq!(dir.count("a.db", "orders"), 5);
}

#[test]
fn other_tables_are_refused() {
    for (sql, stream, words) in [
        ("CREATE TABLE orders (id INTEGER, data TEXT)", "orders", "it lacks _kinesis_msg_id, "),
        (
            "CREATE TABLE orders (_kinesis_msg_id, _kinesis__shard_id, _kinesis__seq_no, _kinesis__sub_seq, \
             _kinesis__ts, _kinesis__partition, _kinesis__stream_name, data)",
            "orders",
            "primary key",
        ),
        ("CREATE TABLE Orders (x)", "orders", "taken by the table Orders"),
        ("CREATE VIEW orders AS SELECT 1", "orders", "taken by the view orders"),
        ("CREATE TABLE t (x); CREATE INDEX orders ON t (x)", "orders", "taken by the index"),
        ("CREATE TABLE _kinesis_checkpoints (x)", "orders", "it lacks stream"),
        ("SELECT 1", "sqlite_x", "taken by SQLite"),
        ("CREATE TABLE _kinesis_positions (x)", "orders", "it lacks stream"),
        ("SELECT 1", "_kinesis_members", "taken by a table of this program"),
        ("SELECT 1", "_kinesis_positions", "taken by a table of this program"),
    ] {
        let dir = Dir::new();
        let db = Connection::open(dir.path("a.db")).unwrap();
        db.execute_batch("CREATE TABLE theirs (x)").unwrap();
        db.execute_batch(sql).unwrap();
        let schema = |db: &Connection| -> i64 {
            db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap()
        };
        let before = schema(&db);
        let error = Sqlite::open(&dir.path("a.db"), stream).err().unwrap();
        assert!(error.to_string().contains(words), "{sql}: {error}");
        assert!(error.is_usage_error() && error.hint().is_some(), "{sql}");
        assert_eq!(schema(&db), before, "{sql}: nothing was created");
    }
}

#[test]
fn a_table_may_have_additional_columns_and_indexes() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    db.commit("{}").unwrap();
    drop(db);
    Connection::open(dir.path("a.db"))
        .unwrap()
        .execute_batch("ALTER TABLE orders ADD COLUMN note; CREATE INDEX by_time ON orders (_kinesis__ts)")
        .unwrap();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    db.write(&mut batch(0..3)).unwrap();
    db.commit("{}").unwrap();
    drop(db);
    assert_eq!(dir.count("a.db", "orders"), 3);
}

#[test]
fn paths_that_are_not_databases_are_refused_with_a_reason() {
    let dir = Dir::new();
    fs::write(dir.path("text.db"), "this is not a database at all, it is text\n".repeat(50)).unwrap();
    fs::create_dir(dir.path("dir.db")).unwrap();
    for (path, words) in [
        ("text.db", "the file is not a SQLite database"),
        ("dir.db", "it is a directory"),
        ("none/a.db", "its directory does not exist"),
        ("text.db/a.db", "what should be its directory is a file"),
    ] {
        let error = Sqlite::open(&dir.path(path), "orders").err().unwrap();
        assert!(error.to_string().contains(words), "{path}: {error}");
        assert!(error.is_usage_error() && error.hint().is_some(), "{path}");
        assert!(!dir.path("none").exists());
    }
    assert_eq!(dir.names(), ["dir.db", "text.db"]);
    let error = Sqlite::open(Path::new(":memory:"), "orders").err().unwrap();
    assert!(error.is_usage_error() && error.hint().is_some());
    Sqlite::open(&dir.path(":memory:"), "orders").unwrap().commit("{}").unwrap();
    assert!(dir.path(":memory:").exists());
}

/// Not even root can create a file in this directory.
#[test]
#[cfg(target_os = "linux")]
fn a_directory_that_cannot_be_written_to_is_reported_with_the_path() {
    let directory = Path::new("/proc/self/net");
    let error = Sqlite::open(&directory.join("a.db"), "orders").err().unwrap();
    assert!(matches!(error, Error::Write { .. } | Error::Path { .. }), "{error:?}");
    assert!(error.to_string().contains("a.db"), "{error}");
    let error = FileState::open(&directory.join("s.json")).unwrap_err();
    assert!(error.to_string().contains("s.json"), "{error}");
}

#[test]
fn a_damaged_database_is_reported_as_damaged() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    db.write(&mut batch(0..2000)).unwrap();
    db.commit("{}").unwrap();
    drop(db);
    let mut bytes = fs::read(dir.path("a.db")).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(dir.path("a.db"), bytes).unwrap();
    let error = match Sqlite::open(&dir.path("a.db"), "orders") {
        Err(error) => error,
        Ok(mut db) => db.checkpoint().and_then(|_| db.write(&mut batch(2000..4000))).unwrap_err(),
    };
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(error.is_usage_error() && error.hint().is_some());
}

#[test]
fn a_database_is_created_only_if_there_is_something_to_write() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap(), None);
    drop(db);
    assert_eq!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap(), None);
    assert!(dir.names().is_empty());
}

#[test]
fn a_checkpoint_kept_elsewhere_is_saved_after_the_messages() {
    let dir = Dir::new();
    let state = FileState::open(&dir.path("s.json")).unwrap();
    let db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    let mut db = WithState::new(db, Box::new(state));
    assert_eq!(db.checkpoint().unwrap(), None);
    db.write(&mut batch(0..3)).unwrap();
    db.commit(r#"{"n":3}"#).unwrap();
    drop(db);
    assert_eq!(FileState::peek(&dir.path("s.json")).unwrap().unwrap().checkpoint, r#"{"n":3}"#);
    assert_eq!(dir.count("a.db", "orders"), 3);
}

/// The size of a transaction is bounded by these bytes.
#[test]
fn written_bytes_include_the_envelope() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    let keyed = |n| Message { partition_key: Some("k".repeat(256)), ..message(n, b"") };
    let written = db.write(&mut Fake::new((0..1000).map(keyed))).unwrap();
    assert!((300_000..500_000).contains(&written.bytes), "{} bytes", written.bytes);
}
