//! Newline-delimited JSON, to a file or to a stream.
//!
//! The state of a file contains the length that its checkpoint covers. A commit makes the appended messages durable
//! first, then saves the state with the new length. Opening the file cuts off whatever is beyond that length, as it was
//! never committed and will be read again. Each message is therefore in the file exactly once, even after a crash at
//! any time.
//!
//! A commit fails if the file is no longer at its path, or if another program has changed its length.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::batch::{Batch, Destination, Written};
use super::error::{Error, empty_piece, open_error, stream_error};
use crate::files::{is_at, open_or_create, resolve, stat, sync_directory};
use crate::state::{Output, Saved, State};

/// The size of the pieces in which lines are rendered. Larger pieces are not faster, and cost memory.
const PIECE_SIZE: u32 = 1 << 20;

/// A file of lines, and the state that says how much of it is committed.
pub struct NdjsonFile {
    path: PathBuf,
    file: File,
    /// The length of the file.
    length: u64,
    /// The length that is committed.
    committed: u64,
    /// Whether the file did not exist before, and nothing was committed since.
    new: bool,
    broken: bool,
    state: Box<dyn State>,
}

impl NdjsonFile {
    /// Opens the file at `path`, cuts off what is beyond the length in `state`, and locks the file until it is dropped.
    /// A file that is shorter than that is refused, and so is a file with contents that `state` does not cover at all.
    pub fn open(path: &Path, mut state: Box<dyn State>) -> Result<NdjsonFile, Error> {
        let failed = |error| open_error(path.to_owned(), error);
        let shorter = |length, committed| Error::Shorter { path: path.to_owned(), length, committed };
        let resolved = resolve(path).map_err(failed)?;
        let name = resolved.to_string_lossy();
        let committed = match state.load()?.and_then(|saved| saved.output) {
            Some(output) if output.path == name => Some(output.length),
            _ => None,
        };
        // Checked before opening, which would create a missing file.
        let found = stat(&resolved).map_err(failed)?;
        if let (None, Some(committed @ 1..)) = (found, committed) {
            return Err(shorter(None, committed));
        }
        let (file, new) = open_or_create(&resolved, OpenOptions::new().append(true)).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Held { path: path.to_owned(), stream: None, by: None });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let length = file.metadata().map_err(failed)?.len();
        match committed {
            Some(committed) if length < committed => return Err(shorter(Some(length), committed)),
            None if length > 0 => {
                return Err(Error::Unexplained { path: path.to_owned(), length });
            }
            Some(_) | None => {}
        }
        let mut output =
            NdjsonFile { path: resolved, file, length, committed: committed.unwrap_or(0), new, broken: false, state };
        output.cut().map_err(failed)?;
        Ok(output)
    }

    /// Truncates the file to the committed length, unless another program has changed it.
    fn cut(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if self.committed < length && length <= self.length {
            self.file.set_len(self.committed)?;
            self.length = self.committed;
        }
        Ok(())
    }

    /// Fails if the file was removed, replaced or changed.
    fn check(&self) -> Result<(), Error> {
        let path = || self.path.clone();
        if !is_at(&self.file, &self.path) {
            return Err(Error::Replaced { path: path() });
        }
        match self.file.metadata() {
            Ok(found) if found.len() == self.length => Ok(()),
            Ok(_) => Err(Error::Altered { path: path() }),
            Err(error) => Err(Error::Write { path: path(), error }),
        }
    }

    fn append(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        lines(batch, |text| {
            // Counted first, as a failed write may have written a part.
            self.length += text.len() as u64;
            self.file.write_all(text).map_err(|error| Error::Write { path: self.path.clone(), error })
        })
    }

    fn save(&mut self, checkpoint: &str) -> Result<(), Error> {
        let failed = |error| Error::Write { path: self.path.clone(), error };
        if self.length != self.committed {
            self.file.sync_data().map_err(failed)?;
        }
        if self.new {
            sync_directory(&self.path).map_err(failed)?;
        }
        self.check()?;
        // From here on the file is not truncated. If saving the state fails, the new state may have been saved
        // nevertheless, and opening the file the next time goes by whichever state it finds.
        self.committed = self.length;
        self.new = false;
        self.state.save(&Saved {
            checkpoint: checkpoint.to_owned(),
            output: Some(Output { path: self.path.to_string_lossy().into_owned(), length: self.length }),
        })?;
        Ok(())
    }
}

impl Destination for NdjsonFile {
    fn checkpoint(&mut self) -> Result<Option<String>, Error> {
        Ok(self.state.load()?.map(|saved| saved.checkpoint))
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let result = self.check().and_then(|()| self.append(batch));
        if result.is_err() {
            self.broken = true;
            // Removes a torn line. If this fails too, opening the file the next time removes it.
            let _ = self.cut();
        }
        result
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        let result = self.save(checkpoint);
        self.broken = result.is_err();
        result
    }
}

