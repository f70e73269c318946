//! A fake batch, and a temporary directory with helpers to inspect it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use kinesis_reader::cli::show::show;
use kinesis_reader::destination::{Batch, BatchError, Error, InvalidLines, Lines, Message, NdjsonFile};
use kinesis_reader::state::FileState;
use rusqlite::Connection;
use rusqlite::types::Value;
use tempfile::TempDir;

/// A batch of one shard, which returns a few messages at a time, whatever size is requested.
pub(crate) struct Fake {
    messages: Vec<Message>,
    pub(crate) fails_at: Option<u32>,
}

impl Fake {
    pub(crate) fn new(messages: impl IntoIterator<Item = Message>) -> Fake {
        Fake { messages: messages.into_iter().collect(), fails_at: None }
    }

    pub(crate) fn of(payloads: &[&str]) -> Fake {
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
            invalid: messages.len() as u32,
        })
    }

    fn invalid_lines(&mut self, skip: u32, _size: u32) -> Result<InvalidLines, BatchError> {
        let next = (skip + 2).min(self.count());
        // Every third record is invalid.
        let invalid = (skip..next).filter(|n| n % 3 == 0).map(|n| &self.messages[n as usize]);
        let line = |m: &Message| {
            let line = serde_json::json!({"_kinesis": {"ts": m.arrived}, "_kinesis_msg_id": m.id, "data": "x"});
            line.to_string() + "\n"
        };
        let lines: Vec<String> = invalid.map(line).collect();
        Ok(InvalidLines { text: lines.concat(), count: lines.len() as u32, next })
    }

    fn messages(&mut self, skip: u32, _size: u32) -> Result<Vec<Message>, BatchError> {
        self.some(skip, 7).map(<[_]>::to_vec)
    }
}

pub(crate) fn batch(numbers: std::ops::Range<u64>) -> Fake {
    Fake::new(numbers.map(|n| message(n, format!("{{\"id\":{n}}}").as_bytes())))
}

pub(crate) fn message(n: u64, data: &[u8]) -> Message {
    Message {
        id: format!("id-{n:08}"),
        sequence: format!("4968{n:052}"),
        subsequence: None,
        partition_key: Some("key".to_owned()),
        arrived: 1_763_900_000_000 + n,
        data: data.to_vec(),
    }
}

pub(crate) fn ids(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| format!("id-{n:08}")).collect()
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub(crate) fn shown(path: &Path) -> String {
    let mut out = Vec::new();
    show(path, 100, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

pub(crate) fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Dir {
        Dir(TempDir::new().unwrap())
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn length(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).unwrap().len()
    }

    pub(crate) fn ndjson(&self, name: &str) -> Result<NdjsonFile, Error> {
        let state = FileState::open(&self.path(&format!("{name}.state.json")))?;
        NdjsonFile::open(&self.path(name), Box::new(state))
    }

    pub(crate) fn ids(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["_kinesis_msg_id"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    /// The number of rows, as another program sees them.
    pub(crate) fn count(&self, name: &str, table: &str) -> u64 {
        let db = Connection::open(self.path(name)).unwrap();
        let sql = format!("SELECT count(*) FROM \"{table}\"");
        db.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64
    }
}
