//! A SQLite database: a table for each stream, and with it, in the same transaction, the stream's
//! checkpoint.
//!
//! What was written and what the checkpoint says were read therefore never differ, so each message
//! is there once, whatever dies when. A message that comes again, because a checkpoint kept
//! elsewhere was older, is known by its identifier and left as it is.
//!
//! Two readers of one stream would each load what the other has loaded. The lock keeps the second
//! out with clear words. Where locks do not work, as on some network file systems, the revision
//! of the checkpoint does: who finds another than it left gives up, and its transaction with it.
//!
//! SQLite commits to a database that was removed or replaced without complaint. So before and after
//! each commit, the database and its write-ahead log must still be at their paths.

mod flat;
mod positions;
mod schema;

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::{Batch, Destination, Error, Message, Written, empty_answer, misplaced};
use crate::files::apart::companions;
use crate::files::{Identity, look, resolve};
use crate::state;
use crate::state::lock::{Lock, LockError};
use flat::Flat;

pub use flat::MEMBERS_MAX;
pub(crate) use positions::read as read_checkpoint;
pub(crate) use schema::{columns, quote};

/// The bytes of messages asked for at a time: enough that a call costs nothing, and a batch is not
/// held twice.
const PIECE_SIZE: u32 = 256 << 10;

/// How long to wait while another program writes to the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The pages of the database kept in memory, in KiB. Identifiers are spread over the whole index,
/// so the more of it is here, the less is read.
const CACHE_KIB: i64 = 64 << 10;

/// The pages of the log of writes at which they go to the database: 32 MiB. Identifiers being
/// spread, each commit touches much of the index, and the longer the log, the more writes to one
/// page become one.
const LOG_PAGES: i64 = 8192;

/// One stream's table in a database.
pub struct Sqlite {
    path: PathBuf,
    stream: String,
    /// None: there is no database yet, and nothing to make one for.
    store: Option<Store>,
    broken: bool,
    // The last field, so that the database is closed before another may open it.
    _lock: Lock,
}

impl Sqlite {
    /// Opens the database at `path` for the messages of `stream`, and keeps other readers of that
    /// stream from it until it is dropped. The file need not be there: it is made when there is
    /// something to put into it.
    pub fn open(path: &Path, stream: &str) -> Result<Sqlite, Error> {
        if path == Path::new(":memory:") {
            return Err(Error::InMemory);
        }
        schema::check_name(path, stream)?;
        let resolved = resolve(path).map_err(|error| misplaced(path.to_owned(), error))?;
        let exists = look_around(path, &resolved)?;
        let lock = Lock::take(&resolved, stream).map_err(|error| match error {
            LockError::Held { by } => Error::Held { path: path.to_owned(), stream: Some(stream.to_owned()), by },
            LockError::Taken { path, why } => Error::State(state::Error::Lock { path, why }),
            LockError::Io(error) => misplaced(path.to_owned(), error),
        })?;
        let mut sqlite = Sqlite { path: resolved, stream: stream.to_owned(), store: None, broken: false, _lock: lock };
        if exists {
            sqlite.store()?;
        }
        Ok(sqlite)
    }

    /// The checkpoint of `stream` in the database at `path`, for one who only looks: readers are
    /// not kept from it, and nothing is made.
    pub fn peek(path: &Path, stream: &str) -> Result<Option<String>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let db = open_read_only(path)?;
        let failed = |error| database_error(path, "read", error);
        if columns(&db, schema::CHECKPOINTS).map_err(failed)?.is_empty() {
            return Ok(None);
        }
        read_checkpoint(&db, stream).map_err(failed)
    }

    fn store(&mut self) -> Result<&mut Store, Error> {
        if self.broken {
            return Err(Error::Broken);
        }
        match &mut self.store {
            Some(store) => Ok(store),
            none => Ok(none.insert(Store::open(&self.path, &self.stream)?)),
        }
    }

    /// Undoes what a failure left half done.
    fn guard<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if result.is_err() {
            self.broken = true;
            // Closing the database rolls back.
            self.store = None;
        }
        result
    }
}

