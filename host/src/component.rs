//! The sandbox: the component that holds the reader, loaded and called.
//!
//! This is the only file that names wasmtime. The component imports nothing, so it can do nothing but compute; what
//! bounds that are [`Bounds`]: the memory it may take, and the time that one call may last. A call that traps, or passes
//! a bound, leaves the component unusable, and every later call fails too. Nothing is lost by that: what was made safe
//! stays safe, and the next run goes on from there.

mod cache;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wasmtime::component::{Component, Linker, ResourceAny};
use wasmtime::{Config, Engine, ResourceLimiter, Store, Trap};

use cache::{Cache, Key};

use crate::recording::{Call, Delivery, Input, Output, Recorder};
use crate::terminal::Clean;

mod bindings {
    #![allow(missing_docs, reason = "the documentation is in the WIT")]

    wasmtime::component::bindgen!({ path: "../wit", world: "reader" });
}

/// The interface `reading`, as the WIT describes it.
pub use bindings::exports::kinesis::reader::reading as wit;

/// The component as it is built with this crate.
pub const COMPONENT: &[u8] = include_bytes!("../component/kinesis_reader.wasm");

/// What a component may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory. A page of 10 MiB takes some 14 MiB while it is held, and as much again while it comes in.
    pub memory: usize,
    /// How long a call may last.
    pub call: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { memory: 512 << 20, call: Duration::from_secs(30) }
    }
}

/// Loads components, and keeps what was compiled.
pub struct Sandbox {
    engine: Engine,
    bounds: Bounds,
    ticker: Arc<Ticker>,
    cache: Option<Cache>,
}

impl Sandbox {
    /// A sandbox with the given bounds. Compiled code is kept in `cache`, if there is one.
    pub fn new(bounds: Bounds, cache: Option<PathBuf>) -> Result<Sandbox, Error> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        // Without a cache, loading takes longer.
        let cache = cache.and_then(|folder| {
            let opened = Cache::open(&folder);
            opened.inspect_err(|error| tracing::info!("not caching compiled code: {}: {error}", folder.display())).ok()
        });
        let engine = Engine::new(&config).map_err(|error| Error::Load(error.to_string()))?;
        let ticker = Arc::new(Ticker::start(&engine)?);
        Ok(Sandbox { engine, bounds, ticker, cache })
    }

    /// What a component asks of its host, by name. Ours asks nothing.
    pub fn imports(&self, bytes: &[u8]) -> Result<Vec<String>, Error> {
        let component = Component::new(&self.engine, bytes).map_err(load_error)?;
        let kind = component.component_type();
        Ok(kind.imports(&self.engine).map(|(name, _)| name.to_owned()).collect())
    }

    /// Loads a component that exports the interface `reading`.
    pub fn load(&self, bytes: &[u8]) -> Result<Loaded, Error> {
        self.compile(bytes)?.instantiate()
    }

    /// Makes code of a component, or takes what was made of it before.
    pub fn compile(&self, bytes: &[u8]) -> Result<Compiled, Error> {
        let component = self.code(bytes)?;
        let world =
            bindings::ReaderPre::new(Linker::new(&self.engine).instantiate_pre(&component).map_err(load_error)?);
        Ok(Compiled { world: world.map_err(load_error)?, bounds: self.bounds, ticker: self.ticker.clone() })
    }

    fn code(&self, bytes: &[u8]) -> Result<Component, Error> {
        let make = || Component::new(&self.engine, bytes).map_err(load_error);
        let Some(cache) = &self.cache else { return make() };
        let key = Key::new(bytes, self.engine.precompile_compatibility_hash());
        if let Some(code) = cache.get(&key) {
            // SAFETY: the bytes must come from `serialize`, as they are executed without validation. They match a checksum
            // of what it returned, and were read from a file and a directory that only this user can write to.
            match unsafe { Component::deserialize(&self.engine, &code) } {
                Ok(component) => return Ok(component),
                Err(error) => tracing::info!("cached code is of another kind, compiling again: {error}"),
            }
        }
        let component = make()?;
        match component.serialize() {
            Ok(code) => cache.put(&key, &code),
            Err(error) => tracing::info!("cannot cache compiled code: {error}"),
        }
        Ok(component)
    }
}

