//! What `show` prints about a database.

use kinesis_reader::cli::show::show;
use kinesis_reader::destination::{Destination, Sqlite};

use crate::common::{Dir, Fake, append, batch, message, shown};

#[test]
fn show_prints_tables_newest_rows_and_checkpoint() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    let long = format!("{{\"id\":1,\"text\":\"{}\"}}", "x".repeat(500));
    db.write(&mut batch(0..1200)).unwrap();
    db.write(&mut Fake::new([message(1200, long.as_bytes()), message(1201, b"\xff\x00"), message(1202, b"\x1b[2J")]))
        .unwrap();
    db.commit(r#"{"version":1,"stream":{"name":"orders"},"shards":{"shardId-000000000000":{"after":"4968"}}}"#)
        .unwrap();
    let text = shown(&dir.path("a.db"));
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
fn show_refuses_a_file_that_is_not_a_database() {
    let dir = Dir::new();
    append(&dir.path("text.db"), &"not a database ".repeat(100));
    append(&dir.path("empty.db"), "");
    for (path, words) in [
        ("none.db", "there is no such file"),
        ("none/a.db", "its directory does not exist"),
        ("", "it is a directory"),
        ("text.db", "the file is not a SQLite database"),
    ] {
        let error = show(&dir.path(path), 80, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains(words), "{path}: {error}");
        assert!(error.is_usage_error() && error.hint().is_some());
    }
    assert!(!dir.path("none.db").exists());
    assert!(shown(&dir.path("empty.db")).contains("no tables"));
}