impl Destination for Sqlite {
    fn checkpoint(&mut self) -> Result<Option<String>, Error> {
        match &self.store {
            Some(store) => store.checkpoint(),
            None => Ok(None),
        }
    }

    /// The transaction is open from the first write until the commit, and the database is closed
    /// to other writers for that time: commit before waiting for anything. Several batches to a
    /// commit are quicker than one by two times and more.
    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        let result = self.store().and_then(|store| store.write(batch));
        self.guard(result)
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        let result = self.store().and_then(|store| store.commit(checkpoint));
        self.guard(result)
    }

    fn commit_changes(&mut self, changes: &str) -> Result<bool, Error> {
        let result = self.store().and_then(|store| store.commit_changes(changes));
        self.guard(result)
    }
}

/// The database, open.
struct Store {
    path: PathBuf,
    stream: String,
    db: Connection,
    /// The files when they were opened.
    identities: Identities,
    insert: String,
    /// The revision of the checkpoint as this reader left it. None: there is none.
    revision: Option<i64>,
    /// The positions are those of this reader's last commit, so that changes can be made to them.
    has_positions: bool,
    flat: Flat,
    times: Times,
}

impl Store {
    fn open(path: &Path, stream: &str) -> Result<Store, Error> {
        let access = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let failed = |error| database_error(path, "open", error);
        let db = Connection::open_with_flags(path, flags).map_err(failed)?;
        // A file that may not be written is opened all the same, and would fail at the first write.
        if db.is_readonly("main").map_err(failed)? {
            return Err(Error::Write { path: path.to_owned(), error: io::ErrorKind::PermissionDenied.into() });
        }
        prepare(&db).map_err(failed)?;
        let times = Times::default();
        let flat = schema::set_up(&db, path, stream)?;
        let revision = db
            .query_row("SELECT revision FROM _kinesis_checkpoints WHERE stream = ?1", [stream], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        Ok(Store {
            path: path.to_owned(),
            identities: Identities::of(path),
            stream: stream.to_owned(),
            insert: schema::insert(stream),
            db,
            revision,
            has_positions: false,
            flat,
            times,
        })
    }

    fn checkpoint(&self) -> Result<Option<String>, Error> {
        read_checkpoint(&self.db, &self.stream).map_err(|error| database_error(&self.path, "read", error))
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        let path = &self.path;
        let failed = |error| database_error(path, "write to", error);
        begin(&self.db).map_err(failed)?;
        let mut insert = self.db.prepare_cached(&self.insert).map_err(failed)?;
        let mut written = Written::default();
        let count = batch.count();
        let mut skip = 0;
        while skip < count {
            let messages = batch.messages(skip, PIECE_SIZE).map_err(Error::Batch)?;
            let taken = u32::try_from(messages.len()).unwrap_or(u32::MAX);
            if taken == 0 || taken > count - skip {
                return Err(empty_answer(batch, skip));
            }
            skip += taken;
            for message in &messages {
                let data = value(&message.data);
                let new = insert
                    .execute(params![
                        message.id,
                        batch.shard(),
                        message.sequence,
                        message.subsequence,
                        self.times.text(message.arrived),
                        message.partition_key,
                        self.stream,
                        ToSqlOutput::Borrowed(data),
                    ])
                    .map_err(failed)?;
                written.bytes += row_size(message, batch.shard(), &self.stream);
                written.new += new as u64;
                if let (1.., ValueRef::Text(text)) = (new, data) {
                    self.flat.note(text);
                }
            }
        }
        written.messages = u64::from(count);
        Ok(written)
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        let failed = |error| database_error(&self.path, "write to", error);
        begin(&self.db).map_err(failed)?;
        let (head, has_positions) = positions::replace(&self.db, &self.stream, checkpoint).map_err(failed)?;
        self.finish(&head)?;
        self.has_positions = has_positions;
        Ok(())
    }

    fn commit_changes(&mut self, changes: &str) -> Result<bool, Error> {
        if !self.has_positions {
            return Ok(false);
        }
        let failed = |error| database_error(&self.path, "write to", error);
        begin(&self.db).map_err(failed)?;
        match positions::change(&self.db, &self.stream, changes).map_err(failed)? {
            Some(head) => self.finish(&head).map(|()| true),
            None => Ok(false),
        }
    }

    /// Ends the transaction, in which the positions are written, with the row of the stream.
    fn finish(&mut self, checkpoint: &str) -> Result<(), Error> {
        let failed = |error| database_error(&self.path, "write to", error);
        self.flat.save(&self.db).map_err(failed)?;
        let revision = self.revision.unwrap_or(0) + 1;
        let now = now();
        let changed = match self.revision {
            None => self.db.execute(
                "INSERT INTO _kinesis_checkpoints (stream, revision, checkpoint, updated_at) \
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT (stream) DO NOTHING",
                params![self.stream, revision, checkpoint, now],
            ),
            Some(before) => self.db.execute(
                "UPDATE _kinesis_checkpoints SET revision = ?2, checkpoint = ?3, updated_at = ?4 \
                 WHERE stream = ?1 AND revision = ?5",
                params![self.stream, revision, checkpoint, now, before],
            ),
        }
        .map_err(failed)?;
        if changed != 1 {
            return Err(Error::Overtaken { path: self.path.clone(), stream: self.stream.clone() });
        }
        self.check()?;
        self.db.execute_batch("COMMIT").map_err(failed)?;
        // A state that is kept elsewhere must not be saved if this commit went nowhere.
        self.check()?;
        self.revision = Some(revision);
        Ok(())
    }

    /// Fails if the database or its write-ahead log was removed or replaced.
    fn check(&self) -> Result<(), Error> {
        let there = Identities::of(&self.path);
        let Identities { database, log } = self.identities;
        // A log that did not exist when the database was opened may have been created since.
        if there.database != database || (log.is_some() && there.log != log) {
            return Err(Error::Replaced { path: self.path.clone() });
        }
        Ok(())
    }
}

/// The identities of a database's files.
struct Identities {
    database: Option<Identity>,
    /// The write-ahead log. `None` if there is none, for example because the file system does not support it.
    log: Option<Identity>,
}

impl Identities {
    fn of(path: &Path) -> Identities {
        let [(_, log), ..] = companions(path);
        Identities { database: Identity::at(path), log: Identity::at(&log) }
    }
}

/// Whether there is a database at `path`. The files that SQLite opens next to it must be regular files too, as it would
/// block on a pipe.
fn look_around(path: &Path, resolved: &Path) -> Result<bool, Error> {
    let exists = look(resolved).map_err(|error| misplaced(path.to_owned(), error))?.is_some();
    for (_, companion) in companions(resolved) {
        look(&companion).map_err(|error| misplaced(companion.clone(), error))?;
    }
    Ok(exists)
}

/// Opens a database to look at it.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, Error> {
    let resolved = resolve(path).map_err(|error| misplaced(path.to_owned(), error))?;
    if !look_around(path, &resolved)? {
        return Err(Error::Path { path: path.to_owned(), why: "there is no such file" });
    }
    let open = |name: &Path, access| {
        let access = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let db = Connection::open_with_flags(name, access)?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.pragma_update(None, "query_only", true)?;
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(db)
    };
    let mut log = resolved.clone().into_os_string();
    log.push("-wal");
    // Who reads makes a log of writes and its index where there is none, and only who may write
    // can remove them again.
    let access =
        if Path::new(&log).exists() { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    open(&resolved, access)
        .or_else(|error: rusqlite::Error| {
            let barred = matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly));
            if !barred || Path::new(&log).exists() {
                return Err(error);
            }
            // Where none may be made the file is all there is, and nobody writes it.
            let uri = immutable(&resolved);
            let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            open(Path::new(&uri), access)
        })
        .map_err(|error| database_error(path, "read", error))
}