/// A component that exports the interface `reading`, as code of this machine.
pub struct Compiled {
    world: bindings::ReaderPre<Memory>,
    bounds: Bounds,
    ticker: Arc<Ticker>,
}

impl Compiled {
    /// Makes an instance, which shares nothing with others.
    pub fn instantiate(&self) -> Result<Loaded, Error> {
        let mut store = Store::new(self.world.engine(), Memory { most: self.bounds.memory, refused: false });
        store.limiter(|memory| memory);
        store.set_hostcall_fuel(self.bounds.memory);
        store.set_epoch_deadline(ticks(self.bounds.call));
        let world = self.world.instantiate(&mut store).map_err(load_error)?;
        Ok(Loaded { store, world, bounds: self.bounds, recorder: None, _ticker: self.ticker.clone() })
    }
}

fn load_error(error: wasmtime::Error) -> Error {
    Error::Load(format!("{error:#}"))
}

/// The clock of an engine: its code looks at it, so that a call can be ended from outside. It goes until it is dropped.
struct Ticker(Arc<AtomicBool>);

impl Ticker {
    fn start(engine: &Engine) -> Result<Ticker, Error> {
        let done = Arc::new(AtomicBool::new(false));
        let ticker = Ticker(done.clone());
        let engine = engine.clone();
        let tick = move || {
            while !done.load(Ordering::Relaxed) {
                thread::park_timeout(TICK);
                engine.increment_epoch();
            }
        };
        let thread = thread::Builder::new().name("sandbox clock".to_owned()).spawn(tick);
        thread.map_err(|error| Error::Load(error.to_string()))?;
        Ok(ticker)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Bounds the memory, and remembers that it did.
struct Memory {
    most: usize,
    refused: bool,
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.refused |= desired > self.most;
        Ok(desired <= self.most)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// Functions that a component may refer to: ours has some hundreds.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// How often a call's time is looked at.
const TICK: Duration = Duration::from_millis(50);

fn ticks(length: Duration) -> u64 {
    (length.as_millis() / TICK.as_millis()) as u64 + 1
}

/// A component that is ready to open a reader.
pub struct Loaded {
    store: Store<Memory>,
    world: bindings::Reader,
    bounds: Bounds,
    /// What its reader is told and gives goes here too.
    recorder: Option<Recorder>,
    /// Calls have a time for as long as there are any, whatever became of the sandbox.
    _ticker: Arc<Ticker>,
}

impl Loaded {
    /// Keeps what the reader is told and what it gives.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// What the reader suggests for a stream.
    pub fn defaults(&mut self, source: &wit::Source) -> Result<wit::Config, Error> {
        let result = self.world.kinesis_reader_reading().call_defaults(&mut self.store, source);
        result.map_err(|error| self.trapped(error))
    }

    /// Opens a reader. Nothing is sent until the first [`Reader::poll`].
    pub fn open(
        mut self,
        config: &wit::Config,
        checkpoint: Option<&str>,
        seed: u64,
        now: u64,
        present: u64,
    ) -> Result<Reader, Error> {
        self.record_input(|| Input::opened(config, checkpoint, seed, now, present));
        self.store.set_epoch_deadline(ticks(self.bounds.call));
        let reading = self.world.kinesis_reader_reading();
        let opened = reading.reader().call_open(&mut self.store, config, checkpoint, seed, now, present);
        let opened = opened.map_err(|error| self.trapped(error)).and_then(|opened| opened.map_err(Error::Open));
        let handle = self.noted(Call::Tell, opened)?;
        Ok(Reader { loaded: self, handle })
    }
}

impl Loaded {
    fn record_input<'a>(&mut self, input: impl FnOnce() -> Input<'a>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(input());
        }
    }

    /// What a call output, once it is noted if it output nothing.
    fn noted<T>(&mut self, call: Call, result: Result<T, Error>) -> Result<T, Error> {
        if let (Some(recorder), Err(error)) = (&mut self.recorder, &result) {
            recorder.output(Output::Failed { call, why: error.to_string().into() });
        }
        result
    }

    fn trapped(&self, error: wasmtime::Error) -> Error {
        let Bounds { memory, call } = self.bounds;
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Error::TooSlow(call),
            // An allocation that fails ends the component: what it says of that is only that it ended.
            Some(_) if self.store.data().refused => Error::OutOfMemory(memory),
            Some(trap) => Error::Trap(trap.to_string()),
            None => Error::Trap(format!("{error:#}")),
        }
    }
}

