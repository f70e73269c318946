//! `wasi:keyvalue@0.2.0-draft2` on an SQLite file that several processes can share, with the quirks of real stores.

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
        path: ["../../guest/edge/wit/deps/config", "../../guest/edge/wit/deps/keyvalue"],
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

/// How a store departs from the documentation of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quirk {
    Strict,
    /// A swap of an absent value overwrites what was written since, as in Spin on SQLite.
    OverwriteAbsent,
    /// Every successful swap is reported as a failure, as in Spin on Redis.
    FalseFailure,
    /// One write in three gets no answer, and half of those are carried out anyway.
    LostReply,
    /// One read in three returns the previous value, as a replica may.
    StaleRead,
}

impl Quirk {
    pub const ALL: [Quirk; 5] =
        [Quirk::Strict, Quirk::OverwriteAbsent, Quirk::FalseFailure, Quirk::LostReply, Quirk::StaleRead];
}

/// The database, which stores each value with the previous one.
pub struct Database {
    connection: Mutex<Connection>,
    quirk: Quirk,
    chance: Mutex<fastrand::Rng>,
    /// The number of calls to answer before all calls fail.
    calls_left: AtomicUsize,
    /// The size of the largest value that is accepted.
    size_max: AtomicUsize,
    /// The number of calls that failed because of one of these, since one was last set.
    failures: AtomicUsize,
}

/// The only store.
pub struct Bucket;

/// A handle to swap with.
pub struct Cas {
    key: String,
    /// What `current` returned, if it was called.
    current: Option<Option<Vec<u8>>>,
}

type Answer<T> = Result<T, Error>;

impl Database {
    pub fn open(path: &Path, quirk: Quirk, seed: u64) -> Database {
        let connection = Connection::open(path).expect("the store opens");
        connection.busy_timeout(Duration::from_secs(60)).expect("a timeout can be set");
        // Not in WAL mode: if two processes switch to it at once, SQLite does not wait, whatever the timeout.
        connection
            .execute_batch(
                "PRAGMA synchronous = OFF;
                BEGIN IMMEDIATE;
                CREATE TABLE IF NOT EXISTS pairs (key TEXT PRIMARY KEY, value BLOB, before BLOB);
                COMMIT",
            )
            .expect("the table can be created");
        let chance = Mutex::new(fastrand::Rng::with_seed(seed));
        Database {
            connection: Mutex::new(connection),
            quirk,
            chance,
            calls_left: AtomicUsize::new(usize::MAX),
            size_max: AtomicUsize::new(usize::MAX),
            failures: AtomicUsize::new(0),
        }
    }

    /// Makes all calls fail after this many.
    pub fn fail_after(&self, calls: usize) {
        self.failures.store(0, Ordering::SeqCst);
        self.calls_left.store(calls, Ordering::SeqCst);
    }

    /// Rejects values larger than this.
    pub fn limit_size(&self, bytes: usize) {
        self.failures.store(0, Ordering::SeqCst);
        self.size_max.store(bytes, Ordering::SeqCst);
    }

