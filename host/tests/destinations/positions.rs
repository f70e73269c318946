//! The positions of many shards in a database: kept one by one, and read as one text.

use kinesis_reader::destination::{Destination, Sqlite};
use rusqlite::Connection;

use crate::common::{Dir, batch, told};

#[test]
fn changes_are_kept_beside_what_did_not_change() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    db.write(&mut batch(0..3)).unwrap();
    assert!(!db.commit_changes(&checkpoint(&[("a", AT)])).unwrap(), "there is nothing to change");
    db.commit(&checkpoint(&[("a", AT), ("b", AT), ("c\\\"é", AT)])).unwrap();
    db.write(&mut batch(3..5)).unwrap();
    assert!(db.commit_changes(&checkpoint(&[("b", AFTER), ("d", AT)])).unwrap());
    db.write(&mut batch(5..9)).unwrap();
    drop(db);

    let whole = checkpoint(&[("a", AT), ("b", AFTER), ("c\\\"é", AT), ("d", AT)]);
    assert_eq!(dir.count("a.db", "orders"), 5);
    assert_eq!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap().as_ref(), Some(&whole));
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap(), Some(whole));
    assert!(told(&dir.path("a.db")).contains("b    after 4968\n"));
    // The last commit of another run may have been of other positions.
    assert!(!db.commit_changes(&checkpoint(&[("a", AFTER)])).unwrap());
    db.commit(&checkpoint(&[("a", AFTER)])).unwrap();
    drop(db);
    assert_eq!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap(), Some(checkpoint(&[("a", AFTER)])));
    assert_eq!(dir.count("a.db", "_kinesis_positions"), 1, "what is forgotten goes");
}

#[test]
fn a_commit_writes_as_much_whatever_the_number_of_shards() {
    let written = |shards: usize| {
        let dir = Dir::new();
        let ids: Vec<String> = (0..shards).map(|shard| format!("shardId-{shard:012}")).collect();
        let positions: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), AT)).collect();
        let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
        db.commit(&checkpoint(&positions)).unwrap();
        let before = dir.length("a.db-wal");
        for (id, _) in positions.iter().take(3) {
            assert!(db.commit_changes(&checkpoint(&[(id, AFTER)])).unwrap());
        }
        dir.length("a.db-wal") - before
    };
    let (few, many) = (written(10), written(3000));
    // An index of some thousand rows is a level or two deeper: a page of 4 KiB each.
    assert!(many <= 3 * few, "{few} bytes with 10 shards, {many} with 3,000");
}

/// As all were kept before there were positions.
#[test]
fn a_database_without_positions_is_read_and_gets_them() {
    let dir = Dir::new();
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    db.write(&mut batch(0..3)).unwrap();
    db.commit("{}").unwrap();
    drop(db);
    let old = checkpoint(&[("a", AT), ("b", AFTER)]);
    let plain = Connection::open(dir.path("a.db")).unwrap();
    plain.execute("UPDATE _kinesis_checkpoints SET checkpoint = ?1", [&old]).unwrap();
    plain.execute_batch("DROP TABLE _kinesis_positions").unwrap();
    drop(plain);

    assert!(told(&dir.path("a.db")).contains("b  after 4968\n"));
    assert_eq!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap().as_ref(), Some(&old));
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap(), Some(old.clone()));
    db.commit(&old).unwrap();
    assert!(db.commit_changes(&checkpoint(&[("a", AFTER)])).unwrap());
    assert_eq!(db.checkpoint().unwrap(), Some(checkpoint(&[("a", AFTER), ("b", AFTER)])));
    assert_eq!(dir.count("a.db", "orders"), 3);
}

#[test]
fn a_checkpoint_of_another_form_is_kept_to_the_letter() {
    let dir = Dir::new();
    let head = r#"{"version":1,"stream":{"name":"orders"}"#;
    let texts = [
        "7".to_owned(),
        format!("{head},\"shards\":{{ \"a\":{AT} }}}}"),
        format!("{head},\"shards\":{{\"b\":{AT},\"a\":{AT}}}}}"),
        format!("{head},\"more\":1,\"shards\":{{}}}}"),
    ];
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    for text in texts {
        db.commit(&text).unwrap();
        assert!(!db.commit_changes(&checkpoint(&[("a", AFTER)])).unwrap());
        assert_eq!(db.checkpoint().unwrap(), Some(text));
    }
    let none = checkpoint(&[]);
    db.commit(&none).unwrap();
    assert_eq!(db.checkpoint().unwrap(), Some(none));
}

const AT: &str = r#"{"at":"trim-horizon"}"#;
const AFTER: &str = r#"{"after":"4968"}"#;

fn checkpoint(positions: &[(&str, &str)]) -> String {
    let positions: Vec<String> = positions.iter().map(|(shard, position)| format!("\"{shard}\":{position}")).collect();
    format!(r#"{{"version":1,"stream":{{"name":"orders"}},"shards":{{{}}}}}"#, positions.join(","))
}