/// A reader in the sandbox. Its methods are those of the WIT's resource `reader`.
pub struct Reader {
    loaded: Loaded,
    handle: ResourceAny,
}

/// What the reader wants of its host.
#[derive(Debug)]
pub enum Action {
    /// Send this request.
    Send(wit::Request),
    /// Make these messages safe.
    Deliver(BatchHandle),
    /// Know this.
    Notice(wit::Notice),
    /// Come back later.
    Wait(wit::Wait),
    /// The reader is done.
    Finish(wit::Outcome),
}

/// A batch in the sandbox, to be rendered by [`Reader::batch`] and given back by [`Reader::release`].
#[derive(Debug)]
pub struct BatchHandle(ResourceAny);

/// A batch, and the reader that it is of.
pub struct Batch<'a> {
    reader: &'a mut Reader,
    handle: ResourceAny,
    /// The name to give to [`Reader::handle_delivered`].
    pub id: u64,
    /// The shard that all the messages are from.
    pub shard: String,
    /// The number of messages.
    pub count: u32,
}

/// Calls a method of the reader within the bounds, and gives what it answers.
macro_rules! call {
    ($loaded:expr, $resource:ident, $method:ident, $handle:expr $(, $argument:expr)*) => {{
        let loaded: &mut Loaded = $loaded;
        loaded.store.set_epoch_deadline(ticks(loaded.bounds.call));
        let result = loaded
            .world
            .kinesis_reader_reading()
            .$resource()
            .$method(&mut loaded.store, $handle $(, $argument)*);
        result.map_err(|error| loaded.trapped(error))
    }};
}

impl Reader {
    /// Gives the next thing to do.
    pub fn poll(&mut self) -> Result<Action, Error> {
        let polled = call!(&mut self.loaded, reader, call_poll, self.handle);
        let action = match self.loaded.noted(Call::Poll, polled)? {
            wit::Action::Send(request) => Action::Send(request),
            wit::Action::Deliver(batch) => Action::Deliver(BatchHandle(batch)),
            wit::Action::Notice(notice) => Action::Notice(notice),
            wit::Action::Wait(wait) => Action::Wait(wait),
            wit::Action::Finish(outcome) => Action::Finish(outcome),
        };
        if self.loaded.recorder.is_some() {
            let output = self.output(&action)?;
            if let Some(recorder) = &mut self.loaded.recorder {
                recorder.output(output);
            }
        }
        Ok(action)
    }

