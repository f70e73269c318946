//! A file for invalid records, beside the destination.
//!
//! The destination gets invalid records too, as text or base64. This file gets each of them as a line with the reason.
//! It is made durable before the destination and the checkpoint, so no invalid record is missing from it. After a crash
//! between the two, the same messages are delivered again. They are recognized by their message ids, which are read
//! from the end of the file, and are not written twice. A torn line at the end is cut off.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::batch::{Batch, Destination, Written};
use super::error::{Error, empty_piece, open_error};
use crate::files::{is_at, open_or_create, resolve, sync_directory};

/// The size of the pieces in which lines are rendered.
const PIECE_SIZE: u32 = 1 << 20;

/// How much of the end of the file is searched for messages that may be repeated. These are at most the uncommitted
/// ones, which are up to 32 MiB including the lines here, and one batch of up to 96 MiB, whose lines are longer here by
/// the reason.
const END_SIZE: u64 = 160 << 20;

/// The beginning of every line.
const LINE_START: &[u8] = b"{\"_kinesis\":";

/// A destination with a file for invalid records.
pub struct WithInvalidRecords {
    destination: Box<dyn Destination>,
    path: PathBuf,
    file: File,
    /// The length of the file.
    length: u64,
    /// Whether the file did not exist before, and its directory has not been synced since.
    new: bool,
    /// Whether the file has contents that are not durable yet.
    dirty: bool,
    broken: bool,
    /// The messages at the end of the file when it was opened.
    known: HashSet<Key>,
}

/// Identifies a message: by its message id, and by its arrival time in case two streams use the same sequence numbers.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    id: String,
    arrived: String,
}

/// The parts of a line that identify its message.
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
    /// Opens or creates the file at `path`, and locks it until it is dropped.
    pub fn open(path: &Path, destination: Box<dyn Destination>) -> Result<WithInvalidRecords, Error> {
        let failed = |error| open_error(path.to_owned(), error);
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
        let Some(known) = read_end(&mut file).map_err(failed)? else {
            return Err(Error::Path { path: path.to_owned(), why: "it holds something other than invalid records" });
        };
        let length = file.metadata().map_err(failed)?.len();
        Ok(WithInvalidRecords { destination, path: resolved, file, length, new, dirty: false, broken: false, known })
    }

    /// Appends the lines of a batch that are not in the file yet. Returns the number of all its lines, and their
    /// length.
    fn append(&mut self, batch: &mut dyn Batch) -> Result<(u64, u64), Error> {
        let (mut skip, mut invalid, mut bytes) = (0, 0, 0);
        while skip < batch.count() {
            let piece = batch.invalid_lines(skip, PIECE_SIZE).map_err(Error::Batch)?;
            if piece.next <= skip || piece.next > batch.count() {
                return Err(empty_piece(skip, batch.count(), batch.shard()));
            }
            skip = piece.next;
            invalid += u64::from(piece.count);
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
        Ok((invalid, bytes))
    }

    /// Makes the lines durable. Called before each commit of the destination.
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
        let appended = self.append(batch);
        self.broken = appended.is_err();
        let (invalid, bytes) = appended?;
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
    /// Removes a new file if it is still empty.
    fn drop(&mut self) {
        if self.new && is_at(&self.file, &self.path) && self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
        // Closing alone would not release the lock while a child process that is being started shares the file.
        let _ = self.file.unlock();
    }
}

/// Cuts off a torn line, and returns the messages at the end of the file. `None` if it does not contain invalid
/// records.
fn read_end(file: &mut File) -> io::Result<Option<HashSet<Key>>> {
    let mut head = Vec::new();
    file.rewind()?;
    Read::by_ref(file).take(LINE_START.len() as u64).read_to_end(&mut head)?;
    if !LINE_START.starts_with(&head) {
        return Ok(None);
    }
    let length = file.metadata()?.len();
    let start = length.saturating_sub(END_SIZE);
    file.seek(SeekFrom::Start(start))?;
    let mut tail = Vec::new();
    Read::by_ref(file).take(END_SIZE).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    let torn = tail.get(whole..).unwrap_or_default();
    if !torn.is_empty() {
        if !torn.starts_with(LINE_START) && !LINE_START.starts_with(torn) {
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
