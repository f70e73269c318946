//! Destinations and states as a driver uses them: what is there after each kind of end, and what
//! is refused.
//!
//! Some tests run themselves as another process, to be killed or to run out of room.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use kinesis_reader::destination::{
    Batch, BatchError, Destination, Error, Lines, Message, NdjsonFile, Sqlite, WithState,
};
use kinesis_reader::show::show;
use kinesis_reader::state::{self, FileState, MemoryState, Saved, State};
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use tempfile::TempDir;

// ------------------------------------------------------------------------------------- SQLite ---

#[test]
fn sqlite_has_exactly_what_was_committed() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap(), None);
    let written = db.write(&mut batch(0..10)).unwrap();
    assert_eq!((written.messages, written.new, written.fallbacks), (10, 10, 0));
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
    assert_eq!(
        Sqlite::peek(&dir.path("a.db"), "orders").unwrap().as_deref(),
        Some(r#"{"n":41}"#)
    );
    assert_eq!(dir.names(), ["a.db"], "no lock and no log is left");
}

#[test]
fn sqlite_keeps_one_of_a_message_that_comes_again() {
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
fn sqlite_keeps_the_envelope_and_the_payload_to_the_letter() {
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
    let rows: Vec<Vec<Value>> = select
        .query_map([], |row| (0..8).map(|n| row.get(n)).collect())
        .unwrap()
        .map(Result::unwrap)
        .collect();
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
fn the_view_has_a_column_for_each_member_however_odd_its_name() {
    let dir = Dir::new();
    let odd = [
        "plain", "Plain", "with space", "a.b", "$", "$.x", "[0]", "#", "quote\"d", "it's", "back\\slash",
        "sl/ash", "tab\there", "new\nline", "\u{1}", "zażółć", "🐢", "", "_kinesis_msg_id", "data",
        "payload", "key", "value", "rowid", "select", "--", "/*", ";", "%s", "?1", ":name", "@p", "\u{7f}",
    ];
    let mut object = serde_json::Map::new();
    for (n, name) in odd.iter().enumerate() {
        object.insert((*name).to_owned(), n.into());
    }
    let plain = serde_json::to_string(&object).unwrap();
    // The same, with every character of every name as an escape.
    let escaped: Vec<String> = odd
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let name: String = name.encode_utf16().map(|u| format!("\\u{u:04x}")).collect();
            format!("\"{name}\":{n}")
        })
        .collect();
    let escaped = format!("{{{}}}", escaped.join(","));

    let mut db = Sqlite::open(&dir.path("a.db"), "odd").unwrap();
    db.write(&mut Fake::of(&[&plain])).unwrap();
    db.commit("{}").unwrap();
    drop(db);
    let mut db = Sqlite::open(&dir.path("a.db"), "odd").unwrap();
    db.write(&mut Fake::new([message(1, escaped.as_bytes())])).unwrap();
    db.commit("{}").unwrap();
    drop(db);

    let db = Connection::open(dir.path("a.db")).unwrap();
    let rows = view(&db, "odd_flat");
    assert_eq!(rows.len(), 2);
    let mut values: Vec<i64> = Vec::new();
    for (column, value) in &rows[0] {
        if let Value::Integer(n) = value {
            values.push(*n);
            let name = odd[*n as usize];
            let stem = if name.is_empty() { "_" } else { name };
            assert!(column.starts_with(stem), "{name:?} is under {column:?}");
        }
    }
    values.sort_unstable();
    assert_eq!(values, (0..odd.len() as i64).collect::<Vec<_>>());
    let members = |row: &BTreeMap<String, Value>| -> Vec<Value> {
        row.iter()
            .filter(|(name, _)| !name.starts_with("_kinesis_") || name.ends_with("_2"))
            .map(|(_, value)| value.clone())
            .collect()
    };
    let (first, second) = (members(&rows[0]), members(&rows[1]));
    assert_eq!(first.len(), odd.len());
    assert_eq!(second.iter().filter(|value| **value == Value::Null).count(), 0);
    assert_eq!(first, second);
}