impl Drop for NdjsonFile {
    /// Cuts off what is not committed, and removes a new file that nothing was committed to.
    fn drop(&mut self) {
        let cut = self.cut();
        if cut.is_ok() && self.new && is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        // Closing alone would not release the lock while a child process that is being started shares the file.
        let _ = self.file.unlock();
    }
}

/// Writes lines to a stream, such as standard output. Messages are delivered at least once, as a stream cannot be
/// rolled back.
pub struct NdjsonStream<W> {
    out: W,
    state: Option<Box<dyn State>>,
}

impl<W: Write + Send> NdjsonStream<W> {
    /// Writes to `out`, and keeps the checkpoint in `state`, if given.
    pub fn new(out: W, state: Option<Box<dyn State>>) -> Self {
        NdjsonStream { out, state }
    }
}

impl<W: Write + Send> Destination for NdjsonStream<W> {
    fn checkpoint(&mut self) -> Result<Option<String>, Error> {
        match &mut self.state {
            Some(state) => Ok(state.load()?.map(|saved| saved.checkpoint)),
            None => Ok(None),
        }
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        let written = lines(batch, |text| self.out.write_all(text).map_err(stream_error))?;
        self.out.flush().map_err(stream_error)?;
        Ok(written)
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        self.out.flush().map_err(stream_error)?;
        if let Some(state) = &mut self.state {
            state.save(&Saved { checkpoint: checkpoint.to_owned(), output: None })?;
        }
        Ok(())
    }
}

/// Writes all lines of a batch, piece by piece.
fn lines(batch: &mut dyn Batch, mut write: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<Written, Error> {
    let mut written = Written::default();
    let count = batch.count();
    let mut skip = 0;
    while skip < count {
        let piece = batch.lines(skip, PIECE_SIZE).map_err(Error::Batch)?;
        if piece.count == 0 || piece.count > count - skip {
            return Err(empty_piece(skip, count, batch.shard()));
        }
        write(piece.text.as_bytes())?;
        skip += piece.count;
        written.bytes += piece.text.len() as u64;
        written.invalid += u64::from(piece.invalid);
    }
    written.messages = u64::from(count);
    written.new = written.messages;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::batch::{InvalidLines, Lines, Message};
    use crate::destination::error::BatchError;
    use crate::state::MemoryState;

    #[test]
    fn a_closed_pipe_has_its_own_error() {
        let mut output = NdjsonStream::new(Failing(io::ErrorKind::BrokenPipe), None);
        let error = output.write(&mut Faulty { lines: 1 }).unwrap_err();
        assert!(matches!(error, Error::ClosedPipe), "{error:?}");

        let mut output = NdjsonStream::new(Failing(io::ErrorKind::StorageFull), None);
        let error = output.write(&mut Faulty { lines: 1 }).unwrap_err();
        assert!(matches!(error, Error::Stream(_)), "{error:?}");
        assert!(!error.is_usage_error());
    }

    #[test]
    fn the_checkpoint_of_a_stream_is_saved_after_the_lines() {
        let state = MemoryState::default();
        let mut output = NdjsonStream::new(Vec::new(), Some(Box::new(state.clone())));
        assert_eq!(output.checkpoint().unwrap(), None);
        output.write(&mut Faulty { lines: 1 }).unwrap();
        assert_eq!(state.saved(), None);
        output.commit("{}").unwrap();
        assert_eq!(output.checkpoint().unwrap().as_deref(), Some("{}"));
        assert_eq!(output.out, b"{}\n{}\n{}\n");
    }

    #[test]
    fn a_batch_that_returns_too_few_or_too_many_lines_fails() {
        for lines in [0, 2, 4] {
            let mut output = NdjsonStream::new(Vec::new(), None);
            let error = output.write(&mut Faulty { lines }).unwrap_err();
            assert!(matches!(error, Error::Batch(_)), "{error:?}");
        }
    }

    /// A batch of three messages that always returns this number of lines.
    struct Faulty {
        lines: u32,
    }

    impl Batch for Faulty {
        fn shard(&self) -> &str {
            "shardId-000000000000"
        }

        fn count(&self) -> u32 {
            3
        }

        fn lines(&mut self, _skip: u32, _size: u32) -> Result<Lines, BatchError> {
            Ok(Lines { text: "{}\n".repeat(self.lines as usize), count: self.lines, invalid: 0 })
        }

        fn invalid_lines(&mut self, skip: u32, _size: u32) -> Result<InvalidLines, BatchError> {
            Ok(InvalidLines { next: skip, ..InvalidLines::default() })
        }

        fn messages(&mut self, _skip: u32, _size: u32) -> Result<Vec<Message>, BatchError> {
            Ok(Vec::new())
        }
    }

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