/// The address of a file that nobody writes.
fn immutable(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                uri.push(char::from(*byte));
            }
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// An error of SQLite's, by what it means to the user.
pub(crate) fn database_error(path: &Path, doing: &'static str, error: rusqlite::Error) -> Error {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => Error::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => Error::Corrupt { path, why: error.to_string() },
        _ => Error::Database { path, doing, error },
    }
}

pub(super) fn hint(error: &rusqlite::Error) -> Option<&'static str> {
    match error.sqlite_error_code()? {
        ErrorCode::DiskFull => Some("make room and run again: it goes on from the last checkpoint"),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => {
            Some("make the file and its directory writable, or give another path")
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Some("another program is writing to the database; wait until it is done")
        }
        ErrorCode::SystemIoFailure => {
            Some("see that the disk is well and has room, and run again: it goes on from the last checkpoint")
        }
        _ => None,
    }
}

fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    // The first look at the file: says whether it is a database.
    db.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
    // Readers of the database and the writer do not wait for each other. Where the file system
    // cannot do it SQLite stays with what it can, which is as safe.
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // The reader is told that messages are safe, and a checkpoint may be kept elsewhere: both must
    // outlive a loss of power.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)
}

/// Begins a transaction if none is open, as its only writer from the start.
fn begin(db: &Connection) -> rusqlite::Result<()> {
    if db.is_autocommit() {
        db.execute_batch("BEGIN IMMEDIATE")?;
    }
    Ok(())
}