    /// Whether a call has failed because of `fail_after` or `limit_size`.
    pub fn has_failed(&self) -> bool {
        self.failures.load(Ordering::SeqCst) > 0
    }

    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.get(key, "value").expect("the store answers")
    }

    /// Sets a value by hand, as an operator may.
    pub fn put(&self, key: &str, value: &[u8]) {
        self.change(key, |_| Some(value.to_vec())).expect("the store answers");
    }

    /// Removes a value, as if the store were lost and created again.
    pub fn remove(&self, key: &str) {
        let connection = self.connection.lock().expect("no panic while locked");
        connection.execute("DELETE FROM pairs WHERE key = ?1", [key]).expect("the store answers");
    }

    fn chance(&self, one_in: u32) -> bool {
        self.chance.lock().expect("no panic while locked").u32(0..one_in) == 0
    }

    fn answer<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> Answer<T> {
        if self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            self.failures.fetch_add(1, Ordering::SeqCst);
            return Err(Error::Other("connection refused".to_owned()));
        }
        work().map_err(|error| Error::Other(error.to_string()))
    }

    /// Makes a change. With lost replies, the call or its answer may get lost.
    fn write<T>(&self, work: impl FnOnce() -> rusqlite::Result<T>) -> Answer<T> {
        let lost = Error::Other("the connection was closed".to_owned());
        match self.quirk == Quirk::LostReply && self.chance(3) {
            true if self.chance(2) => self.answer(work).and(Err(lost)),
            true => Err(lost),
            false => self.answer(work),
        }
    }

    fn get(&self, key: &str, column: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        let connection = self.connection.lock().expect("no panic while locked");
        let query = format!("SELECT {column} FROM pairs WHERE key = ?1");
        Ok(connection.query_row(&query, [key], |row| row.get(0)).optional()?.flatten())
    }

    fn read(&self, key: &str) -> Answer<Option<Vec<u8>>> {
        let column = if self.quirk == Quirk::StaleRead && self.chance(3) { "before" } else { "value" };
        self.answer(|| self.get(key, column))
    }

    /// Changes a value in one transaction, unless `change` returns `None`. Returns whether it was changed.
    fn change(&self, key: &str, change: impl FnOnce(Option<&[u8]>) -> Option<Vec<u8>>) -> rusqlite::Result<bool> {
        let mut connection = self.connection.lock().expect("no panic while locked");
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
        if value.len() > self.size_max.load(Ordering::SeqCst) {
            self.failures.fetch_add(1, Ordering::SeqCst);
            return Err(Error::Other(format!("the value is too large: {} bytes", value.len())));
        }
        let swapped = self.write(|| {
            self.change(&cas.key, |old| {
                let swaps = match &cas.current {
                    None => true,
                    Some(None) if self.quirk == Quirk::OverwriteAbsent => true,
                    Some(current) => current.as_deref() == old,
                };
                swaps.then_some(value)
            })
        })?;
        Ok(swapped && self.quirk != Quirk::FalseFailure)
    }
}

/// The state behind the component's imports.
pub struct View<'a> {
    pub database: &'a Database,
    pub events: &'a Events,
    /// The settings, under lower-case names.
    pub variables: &'a std::collections::BTreeMap<String, String>,
    pub table: &'a mut ResourceTable,
}

struct Stores;

impl HasData for Stores {
    type Data<'a> = View<'a>;
}

/// Links `wasi:keyvalue` and `wasi:config`.
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
        wasmtime::bail!("the drain must not delete values")
    }

    fn exists(&mut self, _: Resource<Bucket>, key: String) -> Called<bool> {
        Ok(self.database.read(&key).map(|value| value.is_some()))
    }

    fn list_keys(&mut self, _: Resource<Bucket>, _: Option<String>) -> Called<KeyResponse> {
        wasmtime::bail!("the drain must not list keys")
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    fn increment(&mut self, _: Resource<Bucket>, key: String, delta: i64) -> Called<i64> {
        let sum = self.database.increment(&key, delta);
        self.events.record(Event::Incremented);
        Ok(sum)
    }

    fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), CasError>> {
        let cas = self.table.delete(cas)?;
        self.events.record(Event::Swapping);
        let swapped = self.database.swap(&cas, value);
        self.events.record(Event::Swapped);
        Ok(match swapped {
            Ok(true) => Ok(()),
            // As documented, the error has a new handle, whose `current` was not called yet.
            Ok(false) => Err(CasError::CasFailed(self.table.push(Cas { key: cas.key, current: None })?)),
            Err(error) => Err(CasError::StoreError(error)),
        })
    }
}

impl atomics::HostCas for View<'_> {
    fn new(&mut self, _: Resource<Bucket>, key: String) -> Called<Resource<Cas>> {
        Ok(Ok(self.table.push(Cas { key, current: None })?))
    }

    fn current(&mut self, cas: Resource<Cas>) -> Called<Option<Vec<u8>>> {
        self.events.record(Event::Read);
        let cas = self.table.get_mut(&cas)?;
        let value = self.database.read(&cas.key);
        if let Ok(value) = &value {
            cas.current = Some(value.clone());
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
