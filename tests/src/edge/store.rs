//! `wasi:keyvalue@0.2.0-draft2` over one SQLite file, which several processes share, with the quirks of real stores.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::events::{Event, Events};

mod bindings {
    wasmtime::component::bindgen!({
        path: ["../guest/edge/wit/deps/config", "../guest/edge/wit/deps/keyvalue"],
        inline: "
            package tests:host;
            world stores {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:config/store@0.2.0-draft-2024-09-27;
            }
        ",
        world: "tests:host/stores",
        imports: { default: trappable },
        with: {
            "wasi:keyvalue/store.bucket": super::Bucket,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
    });
}

use bindings::wasi::config::store as config;
use bindings::wasi::keyvalue::atomics::{self, CasError};
use bindings::wasi::keyvalue::store::{self, Error, KeyResponse};

/// How a store departs from what the interface promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quirk {
    /// Not at all.
    Strict,
    /// A swap where nothing was overwrites what is there meanwhile, as Spin's on SQLite.
    OverwriteAbsent,
    /// A swap that was made is answered as one that failed, as Spin's on Redis.
    FalseFailure,
    /// One call in three that writes gets no answer, and half of those are made all the same.
    LostReply,
    /// One read in three gives the value of before, as a replica does.
    StaleRead,
}

impl Quirk {
    pub const ALL: [Quirk; 5] =
        [Quirk::Strict, Quirk::OverwriteAbsent, Quirk::FalseFailure, Quirk::LostReply, Quirk::StaleRead];
}

/// The database. Each value is kept with the one before it.
pub struct Database {
    connection: Mutex<Connection>,
    quirk: Quirk,
    chance: Mutex<fastrand::Rng>,
    /// How many calls are answered until the store is down.
    left: AtomicUsize,
    /// The largest value that it takes.
    largest: AtomicUsize,
    /// How many calls were not answered, or values not taken, since one of these was last set.
    refused: AtomicUsize,
}

/// An open store, of which there is one.
pub struct Bucket;

/// A handle to swap with.
pub struct Cas {
    key: String,
    /// What `current` gave; none: it was not asked.
    seen: Option<Option<Vec<u8>>>,
}

type Answer<T> = Result<T, Error>;

impl Database {
    pub fn open(path: &Path, quirk: Quirk, seed: u64) -> Database {
        let connection = Connection::open(path).expect("the store opens");
        connection.busy_timeout(Duration::from_secs(60)).expect("a timeout can be set");
        // Not in WAL mode: SQLite does not wait, whatever the timeout, where two processes turn to it at once.
        connection
            .execute_batch(
                "PRAGMA synchronous = OFF;
                BEGIN IMMEDIATE;
                CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, value BLOB, before BLOB);
                COMMIT",
            )
            .expect("the store is ours");
        let chance = Mutex::new(fastrand::Rng::with_seed(seed));
        let [left, largest] = [AtomicUsize::new(usize::MAX), AtomicUsize::new(usize::MAX)];
        Database { connection: Mutex::new(connection), quirk, chance, left, largest, refused: AtomicUsize::new(0) }
    }

    /// Answers so many calls more, and then none.
    pub fn go_down_after(&self, calls: usize) {
        self.refused.store(0, Ordering::SeqCst);
        self.left.store(calls, Ordering::SeqCst);
    }

    /// Takes no value that is larger.
    pub fn takes_at_most(&self, bytes: usize) {
        self.refused.store(0, Ordering::SeqCst);
        self.largest.store(bytes, Ordering::SeqCst);
    }

    /// Whether it is down, or a value was too large, and somebody has noticed.
    pub fn has_refused(&self) -> bool {
        self.refused.load(Ordering::SeqCst) > 0
    }

    /// What is there.
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.get(key, "value").expect("the store answers")
    }

    /// Puts a value there, as nobody but an operator does.
    pub fn put(&self, key: &str, value: &[u8]) {
        self.change(key, |_| Some(value.to_vec())).expect("the store answers");
    }

    /// Loses a value, as a store does that is made anew.
    pub fn remove(&self, key: &str) {
        let connection = self.connection.lock().expect("nobody panics with it");
        connection.execute("DELETE FROM pairs WHERE key = ?1", [key]).expect("the store answers");
    }

    fn chance(&self, one_in: u32) -> bool {
        self.chance.lock().expect("nobody panics with it").u32(0..one_in) == 0
    }

    fn answer<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> Answer<T> {
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Error::Other("connection refused".to_owned()));
        }
        work().map_err(|error| Error::Other(error.to_string()))
    }

    /// A change whose answer may be lost on the way, or the call itself.
    fn write<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> Answer<T> {
        let lost = Error::Other("the connection was closed".to_owned());
        match self.quirk == Quirk::LostReply && self.chance(3) {
            true if self.chance(2) => self.answer(work).and(Err(lost)),
            true => Err(lost),
            false => self.answer(work),
        }
    }

    fn get(&self, key: &str, column: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        let connection = self.connection.lock().expect("nobody panics with it");
        let query = format!("SELECT {column} FROM pairs WHERE key = ?1");
        Ok(connection.query_row(&query, [key], |row| row.get(0)).optional()?.flatten())
    }

    fn read(&self, key: &str) -> Answer<Option<Vec<u8>>> {
        let column = if self.quirk == Quirk::StaleRead && self.chance(3) { "before" } else { "value" };
        self.answer(|| self.get(key, column))
    }

    /// Changes a value in one transaction; none leaves it as it is. Tells whether it was changed.
    fn change(&self, key: &str, change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>) -> rusqlite::Result<bool> {
        let mut connection = self.connection.lock().expect("nobody panics with it");
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let query = "SELECT value FROM pairs WHERE key = ?1";
        let old: Option<Vec<u8>> = transaction.query_row(query, [key], |row| row.get(0)).optional()?.flatten();
        let Some(new) = change(old.as_deref()) else { return Ok(false) };
        transaction.execute("INSERT OR REPLACE INTO pairs VALUES (?1, ?2, ?3)", params![key, new, old])?;
        transaction.commit()?;
        Ok(true)
    }

    fn increment(&self, key: &str, delta: i64) -> Answer<i64> {
        let mut sum = 0;
        self.write(|| {
            self.change(key, |old| {
                sum = old.and_then(|old| std::str::from_utf8(old).ok()?.parse().ok()).unwrap_or(0) + delta;
                Some(sum.to_string().into_bytes())
            })
        })?;
        Ok(sum)
    }

    fn swap(&self, cas: &Cas, value: Vec<u8>) -> Answer<bool> {
        if value.len() > self.largest.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(Error::Other(format!("the value is too large: {} bytes", value.len())));
        }
        let swapped = self.write(|| {
            self.change(&cas.key, |old| {
                let as_seen = match &cas.seen {
                    None => true,
                    Some(None) if self.quirk == Quirk::OverwriteAbsent => true,
                    Some(seen) => seen.as_deref() == old,
                };
                as_seen.then_some(value)
            })
        })?;
        Ok(swapped && self.quirk != Quirk::FalseFailure)
    }
}

