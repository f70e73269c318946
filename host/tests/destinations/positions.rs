//! The positions of many shards in a database, which are stored one by one and read as one text.

use kinesis_reader::destination::{Destination, Sqlite};
use rusqlite::Connection;

use crate::common::{Dir, batch, shown};

#[test]
fn changes_leave_other_positions_unchanged() {
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
    assert!(shown(&dir.path("a.db")).contains("b    after 4968\n"));
    // Another run may have committed other positions in between.
    assert!(!db.commit_changes(&checkpoint(&[("a", AFTER)])).unwrap());
    db.commit(&checkpoint(&[("a", AFTER)])).unwrap();
    drop(db);
    assert_eq!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap(), Some(checkpoint(&[("a", AFTER)])));
    assert_eq!(dir.count("a.db", "_kinesis_positions"), 1, "positions that the checkpoint no longer has are removed");
}

#[test]
fn the_cost_of_a_commit_does_not_depend_on_the_number_of_shards() {
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
    // An index of a few thousand rows is a level or two deeper, which costs a page of 4 KiB each.
    assert!(many <= 3 * few, "{few} bytes with 10 shards, {many} with 3,000");
}

/// Earlier versions stored checkpoints without a table of positions.
#[test]
fn a_database_without_positions_is_upgraded() {
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

    assert!(shown(&dir.path("a.db")).contains("b  after 4968\n"));
    assert_eq!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap().as_ref(), Some(&old));
    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap(), Some(old.clone()));
    db.commit(&old).unwrap();
    assert!(db.commit_changes(&checkpoint(&[("a", AFTER)])).unwrap());
    assert_eq!(db.checkpoint().unwrap(), Some(checkpoint(&[("a", AFTER), ("b", AFTER)])));
    assert_eq!(dir.count("a.db", "orders"), 3);
}

#[test]
fn a_checkpoint_of_another_form_is_kept_unchanged() {
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
