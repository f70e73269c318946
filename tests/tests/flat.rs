//! The flat view of messages, as other programs query it: every member has a column, which can be found by its quoted
//! name.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use test_support::emulator::REGION;
use test_support::hostile::{Hostile, answer, record};
use test_support::program::{STREAM, bare, run, stderr};

/// Prints the columns of the view, and for each member its column and the values in it.
const QUERY: &str = r#"
import json, sqlite3, sys
db = sqlite3.connect("orders.db")
columns = [column[1] for column in db.execute("PRAGMA table_info(orders_flat)")]
assert columns == [column[0] for column in db.execute("SELECT * FROM orders_flat").description]
members = {}
for member, column in db.execute("SELECT member, column_name FROM _kinesis_members"):
    quoted = '"' + column.replace('"', '""') + '"'
    values = db.execute(f"SELECT {quoted} FROM orders_flat WHERE {quoted} IS NOT NULL").fetchall()
    members[member] = [column, [value for (value,) in values]]
json.dump([columns, members], sys.stdout)
"#;

#[test]
fn every_member_is_found_by_the_quoted_name_of_its_column() {
    let names = names();
    let payloads: Vec<String> =
        names.iter().enumerate().map(|(number, name)| json!({ name.as_str(): number }).to_string()).collect();
    let records: Vec<Value> = (0..).zip(&payloads).map(|(n, data)| record(n, "key", data.as_bytes())).collect();
    let folder = read(&records);

    let (columns, members) = query(&folder);
    assert_eq!(members.len(), names.len(), "{members:?}");
    let lower: Vec<String> = columns.iter().map(|column| column.to_lowercase()).collect();
    for (number, name) in names.iter().enumerate() {
        let [column, values] = members[name].as_array().expect("a pair").as_slice() else { panic!("{name:?}") };
        let column = column.as_str().expect("a name");
        assert!(columns.iter().any(|other| other == column), "{name:?}: {column:?}");
        assert_eq!(lower.iter().filter(|other| **other == column.to_lowercase()).count(), 1, "{name:?}: {column:?}");
        assert_eq!(*values, json!([number]), "{name:?}: {column:?}");
        let wanted = if name.is_empty() { "_" } else { name };
        assert!(
            column == wanted || column.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('_')),
            "{column:?}"
        );
    }
    for (name, column) in [("true", "true_2"), ("FALSE", "FALSE_2"), ("null", "null"), ("rowid", "rowid"), ("id", "id")]
    {
        assert_eq!(members[name][0], column);
    }
}

#[test]
fn unusable_names_and_too_many_members_leave_a_view_that_can_be_queried() {
    let long = "n".repeat(201);
    let mut payloads = vec![json!({long.as_str(): 1, "a\0b": 2, "\0": 3, "kept": 4}).to_string()];
    payloads.push("{\"\\ud800\": 1, \"lost\": 2}".to_owned());
    payloads.extend((0..700).map(|n| json!({format!("m{n}\"'{}", "q".repeat(180)): n}).to_string()));
    let records: Vec<Value> = (0..).zip(&payloads).map(|(n, data)| record(n, "key", data.as_bytes())).collect();
    let folder = read(&records);

    let (columns, members) = query(&folder);
    assert_eq!((columns.len(), members.len()), (7 + 500, 500));
    assert_eq!(members["kept"], json!(["kept", [4]]));
    assert!(members.keys().all(|member| member == "kept" || member.starts_with('m')));
}