/// What the component sees of the database, and of its settings.
pub struct View<'a> {
    pub database: &'a Database,
    pub events: &'a Events,
    /// The settings as variables: their names are in small letters.
    pub variables: &'a std::collections::BTreeMap<String, String>,
    pub table: &'a mut ResourceTable,
}

struct Stores;

impl HasData for Stores {
    type Data<'a> = View<'a>;
}

/// Gives the component all of these.
pub fn add_to_linker<T: 'static>(
    linker: &mut Linker<T>,
    view: for<'a> fn(&'a mut T) -> View<'a>,
) -> wasmtime::Result<()> {
    store::add_to_linker::<T, Stores>(linker, view)?;
    atomics::add_to_linker::<T, Stores>(linker, view)?;
    config::add_to_linker::<T, Stores>(linker, view)
}

type Called<T> = wasmtime::Result<Answer<T>>;

impl store::Host for View<'_> {
    fn open(&mut self, name: String) -> Called<Resource<Bucket>> {
        match name.as_str() {
            "default" => Ok(Ok(self.table.push(Bucket)?)),
            _ => Ok(Err(Error::NoSuchStore)),
        }
    }
}

impl store::HostBucket for View<'_> {
    fn get(&mut self, _: Resource<Bucket>, key: String) -> Called<Option<Vec<u8>>> {
        Ok(self.database.read(&key))
    }

    fn set(&mut self, _: Resource<Bucket>, key: String, value: Vec<u8>) -> Called<()> {
        Ok(self.database.write(|| self.database.change(&key, |_| Some(value))).map(drop))
    }

    fn delete(&mut self, _: Resource<Bucket>, _: String) -> Called<()> {
        wasmtime::bail!("the drain deletes nothing")
    }

    fn exists(&mut self, _: Resource<Bucket>, key: String) -> Called<bool> {
        Ok(self.database.read(&key).map(|value| value.is_some()))
    }

    fn list_keys(&mut self, _: Resource<Bucket>, _: Option<String>) -> Called<KeyResponse> {
        wasmtime::bail!("the drain lists nothing")
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    fn increment(&mut self, _: Resource<Bucket>, key: String, delta: i64) -> Called<i64> {
        let sum = self.database.increment(&key, delta);
        self.events.pass(Event::Incremented);
        Ok(sum)
    }

    fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), CasError>> {
        let cas = self.table.delete(cas)?;
        self.events.pass(Event::Swapping);
        let swapped = self.database.swap(&cas, value);
        self.events.pass(Event::Swapped);
        Ok(match swapped {
            Ok(true) => Ok(()),
            // As it is promised: a new handle, which has seen nothing yet.
            Ok(false) => Err(CasError::CasFailed(self.table.push(Cas { key: cas.key, seen: None })?)),
            Err(error) => Err(CasError::StoreError(error)),
        })
    }
}

impl atomics::HostCas for View<'_> {
    fn new(&mut self, _: Resource<Bucket>, key: String) -> Called<Resource<Cas>> {
        Ok(Ok(self.table.push(Cas { key, seen: None })?))
    }

    fn current(&mut self, cas: Resource<Cas>) -> Called<Option<Vec<u8>>> {
        self.events.pass(Event::Read);
        let cas = self.table.get_mut(&cas)?;
        let value = self.database.read(&cas.key);
        if let Ok(value) = &value {
            cas.seen = Some(value.clone());
        }
        Ok(value)
    }

    fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl config::Host for View<'_> {
    fn get(&mut self, name: String) -> wasmtime::Result<Result<Option<String>, config::Error>> {
        Ok(Ok(self.variables.get(&name).cloned()))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, config::Error>> {
        Ok(Ok(self.variables.clone().into_iter().collect()))
    }
}