    /// An action as a recording has it.
    pub(crate) fn output<'a>(&mut self, action: &'a Action) -> Result<Output<'a>, Error> {
        Ok(match action {
            Action::Send(request) => Output::Send(Cow::Borrowed(request)),
            Action::Deliver(BatchHandle(batch)) => Output::Deliver(Delivery {
                id: call!(&mut self.loaded, batch, call_id, *batch)?,
                shard: call!(&mut self.loaded, batch, call_shard, *batch)?,
                count: call!(&mut self.loaded, batch, call_count, *batch)?,
                size: call!(&mut self.loaded, batch, call_size, *batch)?,
                checkpoint: call!(&mut self.loaded, batch, call_checkpoint, *batch)?,
            }),
            Action::Notice(notice) => Output::Notice(Cow::Borrowed(notice)),
            Action::Wait(wait) => Output::Wait(*wait),
            Action::Finish(outcome) => Output::Finish(Cow::Borrowed(outcome)),
        })
    }

    /// Looks into a batch.
    pub fn batch(&mut self, batch: &BatchHandle) -> Result<Batch<'_>, Error> {
        let handle = batch.0;
        let id = call!(&mut self.loaded, batch, call_id, handle)?;
        let shard = call!(&mut self.loaded, batch, call_shard, handle)?;
        let count = call!(&mut self.loaded, batch, call_count, handle)?;
        Ok(Batch { reader: self, handle, id, shard, count })
    }

    /// Gives a batch back. What it holds is freed.
    pub fn release(&mut self, batch: BatchHandle) -> Result<(), Error> {
        // What the destination took of time is not the component's.
        self.loaded.store.set_epoch_deadline(ticks(self.loaded.bounds.call));
        let dropped = batch.0.resource_drop(&mut self.loaded.store);
        dropped.map_err(|error| self.loaded.trapped(error))
    }

    /// Tells of the response to a request.
    pub fn handle_response(&mut self, id: u64, response: &wit::Response, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Response { id, response: Cow::Borrowed(response), now });
        let input = call!(&mut self.loaded, reader, call_handle_response, self.handle, id, response, now);
        self.loaded.noted(Call::Tell, input.and_then(|input| input.map_err(Error::Misuse)))
    }

    /// Tells that a request got no response.
    pub fn handle_failure(&mut self, id: u64, failure: &wit::Failure, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Failure { id, failure: Cow::Borrowed(failure), now });
        let input = call!(&mut self.loaded, reader, call_handle_failure, self.handle, id, failure, now);
        self.loaded.noted(Call::Tell, input.and_then(|input| input.map_err(Error::Misuse)))
    }

    /// Tells that the messages of a batch are safe, or will be before any checkpoint that is kept from here on.
    pub fn handle_delivered(&mut self, id: u64, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Delivered { id, now });
        let input = call!(&mut self.loaded, reader, call_handle_delivered, self.handle, id, now);
        self.loaded.noted(Call::Tell, input.and_then(|input| input.map_err(Error::Misuse)))
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Timeout { now });
        let input = call!(&mut self.loaded, reader, call_handle_timeout, self.handle, now);
        self.loaded.noted(Call::Tell, input)
    }

    /// Asks for no more pages.
    pub fn stop(&mut self, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Stop { now });
        let input = call!(&mut self.loaded, reader, call_stop, self.handle, now);
        self.loaded.noted(Call::Tell, input)
    }

    /// The position reached in every shard.
    pub fn checkpoint(&mut self) -> Result<String, Error> {
        let text = call!(&mut self.loaded, reader, call_checkpoint, self.handle);
        let text = self.loaded.noted(Call::Checkpoint, text)?;
        if let Some(recorder) = &mut self.loaded.recorder {
            recorder.output(Output::Checkpoint(Cow::Borrowed(&text)));
        }
        Ok(text)
    }

    /// Counts the changes of the checkpoint.
    pub fn revision(&mut self) -> Result<u64, Error> {
        call!(&mut self.loaded, reader, call_revision, self.handle)
    }

    /// Of the checkpoint the positions that changed after the revision `since`. None: it is to be taken whole, as always
    /// where a recording is kept, which is to have it whole.
    pub fn changes(&mut self, since: u64) -> Result<Option<String>, Error> {
        if self.loaded.recorder.is_some() {
            return Ok(None);
        }
        call!(&mut self.loaded, reader, call_changes, self.handle, since)
    }

    /// Every shard known.
    pub fn shards(&mut self) -> Result<Vec<wit::ShardStatus>, Error> {
        call!(&mut self.loaded, reader, call_shards, self.handle)
    }

    /// What was done since the opening.
    pub fn totals(&mut self) -> Result<wit::Totals, Error> {
        call!(&mut self.loaded, reader, call_totals, self.handle)
    }
}