/// Returns names that may cause trouble: SQL keywords, names that SQLite, the view or its table use, names that differ
/// only in case, and syntax.
#[expect(clippy::too_many_lines, reason = "one list of cases")]
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "true",
        "True",
        "FALSE",
        "false",
        "null",
        "NULL",
        "rowid",
        "oid",
        "_rowid_",
        "id",
        "Id",
        "ID",
        "id_2",
        "É",
        "é",
        "",
        "_",
        "__2",
        " ",
        "\t",
        "\n",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{9b}",
        "\u{202e}gnp",
        "\u{feff}",
        "\u{10ffff}",
        "\"",
        "\"\"",
        "'",
        "`",
        "[",
        "]]",
        "\\",
        "/",
        "--",
        "/*",
        "*/",
        ";",
        "%",
        "?",
        "?1",
        ":a",
        "@a",
        "$",
        "$.x",
        "a.b",
        "a[0]",
        "#",
        "a\"; DROP TABLE orders; --",
        "'); DROP TABLE orders; --",
        "_kinesis_msg_id",
        "_KINESIS_MSG_ID",
        "_kinesis_msg_id_2",
        "_kinesis__ts",
        "data",
        "payload",
        "key",
        "value",
        "column8",
        "orders",
        "orders_flat",
        "main.orders",
        "sqlite_master",
        "json_extract",
        "0",
        "1e5",
        "-1",
        "9223372036854775808",
        "\u{1f422}",
    ]
    .map(str::to_owned)
    .into();
    // <https://www.sqlite.org/lang_keywords.html>
    let keywords = "ABORT ADD ALL ALWAYS AND AS ASC BETWEEN BY CASE CAST COLLATE COLUMN CREATE CROSS CURRENT_DATE \
                    CURRENT_TIMESTAMP DEFAULT DESC DISTINCT DO ELSE END ESCAPE EXCEPT EXISTS FILTER FROM FULL GLOB GROUP \
                    HAVING IF IN INDEX INNER INSERT INTERSECT INTO IS ISNULL JOIN KEY LEFT LIKE LIMIT MATCH NATURAL NOT \
                    NOTHING NOTNULL OF OFFSET ON OR ORDER OUTER OVER PRIMARY RAISE REGEXP RETURNING ROW ROWS SELECT SET \
                    TABLE THEN TO TRANSACTION UNION UNIQUE UPDATE USING VALUES VIEW WHEN WHERE WINDOW WITH WITHOUT";
    names.extend(keywords.split_whitespace().filter(|word| *word != "KEY").map(str::to_lowercase));
    names.extend(["n".repeat(200), "é".repeat(100)]);
    names
}

/// Reads a stream of these records into `orders.db` in a temporary directory.
fn read(records: &[Value]) -> tempfile::TempDir {
    let page = json!({"Records": records, "NextShardIterator": "end", "MillisBehindLatest": 0});
    let server = Hostile::start(move |request| (request.operation == "GetRecords").then(|| answer(200, "", &page)));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut command = bare(folder.path());
    command.args(["read", STREAM, "--endpoint-url", &server.url, "--region", REGION]);
    let output = run(&mut command);
    assert!(output.status.success(), "{}", stderr(&output));
    folder
}

/// Returns what Python's sqlite3 finds, and checks that the program's own version of SQLite finds the same.
fn query(folder: &tempfile::TempDir) -> (Vec<String>, serde_json::Map<String, Value>) {
    let output = run(Command::new("python3").args(["-c", QUERY]).current_dir(folder.path()));
    assert!(output.status.success(), "{}", stderr(&output));
    let (columns, members): (Vec<String>, serde_json::Map<String, Value>) =
        serde_json::from_slice(&output.stdout).expect("valid JSON");

    let path = folder.path().join("orders.db");
    assert!(fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()));
    let db = rusqlite::Connection::open(path).expect("a database");
    for (member, found) in &members {
        let column = found[0].as_str().expect("a name");
        let quoted = format!("\"{}\"", column.replace('"', "\"\""));
        let query = format!("SELECT {quoted} FROM orders_flat WHERE {quoted} IS NOT NULL");
        let mut select = db.prepare(&query).expect("a query");
        let values = select.query_map([], |row| row.get::<_, i64>(0)).expect("rows");
        let values: Vec<i64> = values.map(|value| value.expect("a number")).collect();
        assert_eq!(json!(values), found[1], "{member:?}");
    }
    (columns, members)
}
