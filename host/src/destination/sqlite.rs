//! A SQLite database, with a table for each stream and the stream's checkpoint.
//!
//! Messages and checkpoint are committed in one transaction, so each message is in the table exactly once, even after a
//! crash at any time. If a checkpoint that is kept elsewhere is older than the table, messages are delivered again.
//! They are recognized by their message ids, and the rows stay as they are.
//!
//! Two readers of one stream would both read every message. A lock refuses the second one with a clear message. If
//! locks do not work, as on some network file systems, the revision of the checkpoint detects it: a reader that finds a
//! revision other than its own fails, and its transaction is rolled back.
//!
//! SQLite commits to a database that was removed or replaced without reporting an error. So before and after each
//! commit, the database and its write-ahead log must still be at their paths.

mod flat;
mod names;
mod positions;
mod schema;
mod times;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};

use super::batch::{Batch, Destination, Message, Written};
use super::error::{Error, database_error, empty_piece, open_error};
use crate::files::{Identity, resolve, stat};
use crate::state;
use crate::state::lock::{Lock, LockError};
use flat::Flat;
use names::CHECKPOINTS;
use times::Times;

pub use flat::MEMBERS_MAX;
pub(crate) use names::{columns, quote};
pub(crate) use positions::read as read_checkpoint;

/// The size of the pieces in which messages are taken from a batch: large enough that the cost of a call does not
/// matter, and small enough that the memory does not matter either.
const PIECE_SIZE: u32 = 256 << 10;

/// How long to wait while another program writes to the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The size of the page cache in KiB. Message ids are spread over the whole index, so the more of it is cached, the
/// less has to be read.
const CACHE_KIB: i64 = 64 << 10;

/// The size of the write-ahead log at which it is checkpointed into the database, in pages: 32 MiB. As message ids are
/// spread, each commit changes many pages of the index, and the longer the log, the more changes to a page are merged
/// into one write.
const LOG_PAGES: i64 = 8192;

/// One stream's table in a database.
pub struct Sqlite {
    path: PathBuf,
    stream: String,
    /// `None` until there is something to write to a new database.
    store: Option<Store>,
    broken: bool,
    // The last field, so that the database is closed before the lock is released.
    _lock: Lock,
}

impl Sqlite {
    /// Opens the database at `path` for the messages of `stream`, and locks that stream until it is dropped. The file
    /// need not exist: it is created when there is something to write.
    pub fn open(path: &Path, stream: &str) -> Result<Sqlite, Error> {
        if path == Path::new(":memory:") {
            return Err(Error::InMemory);
        }
        schema::check_name(path, stream)?;
        let resolved = resolve(path).map_err(|error| open_error(path.to_owned(), error))?;
        let exists = check_files(path, &resolved)?;
        let lock = Lock::take(&resolved, stream).map_err(|error| match error {
            LockError::Held { by } => Error::Held { path: path.to_owned(), stream: Some(stream.to_owned()), by },
            LockError::Taken { path, why } => Error::State(state::Error::Lock { path, why }),
            LockError::Io(error) => open_error(path.to_owned(), error),
        })?;
        let mut sqlite = Sqlite { path: resolved, stream: stream.to_owned(), store: None, broken: false, _lock: lock };
        if exists {
            sqlite.store()?;
        }
        Ok(sqlite)
    }

    /// Reads the checkpoint of `stream` in the database at `path`, without locking or creating anything.
    pub fn peek(path: &Path, stream: &str) -> Result<Option<String>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let db = open_read_only(path)?;
        let failed = |error| database_error(path, "read", error);
        if columns(&db, CHECKPOINTS).map_err(failed)?.is_empty() {
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

    /// Rolls back after a failure.
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

    /// The transaction is open from the first write until the commit, and no other program can write to the database in
    /// that time, so commit before waiting for anything. Several batches per commit are at least twice as fast as one.
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

/// An open database.
struct Store {
    path: PathBuf,
    stream: String,
    db: Connection,
    /// The database's files, as they were opened.
    identities: Identities,
    insert: String,
    /// The revision of the checkpoint that this reader read or wrote last. `None` if there is no checkpoint.
    revision: Option<i64>,
    /// Whether the stored positions are those of this reader's last commit, so that they can be updated one by one.
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
        // SQLite opens a file without write permission too, and would fail at the first write.
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
                return Err(empty_piece(skip, count, batch.shard()));
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
                    self.flat.add_members(text);
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
        match positions::update(&self.db, &self.stream, changes).map_err(failed)? {
            Some(head) => self.finish(&head).map(|()| true),
            None => Ok(false),
        }
    }

    /// Writes the row of the stream, and commits the transaction, which contains the positions already.
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
        // If the database is gone, a state that is kept elsewhere must not be saved.
        self.check()?;
        self.revision = Some(revision);
        Ok(())
    }