/// The bytes of a row, of which the data may be the least.
fn row_size(message: &Message, shard: &str, stream: &str) -> u64 {
    let key = message.partition_key.as_ref().map_or(0, String::len);
    let texts = message.id.len() + shard.len() + message.sequence.len() + key + stream.len();
    (texts + "2026-11-23T15:09:35.129Z".len() + message.data.len()) as u64
}

/// Text as text, so that people can read it and JSON functions work on it; all else as it is.
/// SQLite leaves open what its functions make of text with a NUL in it, so that is no text here.
fn value(data: &[u8]) -> ValueRef<'_> {
    match str::from_utf8(data) {
        Ok(_) if !data.contains(&0) => ValueRef::Text(data),
        _ => ValueRef::Blob(data),
    }
}

fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Times::default().text(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)).to_owned()
}

/// Times as text: RFC 3339 in UTC with milliseconds. Messages come by the second, so the second is
/// kept.
#[derive(Default)]
struct Times {
    second: Option<u64>,
    text: String,
}

impl Times {
    /// Times past the year 9999, which RFC 3339 has no form for, become its end.
    fn text(&mut self, ms: u64) -> &str {
        let second = ms / 1000;
        if self.second != Some(second) {
            let time = i64::try_from(second).map(Timestamp::from_second);
            let time = time.ok().and_then(Result::ok).unwrap_or(Timestamp::MAX);
            self.text = time.to_string();
            self.second = Some(second);
        }
        self.text.truncate("2026-11-23T15:09:35".len());
        let _ = write!(self.text, ".{:03}Z", ms % 1000);
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        let mut times = Times::default();
        assert_eq!(times.text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(times.text(1_763_900_000_123), "2025-11-23T12:13:20.123Z");
        assert_eq!(times.text(1_763_900_000_007), "2025-11-23T12:13:20.007Z");
        assert!(times.text(u64::MAX).starts_with("9999-12-30T"));
    }

    #[test]
    fn text_is_what_has_no_nul_in_it() {
        assert_eq!(value("é".as_bytes()), ValueRef::Text("é".as_bytes()));
        assert_eq!(value(b""), ValueRef::Text(b""));
        assert_eq!(value(b"a\0b"), ValueRef::Blob(b"a\0b"));
        assert_eq!(value(b"\xff"), ValueRef::Blob(b"\xff"));
    }
}
