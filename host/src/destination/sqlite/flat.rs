//! The view `STREAM_flat`: a row for each message, with the members of its payload as columns.
//!
//! The view has the columns of the envelope, then one column for each top-level member that has been seen in a payload,
//! in order of appearance. If a payload is not a JSON object or does not have the member, the column is NULL. The view
//! is rebuilt in the transaction in which a new member appears, so it always matches the table. The view is a
//! convenience: the table has the unchanged payload.
//!
//! Members become columns by these rules:
//!
//! - A column has the name of its member. SQLite treats `Id` and `id` as the same name, so the second one to appear
//!   becomes `id_2`, and so does a member with the name of a column of the envelope. The same goes for `É` and `é`,
//!   which SQLite distinguishes but other programs that read the view do not. The empty name becomes `_`.
//! - SQLite does not let a view name a column `true` or `false`, so these members become `true_2` and
//!   `false_2`.
//! - At most [`MEMBERS_MAX`] members become columns. SQLite's limit is 2,000 columns, and a view is unreadable long
//!   before that. Members whose name is longer than [`NAME_MAX`] bytes or contains NUL are left out.
//! - If a payload has a member twice, the first one counts, as SQLite reads JSON that way.
//!
//! If something else has the name of the view, it is left alone, and there is no view.

use std::collections::HashSet;
use std::fmt;

use rusqlite::{Connection, OptionalExtension};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::names::{COLUMNS, quote};

/// The maximum number of members of a stream's payloads that become columns of its view.
pub const MEMBERS_MAX: usize = 500;

/// The longest name of a member that becomes a column, in bytes.
const NAME_MAX: usize = 200;

/// Names that a column of a view cannot have, even quoted: SQLite calls such a column `column8` or the like
/// (`sqlite3ColumnsFromExprList`), and reads the name in a query as the number 1 or 0.
const RESERVED: [&str; 2] = ["true", "false"];

/// Distinguishes the view from those that were not created by this program. Existing databases contain this text.
const MARK: &str = "/* kept up by kinesis-reader: it is replaced when members appear */";

/// The view as it is in the database, and as it should be.
pub(super) struct Flat {
    stream: String,
    view: String,
    members: HashSet<String>,
    /// Names of columns in lower case.
    taken: HashSet<String>,
    /// Members and their columns.
    columns: Vec<(String, String)>,
    /// How many of `columns` are in the table of members, with the same names.
    saved: usize,
    /// The view's definition in the database. `None` if the view does not exist.
    text: Option<String>,
    /// Whether something else has the name of the view.
    foreign: bool,
}

