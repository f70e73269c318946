//! The view of a stream's members.

use std::collections::BTreeMap;

use kinesis_reader::destination::{Destination, Sqlite};
use rusqlite::Connection;
use rusqlite::types::Value;

use crate::common::{Dir, Fake, message, text};

#[test]
fn the_view_has_a_column_for_each_member_whatever_its_name() {
    let dir = Dir::new();
    let odd = [
        "plain",
        "Plain",
        "with space",
        "a.b",
        "$",
        "$.x",
        "[0]",
        "#",
        "quote\"d",
        "it's",
        "back\\slash",
        "sl/ash",
        "tab\there",
        "new\nline",
        "\u{1}",
        "zażółć",
        "🐢",
        "",
        "_kinesis_msg_id",
        "data",
        "payload",
        "key",
        "value",
        "rowid",
        "select",
        "--",
        "/*",
        ";",
        "%s",
        "?1",
        ":name",
        "@p",
        "\u{7f}",
        "true",
        "TRUE",
        "False",
        "null",
        "oid",
        "É",
        "é",
        "column8",
        "current_timestamp",
        "\u{202e}gnp",
        "\u{1b}[31m",
        "a;b",
        "]]",
        "`",
        "\"\"",
        "\u{fffd}",
        "\u{10ffff}",
    ];
    let mut object = serde_json::Map::new();
    for (n, name) in odd.iter().enumerate() {
        object.insert((*name).to_owned(), n.into());
    }
    let plain = serde_json::to_string(&object).unwrap();
    // The same object, with every character of every name escaped.
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
    db.write(&mut Fake::of(&[r#"{"id":1,"name":"a","deep":{"x":[1]}}"#, "[1,2]", "not json", r#"{"id":2"#])).unwrap();
    db.commit("{}").unwrap();
    // Rolled back with its transaction.
    db.write(&mut Fake::new([message(8, br#"{"never":1}"#)])).unwrap();
    drop(db);
    let mut db = Sqlite::open(&dir.path("a.db"), "s").unwrap();
    db.write(&mut Fake::new([
        message(4, br#"{"id":true,"extra":null,"n":12345678901234567890}"#),
        message(5, b"\xff"),
        // By chance, this is also SQLite's binary form of JSON.
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
fn an_existing_view_with_that_name_is_left_alone() {
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

fn view(db: &Connection, name: &str) -> Vec<BTreeMap<String, Value>> {
    let sql = format!("SELECT * FROM \"{name}\" ORDER BY _kinesis_msg_id");
    let mut select = db.prepare(&sql).unwrap();
    let names: Vec<String> = select.column_names().map(str::to_owned).collect();
    select
        .query_map([], |row| names.iter().enumerate().map(|(n, name)| Ok((name.clone(), row.get(n)?))).collect())
        .unwrap()
        .map(Result::unwrap)
        .collect()
}