impl Batch<'_> {
    /// Lines from message `skip` on: at least one if there is one, else as many as fit in `size` bytes.
    pub fn lines(&mut self, skip: u32, size: u32) -> Result<wit::Lines, Error> {
        call!(&mut self.reader.loaded, batch, call_lines, self.handle, skip, size)
    }

    /// Lines of the messages from number `skip` on that cannot be put as asked, as many as fit in `size` bytes.
    pub fn invalid_lines(&mut self, skip: u32, size: u32) -> Result<wit::InvalidLines, Error> {
        call!(&mut self.reader.loaded, batch, call_invalid_lines, self.handle, skip, size)
    }

    /// Messages from number `skip` on: at least one if there is one, else as many as fit in `size` bytes.
    pub fn messages(&mut self, skip: u32, size: u32) -> Result<Vec<wit::Message>, Error> {
        call!(&mut self.reader.loaded, batch, call_messages, self.handle, skip, size)
    }
}

/// Why the component did not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// It is no component that can be used here, and why.
    Load(String),
    /// The configuration or the checkpoint cannot be used.
    Open(wit::OpenError),
    /// The driver broke the protocol.
    Misuse(wit::Misuse),
    /// It needed more memory than the bound.
    OutOfMemory(usize),
    /// A call lasted longer than the bound.
    TooSlow(Duration),
    /// It failed otherwise, and how.
    Trap(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        match self {
            Error::Load(why) => write!(f, "the component cannot be loaded: {why}"),
            Error::Open(wit::OpenError::Config(error)) => {
                write!(f, "the configuration cannot be used: {}: {}", error.field, error.message)
            }
            Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Malformed(why))) => {
                write!(f, "the checkpoint is damaged: {why}")
            }
            Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Foreign(stream))) => {
                write!(f, "the checkpoint belongs to another stream: {stream}")
            }
            Error::Misuse(wit::Misuse::UnknownRequest(id)) => write!(f, "the component knows no such request: {id}"),
            Error::Misuse(wit::Misuse::UnknownBatch(id)) => write!(f, "the component knows no such batch: {id}"),
            Error::OutOfMemory(bytes) => {
                write!(f, "the component needs more memory than it may have: {} MiB", bytes >> 20)
            }
            Error::TooSlow(call) => write!(f, "a call of the component takes longer than it may: {call:?}"),
            Error::Trap(why) => write!(f, "the component failed: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Whether a flag or a saved checkpoint is at fault.
    pub fn is_usage_error(&self) -> bool {
        match self {
            Error::Open(_) => true,
            Error::Load(_) | Error::Misuse(_) | Error::OutOfMemory(_) | Error::TooSlow(_) | Error::Trap(_) => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Malformed(_))) => {
                "restore it from a copy; or move it away with the messages that go with it, and read anew"
            }
            Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Foreign(_))) => {
                "name the stream that it belongs to, or give this stream another --to or --state"
            }
            Error::OutOfMemory(_) => {
                "run again with a smaller --page-records; it goes on from the last checkpoint, as nothing safe is lost"
            }
            Error::Misuse(_) | Error::TooSlow(_) | Error::Trap(_) => {
                "run again: it goes on from the last checkpoint, as nothing safe is lost; the fault is this program's"
            }
            Error::Load(_) => {
                "check the limits of the process (ulimit -n, ulimit -v): the sandbox reserves 5 GB of address space"
            }
            Error::Open(wit::OpenError::Config(_)) => return None,
        };
        Some(hint.to_owned())
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
