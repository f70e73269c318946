//! Newline-delimited JSON, to a file or to a stream.
//!
//! A file is kept in step with its state. The state names the length that is safe: messages are
//! appended and made durable first, then the state is saved with the new length. What lies beyond
//! that length when the file is opened was never safe, will be read again, and is cut off. So each
//! message is there once, whatever dies when.
//!
//! Lines are safe only if the file is still at its path and no other program has changed it. Both are
//! checked before a state is saved.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Batch, Destination, Error, Written, empty_answer, misplaced};
use crate::files::{is_at, look, open_or_create, resolve, sync_directory};
use crate::state::{Output, Saved, State};

/// The bytes of lines asked for at a time. Larger pieces gain nothing and cost fresh memory.
const PIECE_SIZE: u32 = 1 << 20;

/// A file of lines, and the state that says how much of it is safe.
pub struct NdjsonFile {
    path: PathBuf,
    file: File,
    /// What the file holds.
    length: u64,
    /// What of it is to stay if nothing more is committed.
    safe: u64,
    /// The file was not there before, and no state names it.
    new: bool,
    broken: bool,
    state: Box<dyn State>,
}

impl NdjsonFile {
    /// Opens the file at `path`, and cuts off what is beyond the length that `state` names. Other
    /// readers are kept from it until it is dropped. A file with lines that `state` does not
    /// account for is refused, and so is one that has fewer than it accounts for.
    pub fn open(path: &Path, mut state: Box<dyn State>) -> Result<NdjsonFile, Error> {
        let failed = |error| misplaced(path.to_owned(), error);
        let shorter = |length, safe| Error::Shorter { path: path.to_owned(), length, safe };
        let resolved = resolve(path).map_err(failed)?;
        let name = resolved.to_string_lossy();
        let safe = match state.load()?.and_then(|saved| saved.output) {
            Some(output) if output.path == name => Some(output.length),
            _ => None,
        };
        // Checked before opening, which creates a missing file.
        let found = look(&resolved).map_err(failed)?;
        if let (None, Some(safe @ 1..)) = (found, safe) {
            return Err(shorter(None, safe));
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
        match safe {
            Some(safe) if length < safe => return Err(shorter(Some(length), safe)),
            None if length > 0 => {
                return Err(Error::Unexplained { path: path.to_owned(), length });
            }
            Some(_) | None => {}
        }
        let mut output =
            NdjsonFile { path: resolved, file, length, safe: safe.unwrap_or(0), new, broken: false, state };
        output.cut().map_err(failed)?;
        Ok(output)
    }

    /// Truncates the file to what is safe, unless another program has changed it.
    fn cut(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if self.safe < length && length <= self.length {
            self.file.set_len(self.safe)?;
            self.length = self.safe;
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
            // Counted first, as a write that fails may have written some.
            self.length += text.len() as u64;
            self.file.write_all(text).map_err(|error| Error::Write { path: self.path.clone(), error })
        })
    }

    fn save(&mut self, checkpoint: &str) -> Result<(), Error> {
        let failed = |error| Error::Write { path: self.path.clone(), error };
        if self.length != self.safe {
            self.file.sync_data().map_err(failed)?;
        }
        if self.new {
            sync_directory(&self.path).map_err(failed)?;
        }
        self.check()?;
        // From here on the file is not cut: a state that could not be saved for certain may have
        // been saved all the same, and the next opening goes by what it finds.
        self.safe = self.length;
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
            // A torn line may be at the end. If this fails too, the next opening cuts it.
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
    /// Leaves what is safe, and no empty file of a reader that came to nothing.
    fn drop(&mut self) {
        let cut = self.cut();
        if cut.is_ok() && self.new && is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        // Closing is not enough while a child that is about to start shares the file.
        let _ = self.file.unlock();
    }
}

/// Lines to a stream, such as standard output: at least once, as what was written cannot be taken
/// back.
pub struct NdjsonStream<W> {
    out: W,
    state: Option<Box<dyn State>>,
}

impl<W: Write + Send> NdjsonStream<W> {
    /// Writes to `out`, and keeps the checkpoint in `state` if there is one.
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

/// Asks for all lines of a batch, piece by piece.
fn lines(batch: &mut dyn Batch, mut write: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<Written, Error> {
    let mut written = Written::default();
    let count = batch.count();
    let mut skip = 0;
    while skip < count {
        let piece = batch.lines(skip, PIECE_SIZE).map_err(Error::Batch)?;
        if piece.count == 0 || piece.count > count - skip {
            return Err(empty_answer(batch, skip));
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

pub(crate) fn stream_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::ClosedPipe,
        _ => Error::Stream(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::{BatchError, InvalidLines, Lines, Message};
    use crate::state::MemoryState;

    #[test]
    fn a_closed_pipe_has_a_name_of_its_own() {
        let mut output = NdjsonStream::new(Failing(io::ErrorKind::BrokenPipe), None);
        let error = output.write(&mut Odd { lines: 1 }).unwrap_err();
        assert!(matches!(error, Error::ClosedPipe), "{error:?}");

        let mut output = NdjsonStream::new(Failing(io::ErrorKind::StorageFull), None);
        let error = output.write(&mut Odd { lines: 1 }).unwrap_err();
        assert!(matches!(error, Error::Stream(_)), "{error:?}");
        assert!(!error.is_usage_error());
    }

    #[test]
    fn the_checkpoint_of_a_stream_is_saved_after_the_lines() {
        let state = MemoryState::default();
        let mut output = NdjsonStream::new(Vec::new(), Some(Box::new(state.clone())));
        assert_eq!(output.checkpoint().unwrap(), None);
        output.write(&mut Odd { lines: 1 }).unwrap();
        assert_eq!(state.saved(), None);
        output.commit("{}").unwrap();
        assert_eq!(output.checkpoint().unwrap().as_deref(), Some("{}"));
        assert_eq!(output.out, b"{}\n{}\n{}\n");
    }

    #[test]
    fn a_batch_that_gives_nothing_or_too_much_ends_the_write() {
        for lines in [0, 2, 4] {
            let mut output = NdjsonStream::new(Vec::new(), None);
            let error = output.write(&mut Odd { lines }).unwrap_err();
            assert!(matches!(error, Error::Batch(_)), "{error:?}");
        }
    }

    /// A batch of three messages that gives `lines` of them at a time, whatever there is.
    struct Odd {
        lines: u32,
    }

    impl Batch for Odd {
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