#[test]
fn the_view_grows_with_the_members_and_shows_every_message() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "s").unwrap();
    db.write(&mut Fake::of(&[
        r#"{"id":1,"name":"a","deep":{"x":[1]}}"#,
        "[1,2]",
        "not json",
        r#"{"id":2"#,
    ]))
    .unwrap();
    db.commit("{}").unwrap();
    // Undone with its transaction.
    db.write(&mut Fake::new([message(8, br#"{"never":1}"#)])).unwrap();
    drop(db);
    let mut db = Sqlite::open(&dir.path("a.db"), "s").unwrap();
    db.write(&mut Fake::new([
        message(4, br#"{"id":true,"extra":null,"n":12345678901234567890}"#),
        message(5, b"\xff"),
        // A binary form of JSON, by chance.
        message(6, b"\x2caid\x13\x31"),
    ]))
    .unwrap();
    db.commit("{}").unwrap();
    drop(db);

    let db = Connection::open(dir.path("a.db")).unwrap();
    let rows = view(&db, "s_flat");
    assert_eq!(rows.len(), 7);
    let names: Vec<&str> = rows[0].keys().map(String::as_str).collect();
    for name in ["id", "name", "deep", "extra", "n"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    assert!(!names.contains(&"never"));
    assert_eq!(rows[0]["deep"], text(r#"{"x":[1]}"#));
    for row in [1, 2, 3, 5, 6] {
        assert_eq!(rows[row]["id"], Value::Null, "{row}");
    }
    assert_eq!(rows[4]["id"], Value::Integer(1));
}

#[test]
fn a_view_by_that_name_of_the_users_own_is_left_alone() {
    let dir = Dir::new();
    let db = Connection::open(dir.path("a.db")).unwrap();
    db.execute_batch("CREATE VIEW s_flat AS SELECT 1 AS mine").unwrap();
    drop(db);
    for n in 0..2 {
        let mut db = Sqlite::open(&dir.path("a.db"), "s").unwrap();
        db.write(&mut Fake::new([message(n, b"{\"a\":1}")])).unwrap();
        db.commit("{}").unwrap();
    }
    let db = Connection::open(dir.path("a.db")).unwrap();
    let mine: i64 = db.query_row("SELECT mine FROM s_flat", [], |row| row.get(0)).unwrap();
    assert_eq!(mine, 1);
    assert_eq!(dir.count("a.db", "s"), 2);
}

#[test]
fn a_database_takes_several_streams_and_one_reader_of_each() {
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
        assert!(error.asked_wrongly() && error.hint().is_some());
    }
    drop(orders);
    Sqlite::open(&dir.path("link.db"), "orders").unwrap();
}

#[test]
fn a_reader_whose_checkpoint_was_moved_gives_up_with_its_messages() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    db.write(&mut batch(0..1)).unwrap();
    db.commit("{}").unwrap();
    let other = Connection::open(dir.path("a.db")).unwrap();
    other
        .execute("UPDATE _kinesis_checkpoints SET revision = revision + 1", [])
        .unwrap();
    db.write(&mut batch(1..5)).unwrap();
    let error = db.commit("{}").unwrap_err();
    assert!(matches!(error, Error::Overtaken { .. }), "{error:?}");
    assert!(error.asked_wrongly());
    assert!(matches!(db.write(&mut batch(5..6)), Err(Error::Broken)));
    assert!(matches!(db.commit("{}"), Err(Error::Broken)));
    drop(db);
    assert_eq!(dir.count("a.db", "orders"), 1);
}

#[test]
fn a_batch_that_fails_midway_takes_what_was_not_committed_with_it() {
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
fn tables_that_are_not_ours_are_refused() {
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
        ("SELECT 1", "_kinesis_members", "taken by a table of this program"),
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
        assert!(error.asked_wrongly() && error.hint().is_some(), "{sql}");
        assert_eq!(schema(&db), before, "{sql}: nothing was made");
    }
}

#[test]
fn a_table_may_have_more_than_ours() {
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
fn paths_that_are_no_database_are_refused_each_in_its_words() {
    let dir = Dir::new();
    fs::write(dir.path("text.db"), "this is not a database at all, it is text\n".repeat(50)).unwrap();
    fs::create_dir(dir.path("dir.db")).unwrap();
    for (path, words) in [
        ("text.db", "the file is not a SQLite database"),
        ("dir.db", "it is not a file"),
        ("none/a.db", "its directory does not exist"),
        ("text.db/a.db", "what should be its directory is a file"),
    ] {
        let error = Sqlite::open(&dir.path(path), "orders").err().unwrap();
        assert!(error.to_string().contains(words), "{path}: {error}");
        assert!(error.asked_wrongly() && error.hint().is_some(), "{path}");
        assert!(!dir.path("none").exists());
    }
    assert_eq!(dir.names(), ["dir.db", "text.db"]);
    let error = Sqlite::open(Path::new(":memory:"), "orders").err().unwrap();
    assert!(error.asked_wrongly() && error.hint().is_some());
    Sqlite::open(&dir.path(":memory:"), "orders").unwrap().commit("{}").unwrap();
    assert!(dir.path(":memory:").exists());
}

/// A directory that nothing can be made in, also by root.
#[test]
#[cfg(target_os = "linux")]
fn a_place_that_cannot_be_written_is_no_fault_of_the_command_line() {
    let place = Path::new("/proc/self/net");
    let error = Sqlite::open(&place.join("a.db"), "orders").err().unwrap();
    assert!(matches!(error, Error::Write { .. } | Error::Path { .. }), "{error:?}");
    assert!(error.to_string().contains("a.db"), "{error}");
    let error = FileState::open(&place.join("s.json")).unwrap_err();
    assert!(error.to_string().contains("s.json"), "{error}");
}

#[test]
fn a_damaged_database_is_told_as_such() {
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
        Ok(mut db) => db
            .checkpoint()
            .and_then(|_| db.write(&mut batch(2000..4000)))
            .unwrap_err(),
    };
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(error.asked_wrongly() && error.hint().is_some());
}

#[test]
fn a_database_is_made_only_for_something_to_put_into_it() {
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
    assert_eq!(
        FileState::peek(&dir.path("s.json")).unwrap().unwrap().checkpoint,
        r#"{"n":3}"#
    );
    assert_eq!(dir.count("a.db", "orders"), 3);
}

// ------------------------------------------------------------------------------------- NDJSON ---

#[test]
fn a_file_has_exactly_what_was_committed() {
    let dir = Dir::new();
    let mut file = dir.ndjson("a.ndjson").unwrap();
    let written = file.write(&mut batch(0..10)).unwrap();
    assert_eq!((written.messages, written.new, written.fallbacks), (10, 10, 10));
    file.commit(r#"{"n":10}"#).unwrap();
    assert_eq!(written.bytes, dir.length("a.ndjson"));
    file.write(&mut batch(10..20)).unwrap();
    drop(file);
    assert_eq!(dir.ids("a.ndjson"), ids(0..10));

    let mut file = dir.ndjson("a.ndjson").unwrap();
    assert_eq!(file.checkpoint().unwrap().as_deref(), Some(r#"{"n":10}"#));
    file.write(&mut batch(10..15)).unwrap();
    file.commit(r#"{"n":15}"#).unwrap();
    drop(file);
    assert_eq!(dir.ids("a.ndjson"), ids(0..15));
    assert_eq!(dir.names(), ["a.ndjson", "a.ndjson.state.json"]);
}

#[test]
fn what_is_beyond_the_safe_length_is_cut_off() {
    let dir = Dir::new();
    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.write(&mut batch(0..3)).unwrap();
    file.commit("{}").unwrap();
    drop(file);
    for torn in ["{\"_kinesis_msg_id\":\"id-", "{}\n{}\n", "\u{0}\u{0}\u{0}"] {
        append(&dir.path("a.ndjson"), torn);
        drop(dir.ndjson("a.ndjson").unwrap());
        assert_eq!(dir.ids("a.ndjson"), ids(0..3));
    }
}

#[test]
fn a_file_that_was_committed_empty_is_cut_to_nothing() {
    let dir = Dir::new();
    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.commit("{}").unwrap();
    drop(file);
    assert_eq!(dir.length("a.ndjson"), 0);
    append(&dir.path("a.ndjson"), "{}\n{");
    drop(dir.ndjson("a.ndjson").unwrap());
    assert_eq!(dir.length("a.ndjson"), 0);
}

#[test]
fn a_file_and_a_state_that_do_not_belong_together_are_refused() {
    let dir = Dir::new();
    append(&dir.path("mine.ndjson"), "{\"mine\":1}\n");
    let error = dir.ndjson("mine.ndjson").err().unwrap();
    assert!(matches!(error, Error::Unexplained { length: 11, .. }), "{error:?}");
    assert!(error.asked_wrongly() && error.hint().is_some());
    assert_eq!(fs::read_to_string(dir.path("mine.ndjson")).unwrap(), "{\"mine\":1}\n");

    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.write(&mut batch(0..3)).unwrap();
    file.commit("{}").unwrap();
    drop(file);
    let whole = fs::read(dir.path("a.ndjson")).unwrap();
    fs::write(dir.path("a.ndjson"), &whole[..40]).unwrap();
    let error = dir.ndjson("a.ndjson").err().unwrap();
    assert!(matches!(error, Error::Shorter { length: Some(40), .. }), "{error:?}");
    fs::remove_file(dir.path("a.ndjson")).unwrap();
    let error = dir.ndjson("a.ndjson").err().unwrap();
    assert!(matches!(error, Error::Shorter { length: None, .. }), "{error:?}");
    assert!(error.asked_wrongly() && error.hint().is_some());
    assert!(!dir.path("a.ndjson").exists());

    // The state of a file that was moved away goes on with a new one, but not with another.
    let state = || Box::new(FileState::open(&dir.path("a.ndjson.state.json")).unwrap());
    let error = NdjsonFile::open(&dir.path("mine.ndjson"), state()).err().unwrap();
    assert!(matches!(error, Error::Unexplained { .. }), "{error:?}");
    let mut file = NdjsonFile::open(&dir.path("b.ndjson"), state()).unwrap();
    assert_eq!(file.checkpoint().unwrap().as_deref(), Some("{}"));
    file.write(&mut batch(3..5)).unwrap();
    file.commit("{}").unwrap();
    drop(file);
    assert_eq!(dir.ids("b.ndjson"), ids(3..5));
}

#[test]
fn an_empty_file_may_be_there() {
    let dir = Dir::new();
    append(&dir.path("a.ndjson"), "");
    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.write(&mut batch(0..1)).unwrap();
    drop(file);
    assert_eq!(dir.length("a.ndjson"), 0);
    assert_eq!(dir.names(), ["a.ndjson"]);
}

#[test]
fn a_reader_that_comes_to_nothing_leaves_no_file() {
    let dir = Dir::new();
    let mut file = dir.ndjson("a.ndjson").unwrap();
    file.write(&mut batch(0..1)).unwrap();
    drop(file);
    assert!(dir.names().is_empty(), "{:?}", dir.names());
}

#[test]
fn one_reader_writes_a_file() {
    let dir = Dir::new();
    let first = NdjsonFile::open(&dir.path("a"), Box::new(MemoryState::default())).unwrap();
    let error = NdjsonFile::open(&dir.path("a"), Box::new(MemoryState::default())).err().unwrap();
    assert!(matches!(error, Error::Held { .. }), "{error:?}");
    assert!(error.asked_wrongly() && error.hint().is_some());
    drop(first);
    NdjsonFile::open(&dir.path("a"), Box::new(MemoryState::default())).unwrap();
}

#[test]
fn what_is_no_file_takes_no_lines() {
    let dir = Dir::new();
    fs::create_dir(dir.path("dir")).unwrap();
    append(&dir.path("file"), "");
    for (path, words) in [
        ("dir", "it is a directory"),
        ("none/a", "its directory does not exist"),
        ("file/a", "what should be its directory is a file"),
        ("/dev/null", "it is not a file"),
    ] {
        let error = NdjsonFile::open(&dir.path(path), Box::new(MemoryState::default())).err().unwrap();
        assert!(error.to_string().contains(words), "{path}: {error}");
        assert!(error.asked_wrongly() && error.hint().is_some());
    }
}

#[test]
fn a_state_that_fails_leaves_a_file_that_fits_the_old_and_the_new() {
    let dir = Dir::new();
    let state = MemoryState::default();
    let mut file = NdjsonFile::open(&dir.path("a"), Box::new(state.clone())).unwrap();
    file.write(&mut batch(0..3)).unwrap();
    file.commit("{}").unwrap();
    drop(file);
    // It says that it failed, and has saved all the same.
    let mut file = NdjsonFile::open(&dir.path("a"), Box::new(Liar(state.clone()))).unwrap();
    file.write(&mut batch(3..6)).unwrap();
    assert!(file.commit("{}").is_err());
    assert!(matches!(file.write(&mut batch(6..7)), Err(Error::Broken)));
    drop(file);
    drop(NdjsonFile::open(&dir.path("a"), Box::new(state)).unwrap());
    assert_eq!(dir.ids("a"), ids(0..6));
}

// ------------------------------------------------------------------------------ other processes ---

#[test]
fn another_process_is_refused_and_a_dead_one_is_not_in_the_way() {
    const NAME: &str = "another_process_is_refused_and_a_dead_one_is_not_in_the_way";
    if let Some(dir) = role() {
        let mut db = Sqlite::open(&dir.join("a.db"), "orders").unwrap();
        db.write(&mut batch(0..5)).unwrap();
        db.commit("{}").unwrap();
        db.write(&mut batch(5..9)).unwrap();
        let _state = FileState::open(&dir.join("s.json")).unwrap();
        tell("held");
        forever();
    }
    let dir = Dir::new();
    let (mut child, mut words) = start(NAME, dir.root(), "");
    await_word(&mut words, "held");
    let pid = child.id();
    let error = Sqlite::open(&dir.path("a.db"), "orders").err().unwrap();
    assert!(matches!(error, Error::Held { by: Some(by), .. } if by == pid), "{error:?}");
    let error = FileState::open(&dir.path("s.json")).unwrap_err();
    assert!(matches!(error, state::Error::Held { by: Some(by), .. } if by == pid), "{error:?}");
    // Looking is allowed.
    assert!(told(&dir.path("a.db")).contains("stream orders: 5 messages"));
    assert!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap().is_some());
    child.kill().unwrap();
    child.wait().unwrap();

    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap().as_deref(), Some("{}"));
    FileState::open(&dir.path("s.json")).unwrap();
    assert_eq!(dir.count("a.db", "orders"), 5);
}

/// Commits one message at a time until it is killed; the checkpoint is the number of the next.
#[test]
fn killed_at_any_moment_messages_and_checkpoint_agree() {
    const NAME: &str = "killed_at_any_moment_messages_and_checkpoint_agree";
    let next = |destination: &mut dyn Destination| -> u64 {
        destination.checkpoint().unwrap().map_or(0, |text| text.parse().unwrap())
    };
    if let Some(dir) = role() {
        let mut db = Sqlite::open(&dir.join("a.db"), "orders").unwrap();
        let state = FileState::open(&dir.join("s.json")).unwrap();
        let mut file = NdjsonFile::open(&dir.join("a.ndjson"), Box::new(state)).unwrap();
        loop {
            for destination in [&mut db as &mut dyn Destination, &mut file] {
                let n = next(destination);
                destination.write(&mut batch(n..n + 3)).unwrap();
                destination.write(&mut batch(n + 3..n + 5)).unwrap();
                destination.commit(&(n + 5).to_string()).unwrap();
            }
            tell("round");
        }
    }
    let dir = Dir::new();
    for rounds in [1, 2, 7, 3, 5] {
        let (mut child, mut words) = start(NAME, dir.root(), "");
        for _ in 0..rounds {
            await_word(&mut words, "round");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
        let n = next(&mut db);
        assert_eq!(dir.count("a.db", "orders"), n);
        let state = FileState::open(&dir.path("s.json")).unwrap();
        let mut file = NdjsonFile::open(&dir.path("a.ndjson"), Box::new(state)).unwrap();
        let n = next(&mut file);
        assert_eq!(dir.ids("a.ndjson"), ids(0..n));
        assert!(n >= rounds * 5);
    }
}

/// A file may not grow beyond a limit, as if the disk were full.
#[test]
fn a_full_disk_ends_the_write_and_costs_nothing_that_was_safe() {
    const NAME: &str = "a_full_disk_ends_the_write_and_costs_nothing_that_was_safe";
    if let Some(dir) = role() {
        let sqlite = dir.join("sqlite").exists();
        let mut output: Box<dyn Destination> = if sqlite {
            Box::new(Sqlite::open(&dir.join("a.db"), "orders").unwrap())
        } else {
            let state = FileState::open(&dir.join("s.json")).unwrap();
            Box::new(NdjsonFile::open(&dir.join("a.ndjson"), Box::new(state)).unwrap())
        };
        let error = (0..100_000_u64)
            .find_map(|n| {
                let batch = &mut batch(n * 200..n * 200 + 200);
                let done = output.write(batch).map(|_| ());
                done.and_then(|()| output.commit(&(n * 200 + 200).to_string())).err()
            })
            .expect("the limit is met");
        assert!(!error.asked_wrongly(), "{error:?}");
        assert!(error.hint().is_some(), "{error:?}");
        assert!(matches!(output.commit("0"), Err(Error::Broken)));
        drop(output);
        tell(&format!("failed: {error}"));
        return;
    }
    for kind in ["sqlite", "ndjson"] {
        let dir = Dir::new();
        append(&dir.path(kind), "");
        // The signal would end the process before the write could fail.
        let (mut child, mut words) = start(NAME, dir.root(), "trap '' XFSZ; ulimit -f 600; ");
        let line = await_word(&mut words, "failed:");
        assert!(line.contains("cannot write to the"), "{line}");
        assert!(child.wait().unwrap().success(), "{line}");
        if kind == "sqlite" {
            let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
            let safe: u64 = db.checkpoint().unwrap().unwrap().parse().unwrap();
            assert_eq!(dir.count("a.db", "orders"), safe);
            db.write(&mut batch(safe..safe + 5)).unwrap();
            db.commit("1").unwrap();
            assert_eq!(dir.count("a.db", "orders"), safe + 5);
        } else {
            let saved = FileState::peek(&dir.path("s.json")).unwrap().unwrap();
            let safe: u64 = saved.checkpoint.parse().unwrap();
            assert!(safe > 0);
            assert_eq!(dir.ids("a.ndjson"), ids(0..safe), "no torn line is left");
            let state = FileState::open(&dir.path("s.json")).unwrap();
            let mut file = NdjsonFile::open(&dir.path("a.ndjson"), Box::new(state)).unwrap();
            file.write(&mut batch(safe..safe + 5)).unwrap();
            file.commit("1").unwrap();
            assert_eq!(dir.ids("a.ndjson"), ids(0..safe + 5));
        }
    }
}

// --------------------------------------------------------------------------------------- show ---

#[test]
fn show_tells_tables_newest_rows_and_checkpoint() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    let long = format!("{{\"id\":1,\"text\":\"{}\"}}", "x".repeat(500));
    db.write(&mut batch(0..1200)).unwrap();
    db.write(&mut Fake::new([
        message(1200, long.as_bytes()),
        message(1201, b"\xff\x00"),
        message(1202, b"\x1b[2J"),
    ]))
    .unwrap();
    db.commit(r#"{"version":1,"stream":{"name":"orders"},"shards":{"shardId-000000000000":{"after":"4968"}}}"#)
        .unwrap();
    let text = told(&dir.path("a.db"));
    drop(db);
    for words in [
        "orders                1,203",
        "stream orders: 1,203 messages",
        "view orders_flat:",
        "2025-11-23T12:13:21.202Z  shardId-000000000000  key  \\u{1b}[2J",
        "x'FF00'",
        "xxx…\n",
        "checkpoint: revision 1, saved 2",
        "shardId-000000000000  after 4968\n",
    ] {
        assert!(text.contains(words), "{words}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert_eq!(dir.names(), ["a.db"]);
}

#[test]
fn show_refuses_what_is_no_database() {
    let dir = Dir::new();
    append(&dir.path("text.db"), &"not a database ".repeat(100));
    append(&dir.path("empty.db"), "");
    for (path, words) in [
        ("none.db", "there is no such file"),
        ("none/a.db", "its directory does not exist"),
        ("", "it is not a file"),
        ("text.db", "the file is not a SQLite database"),
    ] {
        let error = show(&dir.path(path), 80, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains(words), "{path}: {error}");
        assert!(error.asked_wrongly() && error.hint().is_some());
    }
    assert!(!dir.path("none.db").exists());
    assert!(told(&dir.path("empty.db")).contains("no tables"));
}

// ------------------------------------------------------------------------------------ helpers ---

/// A batch of one shard. It gives a few messages at a time, whatever is asked for.
struct Fake {
    messages: Vec<Message>,
    fails_at: Option<u32>,
}

impl Fake {
    fn new(messages: impl IntoIterator<Item = Message>) -> Fake {
        Fake {
            messages: messages.into_iter().collect(),
            fails_at: None,
        }
    }

    fn of(payloads: &[&str]) -> Fake {
        Fake::new((0..).zip(payloads).map(|(n, data)| message(n, data.as_bytes())))
    }

    fn some(&self, skip: u32, take: usize) -> Result<&[Message], BatchError> {
        let from = skip as usize;
        let to = self.messages.len().min(from + take);
        match self.fails_at {
            Some(at) if at - 9 < to as u32 => Err("it trapped".into()),
            _ => Ok(&self.messages[from..to]),
        }
    }
}

impl Batch for Fake {
    fn shard(&self) -> &str {
        "shardId-000000000000"
    }

    fn count(&self) -> u32 {
        self.messages.len() as u32
    }

    fn lines(&mut self, skip: u32, _size: u32) -> Result<Lines, BatchError> {
        let messages = self.some(skip, 2)?;
        let line = |m: &Message| serde_json::json!({"_kinesis_msg_id": m.id}).to_string() + "\n";
        Ok(Lines {
            text: messages.iter().map(line).collect(),
            count: messages.len() as u32,
            fallbacks: messages.len() as u32,
        })
    }

    fn messages(&mut self, skip: u32, take: u32) -> Result<Vec<Message>, BatchError> {
        self.some(skip, (take as usize).min(7)).map(<[_]>::to_vec)
    }
}

fn batch(numbers: std::ops::Range<u64>) -> Fake {
    Fake::new(numbers.map(|n| message(n, format!("{{\"id\":{n}}}").as_bytes())))
}

fn message(n: u64, data: &[u8]) -> Message {
    Message {
        id: format!("id-{n:08}"),
        sequence: format!("4968{n:052}"),
        subsequence: None,
        partition_key: Some("key".to_owned()),
        arrived: 1_763_900_000_000 + n,
        data: data.to_vec(),
    }
}

fn ids(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| format!("id-{n:08}")).collect()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn view(db: &Connection, name: &str) -> Vec<BTreeMap<String, Value>> {
    let sql = format!("SELECT * FROM \"{name}\" ORDER BY _kinesis_msg_id");
    let mut select = db.prepare(&sql).unwrap();
    let names: Vec<String> = select.column_names().map(str::to_owned).collect();
    select
        .query_map(params![], |row| {
            names.iter().enumerate().map(|(n, name)| Ok((name.clone(), row.get(n)?))).collect()
        })
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

fn told(path: &Path) -> String {
    let mut out = Vec::new();
    show(path, 100, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Saves, and says that it could not.
struct Liar(MemoryState);

impl State for Liar {
    fn load(&mut self) -> Result<Option<Saved>, state::Error> {
        self.0.load()
    }

    fn save(&mut self, saved: &Saved) -> Result<(), state::Error> {
        self.0.save(saved)?;
        Err(state::Error::Checkpoint("not so".to_owned()))
    }
}

struct Dir(TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(TempDir::new().unwrap())
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn length(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).unwrap().len()
    }

    fn ndjson(&self, name: &str) -> Result<NdjsonFile, Error> {
        let state = FileState::open(&self.path(&format!("{name}.state.json")))?;
        NdjsonFile::open(&self.path(name), Box::new(state))
    }

    fn ids(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["_kinesis_msg_id"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    /// As any other program sees it.
    fn count(&self, name: &str, table: &str) -> u64 {
        let db = Connection::open(self.path(name)).unwrap();
        let sql = format!("SELECT count(*) FROM \"{table}\"");
        db.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64
    }
}

const ROLE: &str = "KINESIS_READER_TEST_DIRECTORY";

/// In the other process, the directory it works in.
fn role() -> Option<PathBuf> {
    env::var_os(ROLE).map(PathBuf::from)
}

/// Runs a test of this file as another process, after a shell has done `first`.
fn start(test: &str, dir: &Path, first: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("{first}exec \"$0\" \"$@\""))
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let words = BufReader::new(child.stdout.take().unwrap());
    (child, words)
}

fn tell(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}

/// Until the parent kills this process, or is gone itself.
fn forever() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn await_word(words: &mut impl BufRead, word: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(words.read_line(&mut line).unwrap() > 0, "it ended before it said {word}");
        if line.contains(word) {
            return line;
        }
    }
}