impl Flat {
    /// Loads the view and its members from the database.
    pub(super) fn load(db: &Connection, stream: &str) -> rusqlite::Result<Flat> {
        let view = format!("{stream}_flat");
        let found: Option<(String, Option<String>)> = db
            .query_row(
                "SELECT type, sql FROM sqlite_schema \
                 WHERE type IN ('table', 'view', 'index') AND name = ?1 COLLATE NOCASE",
                [&view],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let (text, foreign) = match found {
            None => (None, false),
            Some((kind, Some(text))) if kind == "view" && text.contains(MARK) => (Some(text), false),
            Some(_) => (None, true),
        };
        let mut flat = Flat {
            stream: stream.to_owned(),
            view,
            members: HashSet::new(),
            taken: COLUMNS.iter().map(|(name, _)| *name).chain(RESERVED).map(str::to_owned).collect(),
            columns: Vec::new(),
            saved: 0,
            text,
            foreign,
        };
        // The view does not have this column, so a member can have the name.
        flat.taken.remove("data");
        let mut select =
            db.prepare("SELECT member, column_name FROM _kinesis_members WHERE stream = ?1 ORDER BY rowid")?;
        let rows = select.query_map([stream], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows = rows.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
        flat.taken.extend(rows.iter().map(|(_, column)| column.to_lowercase()));
        for (member, mut column) in rows {
            if RESERVED.contains(&&*column.to_lowercase()) {
                // Written by an earlier version.
                column = flat.free_name(&member);
            } else if flat.saved == flat.columns.len() {
                flat.saved += 1;
            }
            flat.members.insert(member.clone());
            flat.columns.push((member, column));
        }
        Ok(flat)
    }

    /// Adds the members of a payload that are new.
    pub(super) fn add_members(&mut self, payload: &[u8]) {
        if self.foreign || self.columns.len() >= MEMBERS_MAX {
            return;
        }
        let mut found = Found { known: &self.members, new: Vec::new() };
        let mut json = serde_json::Deserializer::from_slice(payload);
        // A payload that is not a JSON object has no members.
        if (&mut json).deserialize_map(&mut found).is_err() || json.end().is_err() {
            return;
        }
        for member in found.new {
            self.add(member);
        }
    }

    /// Writes what has changed to the database, within the open transaction.
    pub(super) fn save(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if self.foreign {
            return Ok(());
        }
        if self.saved < self.columns.len() || self.text.is_none() {
            let mut insert = db.prepare(
                "INSERT INTO _kinesis_members VALUES (?1, ?2, ?3) \
                 ON CONFLICT (stream, member) DO UPDATE SET column_name = excluded.column_name",
            )?;
            for (member, column) in self.columns.iter().skip(self.saved) {
                insert.execute([&self.stream, member, column])?;
            }
            let text = self.text();
            db.execute_batch(&format!("DROP VIEW IF EXISTS {}", quote(&self.view)))?;
            db.execute_batch(&text)?;
            self.saved = self.columns.len();
            self.text = Some(text);
        }
        Ok(())
    }

    fn add(&mut self, member: String) {
        if self.columns.len() >= MEMBERS_MAX
            || member.len() > NAME_MAX
            || member.contains('\0')
            || !self.members.insert(member.clone())
        {
            return;
        }
        let column = self.free_name(&member);
        self.columns.push((member, column));
    }

    /// Picks a free name for the column of a member, and reserves it.
    fn free_name(&mut self, member: &str) -> String {
        let name = if member.is_empty() { "_" } else { member };
        let mut column = name.to_owned();
        let mut number = 2;
        while !self.taken.insert(column.to_lowercase()) {
            column = format!("{name}_{number}");
            number += 1;
        }
        column
    }

    fn text(&self) -> String {
        let mut text = format!("CREATE VIEW {} AS {MARK}\nSELECT", quote(&self.view));
        let envelope = COLUMNS.map(|(name, _)| name);
        let envelope = envelope.iter().filter(|name| **name != "data");
        let mut separator = "\n  ";
        for name in envelope.clone() {
            text.push_str(&format!("{separator}{}", quote(name)));
            separator = ",\n  ";
        }
        for (member, column) in &self.columns {
            text.push_str(&format!("{separator}{} AS {}", extract(member), quote(column)));
        }
        text.push_str("\nFROM (SELECT");
        for name in envelope {
            text.push_str(&format!(" {},", quote(name)));
        }
        // JSON functions fail on data that is not JSON, and mistake some blobs for SQLite's binary form of JSON.
        text.push_str(&format!(
            "\n  CASE WHEN typeof(\"data\") = 'text' AND json_valid(\"data\") THEN \"data\" END \
             AS \"payload\"\n  FROM {})",
            quote(&self.stream)
        ));
        text
    }
}

/// An SQL expression for the value of a member that has the same meaning in every SQLite since 3.9.
///
/// A path is fast, but versions disagree on names that contain quotes, backslashes or characters that JSON may escape,
/// such as `/` and everything that is not ASCII. Such names are compared as text.
fn extract(member: &str) -> String {
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let plain = |b: u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\' | b'/');
    if !member.is_empty() && member.bytes().all(plain) {
        let path = literal(&format!("$.\"{member}\""));
        format!("json_extract(\"payload\", {path})")
    } else {
        let name = literal(member);
        format!("(SELECT value FROM json_each(\"payload\") WHERE key = {name} LIMIT 1)")
    }
}

/// Collects the names of an object's members that are not known yet.
struct Found<'a> {
    known: &'a HashSet<String>,
    new: Vec<String>,
}

impl<'de> Visitor<'de> for &mut Found<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(Name(self))?.is_some() {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

struct Name<'a, 'b>(&'a mut Found<'b>);

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<(), E> {
        if !self.0.known.contains(name) {
            self.0.new.push(name.to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_its_own_column() {
        let db = database();
        let mut flat = Flat::load(&db, "s").unwrap();
        flat.add_members(br#"{"id":1,"Id":2,"ID":3,"_KINESIS__TS":4,"data":5,"":6,"_":7,"id":8,"id_2":9}"#);
        flat.add_members("{\"true\":1,\"False\":2,\"true_2\":3,\"null\":4,\"É\":5,\"é\":6}".as_bytes());
        let columns: Vec<&str> = flat.columns.iter().map(|(_, column)| &**column).collect();
        assert_eq!(
            columns,
            [
                "id",
                "Id_2",
                "ID_3",
                "_KINESIS__TS_2",
                "data",
                "_",
                "__2",
                "id_2_2",
                "true_2",
                "False_2",
                "true_2_2",
                "null",
                "É",
                "é_2"
            ]
        );
        flat.save(&db).unwrap();
        let again = Flat::load(&db, "s").unwrap();
        assert_eq!(again.columns, flat.columns);
        assert_eq!(again.text, flat.text);
    }

    #[test]
    fn a_column_that_an_earlier_version_gave_a_reserved_name_is_renamed() {
        let db = database();
        db.execute_batch(
            "INSERT INTO _kinesis_members VALUES ('s', 'a', 'a'), ('s', 'true', 'true'), ('s', 'true_2', 'true_2')",
        )
        .unwrap();
        let mut flat = Flat::load(&db, "s").unwrap();
        flat.save(&db).unwrap();
        let columns = |flat: &Flat| flat.columns.iter().map(|(_, column)| column.clone()).collect::<Vec<_>>();
        assert_eq!(columns(&flat), ["a", "true_3", "true_2"]);
        assert_eq!(super::super::names::columns(&db, "s_flat").unwrap()[7..], ["a", "true_3", "true_2"]);
        let again = Flat::load(&db, "s").unwrap();
        assert_eq!((columns(&again), again.saved), (columns(&flat), 3));
    }

    #[test]
    fn only_objects_have_members() {
        let mut flat = Flat::load(&database(), "s").unwrap();
        for payload in [
            "",
            "[]",
            "3",
            "\"x\"",
            "null",
            "{\"a\":1}x",
            "{\"a\":",
            "{\"a\":1,}",
            "{'a':1}",
            "\u{feff}{\"a\":1}",
            "{\"\\ud800\":1}",
        ] {
            flat.add_members(payload.as_bytes());
            assert!(flat.columns.is_empty(), "{payload}");
        }
        flat.add_members(b" {\"a\": {\"b\": 1}}\r\n");
        assert_eq!(flat.columns, [("a".to_owned(), "a".to_owned())]);
    }

    #[test]
    fn names_that_cannot_be_columns_are_left_out() {
        let mut flat = Flat::load(&database(), "s").unwrap();
        let long = "n".repeat(NAME_MAX + 1);
        flat.add_members(format!("{{\"{long}\":1,\"a\\u0000b\":2,\"c\":3}}").as_bytes());
        assert_eq!(flat.columns, [("c".to_owned(), "c".to_owned())]);
    }

    #[test]
    fn the_number_of_members_is_limited() {
        let db = database();
        let mut flat = Flat::load(&db, "s").unwrap();
        let members: Vec<String> = (0..MEMBERS_MAX * 2).map(|n| format!("\"é{n}\":{n}")).collect();
        flat.add_members(format!("{{{}}}", members.join(",")).as_bytes());
        flat.save(&db).unwrap();
        assert_eq!(flat.columns.len(), MEMBERS_MAX);
        let last: Option<i64> = db.query_row("SELECT max(\"é499\") FROM s_flat", [], |row| row.get(0)).unwrap();
        assert_eq!(last, None);
    }

    fn database() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        let columns = COLUMNS.map(|(name, kind)| format!("{} {kind}", quote(name))).join(", ");
        db.execute_batch(&format!(
            "CREATE TABLE s ({columns});
             CREATE TABLE _kinesis_members (stream, member, column_name, PRIMARY KEY (stream, member))"
        ))
        .unwrap();
        db
    }
}