    /// Fails if the database or its write-ahead log was removed or replaced.
    fn check(&self) -> Result<(), Error> {
        let current = Identities::of(&self.path);
        let Identities { database, log } = self.identities;
        // A log that did not exist when the database was opened may have been created since.
        if current.database != database || (log.is_some() && current.log != log) {
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
fn check_files(path: &Path, resolved: &Path) -> Result<bool, Error> {
    let exists = stat(resolved).map_err(|error| open_error(path.to_owned(), error))?.is_some();
    for (_, companion) in companions(resolved) {
        stat(&companion).map_err(|error| open_error(companion.clone(), error))?;
    }
    Ok(exists)
}

/// The files that SQLite keeps next to a database, whose path must be resolved.
pub(crate) fn companions(database: &Path) -> [(&'static str, PathBuf); 3] {
    [("write-ahead log", "-wal"), ("shared memory", "-shm"), ("journal", "-journal")].map(|(what, ending)| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        (what, PathBuf::from(path))
    })
}

/// Opens a database for reading.
pub(crate) fn open_read_only(path: &Path) -> Result<Connection, Error> {
    let resolved = resolve(path).map_err(|error| open_error(path.to_owned(), error))?;
    if !check_files(path, &resolved)? {
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
    // Reading creates the write-ahead log and its index if they are missing, and only a connection that can write
    // removes them again.
    let access =
        if Path::new(&log).exists() { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    open(&resolved, access)
        .or_else(|error: rusqlite::Error| {
            let is_denied = matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly));
            if !is_denied || Path::new(&log).exists() {
                return Err(error);
            }
            // If they cannot be created, no program can be writing to the database, and the file is complete.
            let uri = immutable_uri(&resolved);
            let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            open(Path::new(&uri), access)
        })
        .map_err(|error| database_error(path, "read", error))
}

/// The URI of a database that does not change.
fn immutable_uri(path: &Path) -> String {
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

fn prepare(db: &Connection) -> rusqlite::Result<()> {
    db.busy_timeout(BUSY_TIMEOUT)?;
    // The first access to the file. It fails if the file is not a database.
    db.query_row("PRAGMA schema_version", [], |_| Ok(()))?;
    // Readers and the writer of the database do not wait for each other. If the file system does not support this,
    // SQLite stays in another mode, which is as safe.
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    // A commit must survive a loss of power, as the checkpoint may be kept elsewhere.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)
}

/// Begins a write transaction, unless one is open.
fn begin(db: &Connection) -> rusqlite::Result<()> {
    if db.is_autocommit() {
        db.execute_batch("BEGIN IMMEDIATE")?;
    }
    Ok(())
}

/// The size of a row. The envelope may be larger than the data.
fn row_size(message: &Message, shard: &str, stream: &str) -> u64 {
    let key = message.partition_key.as_ref().map_or(0, String::len);
    let texts = message.id.len() + shard.len() + message.sequence.len() + key + stream.len();
    (texts + "2026-11-23T15:09:35.129Z".len() + message.data.len()) as u64
}

/// UTF-8 as text, so that it is readable and JSON functions work on it, and other data as a blob. Text that contains
/// NUL is stored as a blob too, as SQLite leaves its functions undefined for it.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf_8_without_nul_is_stored_as_text() {
        assert_eq!(value("é".as_bytes()), ValueRef::Text("é".as_bytes()));
        assert_eq!(value(b""), ValueRef::Text(b""));
        assert_eq!(value(b"a\0b"), ValueRef::Blob(b"a\0b"));
        assert_eq!(value(b"\xff"), ValueRef::Blob(b"\xff"));
    }
}
