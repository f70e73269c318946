//! A file beside the destination, for messages whose data could not be put as asked.
//!
//! The destination takes them all the same, as text or as base64; here each stands again, as a line with its reason.
//! The file is made durable before the destination and its checkpoint, so that none is missing there. A crash between
//! the two brings the same messages again, and they are known by their identifiers: what the end of the file holds is
//! not written a second time. A line that was torn is cut off.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Batch, Destination, Error, Written, misplaced};
use crate::files::{is_at, open_or_create, resolve, sync_directory};

/// The bytes of lines asked for at a time.
const PIECE_SIZE: u32 = 1 << 20;

/// How far back the file is searched for what comes again: more than what may wait for a commit, which is 32 MiB, with
/// these lines counted, and a batch of at most 96 MiB, each of whose lines has its reason here.
const TAIL: u64 = 160 << 20;

/// How each line begins.
const HEAD: &[u8] = b"{\"_kinesis\":";

/// A destination, and the file beside it.
pub struct WithInvalidRecords {
    destination: Box<dyn Destination>,
    path: PathBuf,
    file: File,
    /// What the file holds.
    length: u64,
    new: bool,
    /// There is something that is not durable yet.
    dirty: bool,
    broken: bool,
    /// The messages at the end of the file, when it was opened.
    known: HashSet<Key>,
}

/// What a message is known by: its identifier, and with it the time of its arrival, for streams that count alike.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    id: String,
    arrived: String,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "_kinesis")]
    envelope: Envelope,
    #[serde(rename = "_kinesis_msg_id")]
    id: String,
}

#[derive(Deserialize)]
struct Envelope {
    ts: serde_json::Value,
}

impl WithInvalidRecords {
    /// Opens the file at `path`, or makes it, beside `destination`. Other readers are kept from it until it is dropped.
    pub fn open(path: &Path, destination: Box<dyn Destination>) -> Result<WithInvalidRecords, Error> {
        let failed = |error| misplaced(path.to_owned(), error);
        let resolved = resolve(path).map_err(failed)?;
        let options = OpenOptions::new().read(true).append(true).clone();
        let (mut file, new) = open_or_create(&resolved, &options).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Held { path: path.to_owned(), stream: None, by: None });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let Some(known) = look_back(&mut file).map_err(failed)? else {
            return Err(Error::Path { path: path.to_owned(), why: "it holds something else than invalid records" });
        };
        let length = file.metadata().map_err(failed)?.len();
        Ok(WithInvalidRecords { destination, path: resolved, file, length, new, dirty: false, broken: false, known })
    }

    /// Appends the lines of a batch that are not there yet, and counts them all, and their bytes.
    fn append(&mut self, batch: &mut dyn Batch) -> Result<(u64, u64), Error> {
        let (mut skip, mut bad, mut bytes) = (0, 0, 0);
        while skip < batch.count() {
            let piece = batch.invalid_lines(skip, PIECE_SIZE).map_err(Error::Batch)?;
            if piece.next <= skip || piece.next > batch.count() {
                return Err(super::empty_answer(batch, skip));
            }
            skip = piece.next;
            bad += u64::from(piece.count);
            bytes += piece.text.len() as u64;
            let new: String = piece
                .text
                .split_inclusive('\n')
                .filter(|line| !key(line).is_some_and(|key| self.known.contains(&key)))
                .collect();
            if !new.is_empty() {
                self.dirty = true;
                self.length += new.len() as u64;
                self.file.write_all(new.as_bytes()).map_err(|error| self.failed(error))?;
            }
        }
        Ok((bad, bytes))
    }

    /// Makes the lines safe, before the checkpoint is.
    fn save(&mut self) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let saved = self.sync();
        self.broken = saved.is_err();
        saved
    }

    fn sync(&mut self) -> Result<(), Error> {
        if self.dirty {
            self.file.sync_data().map_err(|error| self.failed(error))?;
            if self.new {
                sync_directory(&self.path).map_err(|error| self.failed(error))?;
                self.new = false;
            }
            self.dirty = false;
        }
        if !is_at(&self.file, &self.path) {
            return Err(Error::Replaced { path: self.path.clone() });
        }
        if self.file.metadata().map_err(|error| self.failed(error))?.len() != self.length {
            return Err(Error::Altered { path: self.path.clone() });
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Write { path: self.path.clone(), error }
    }
}

impl Destination for WithInvalidRecords {
    fn checkpoint(&mut self) -> Result<Option<String>, Error> {
        self.destination.checkpoint()
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let written = self.destination.write(batch)?;
        let bad = self.append(batch);
        self.broken = bad.is_err();
        let (invalid, bytes) = bad?;
        Ok(Written { invalid, bytes: written.bytes + bytes, ..written })
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        self.save()?;
        self.destination.commit(checkpoint)
    }

    fn commit_changes(&mut self, changes: &str) -> Result<bool, Error> {
        self.save()?;
        self.destination.commit_changes(changes)
    }
}

impl Drop for WithInvalidRecords {
    /// Leaves no empty file of a reader that had nothing to put into it.
    fn drop(&mut self) {
        if self.new && is_at(&self.file, &self.path) && self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
        // Closing is not enough while a child that is about to start shares the file.
        let _ = self.file.unlock();
    }
}

/// Cuts off a torn line, and gives the messages at the end of the file. None: it begins or ends with something else.
fn look_back(file: &mut File) -> io::Result<Option<HashSet<Key>>> {
    let mut head = Vec::new();
    file.rewind()?;
    Read::by_ref(file).take(HEAD.len() as u64).read_to_end(&mut head)?;
    if !HEAD.starts_with(&head) {
        return Ok(None);
    }
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    Read::by_ref(file).take(TAIL).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let torn = tail.get(whole..).unwrap_or_default();
    if !torn.is_empty() {
        if !torn.starts_with(HEAD) && !HEAD.starts_with(torn) {
            return Ok(None);
        }
        file.set_len(start + whole as u64)?;
        tail.truncate(whole);
    }
    let lines = tail.split(|byte| *byte == b'\n');
    Ok(Some(lines.filter_map(|line| key(str::from_utf8(line).ok()?)).collect()))
}

fn key(line: &str) -> Option<Key> {
    let Line { envelope, id } = serde_json::from_str(line).ok()?;
    Some(Key { id, arrived: envelope.ts.to_string() })
}
