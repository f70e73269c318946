//! The sandbox: loads the component that holds the reader, and calls it.
//!
//! Only this file and `bindings.rs` use wasmtime. The component imports nothing, so all it can do is compute.
//! [`Bounds`] limits its memory and the time of each call. A call that traps or exceeds a bound leaves the component
//! unusable, and every later call fails too. No committed message is lost: the next run continues from the last
//! checkpoint.

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

use crate::bindings;
use crate::recording::{Call, Delivery, Input, Output, Recorder};
use crate::terminal::Clean;

pub use crate::bindings::wit;

/// The component that was built together with this crate.
pub const COMPONENT: &[u8] = include_bytes!("../component/kinesis_reader.wasm");

/// Limits on what a component may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory. A page of 10 MiB takes about 14 MiB while it is held, and as much again while it is received.
    pub memory: usize,
    /// The time that one call may take.
    pub call: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { memory: 512 << 20, call: Duration::from_secs(30) }
    }
}

/// Compiles and loads components.
pub struct Sandbox {
    engine: Engine,
    bounds: Bounds,
    ticker: Arc<Ticker>,
    cache: Option<Cache>,
}

impl Sandbox {
    /// A sandbox with the given bounds. If `cache` is given, compiled code is cached in that directory.
    pub fn new(bounds: Bounds, cache: Option<PathBuf>) -> Result<Sandbox, Error> {
        let mut config = Config::new();
        config.epoch_interruption(true);
        // A cache that cannot be used only makes loading slower.
        let cache = cache.and_then(|folder| {
            let opened = Cache::open(&folder);
            opened.inspect_err(|error| tracing::info!("not caching compiled code: {}: {error}", folder.display())).ok()
        });
        let engine = Engine::new(&config).map_err(|error| Error::Load(error.to_string()))?;
        let ticker = Arc::new(Ticker::start(&engine)?);
        Ok(Sandbox { engine, bounds, ticker, cache })
    }

    /// The names of a component's imports. Ours has none.
    pub fn imports(&self, bytes: &[u8]) -> Result<Vec<String>, Error> {
        let component = Component::new(&self.engine, bytes).map_err(load_error)?;
        let kind = component.component_type();
        Ok(kind.imports(&self.engine).map(|(name, _)| name.to_owned()).collect())
    }

    /// Loads a component that exports the interface `reading`.
    pub fn load(&self, bytes: &[u8]) -> Result<Loaded, Error> {
        self.compile(bytes)?.instantiate()
    }

    /// Compiles a component, or takes its code from the cache.
    pub fn compile(&self, bytes: &[u8]) -> Result<Compiled, Error> {
        let component = self.code(bytes)?;
        let world =
            bindings::ReaderPre::new(Linker::new(&self.engine).instantiate_pre(&component).map_err(load_error)?);
        Ok(Compiled { world: world.map_err(load_error)?, bounds: self.bounds, ticker: self.ticker.clone() })
    }

    fn code(&self, bytes: &[u8]) -> Result<Component, Error> {
        let compile = || Component::new(&self.engine, bytes).map_err(load_error);
        let Some(cache) = &self.cache else { return compile() };
        let key = Key::new(bytes, self.engine.precompile_compatibility_hash());
        if let Some(code) = cache.get(&key) {
            // SAFETY: the bytes must come from `serialize`, as they are executed without validation. They match a
            // checksum of what it returned, and were read from a file and a directory that only this user can write to.
            match unsafe { Component::deserialize(&self.engine, &code) } {
                Ok(component) => return Ok(component),
                Err(error) => tracing::info!("cannot load cached code, compiling again: {error}"),
            }
        }
        let component = compile()?;
        match component.serialize() {
            Ok(code) => cache.put(&key, &code),
            Err(error) => tracing::info!("cannot cache compiled code: {error}"),
        }
        Ok(component)
    }
}

/// A component that exports the interface `reading`, compiled to machine code.
pub struct Compiled {
    world: bindings::ReaderPre<Memory>,
    bounds: Bounds,
    ticker: Arc<Ticker>,
}

impl Compiled {
    /// Creates an instance, which shares nothing with other instances.
    pub fn instantiate(&self) -> Result<Loaded, Error> {
        let mut store = Store::new(self.world.engine(), Memory { max: self.bounds.memory, refused: false });
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

/// Advances an engine's epoch, which is how a call that takes too long is interrupted. Runs until dropped.
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

/// Limits the memory, and remembers whether a request was refused.
struct Memory {
    max: usize,
    refused: bool,
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.refused |= desired > self.max;
        Ok(desired <= self.max)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

/// The number of functions that a component may have in a table. Ours has a few hundred.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// How often the time of a call is checked.
const TICK: Duration = Duration::from_millis(50);

fn ticks(length: Duration) -> u64 {
    (length.as_millis() / TICK.as_millis()) as u64 + 1
}

/// An instance of the component, ready to open a reader.
pub struct Loaded {
    store: Store<Memory>,
    world: bindings::Reader,
    bounds: Bounds,
    /// Records the inputs and outputs of the reader.
    recorder: Option<Recorder>,
    /// Keeps the limit on the time of calls in force after the sandbox has been dropped.
    _ticker: Arc<Ticker>,
}

impl Loaded {
    /// Records all inputs and outputs of the reader.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// The default configuration for a stream.
    pub fn defaults(&mut self, source: &wit::Source) -> Result<wit::Config, Error> {
        let result = self.world.kinesis_reader_reading().call_defaults(&mut self.store, source);
        result.map_err(|error| self.trapped(error))
    }

    /// Opens a reader. Nothing is requested before the first [`Reader::poll`].
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
        let handle = self.recorded(Call::Tell, opened)?;
        Ok(Reader { loaded: self, handle })
    }
}

impl Loaded {
    fn record_input<'a>(&mut self, input: impl FnOnce() -> Input<'a>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.input(input());
        }
    }

    /// Records a failed call, and passes its result on.
    fn recorded<T>(&mut self, call: Call, result: Result<T, Error>) -> Result<T, Error> {
        if let (Some(recorder), Err(error)) = (&mut self.recorder, &result) {
            recorder.output(Output::Failed { call, why: error.to_string().into() });
        }
        result
    }

    fn trapped(&self, error: wasmtime::Error) -> Error {
        let Bounds { memory, call } = self.bounds;
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Error::TooSlow(call),
            // An allocation that fails ends in a trap, which does not say that memory was the reason.
            Some(_) if self.store.data().refused => Error::OutOfMemory(memory),
            Some(trap) => Error::Trap(trap.to_string()),
            None => Error::Trap(format!("{error:#}")),
        }
    }
}

/// A reader in the sandbox, with the methods of the WIT's resource `reader`.
pub struct Reader {
    loaded: Loaded,
    handle: ResourceAny,
}

/// What the reader asks of its driver.
#[derive(Debug)]
pub enum Action {
    /// Send this request.
    Send(wit::Request),
    /// Deliver these messages.
    Deliver(BatchHandle),
    /// Report this to the operator.
    Notice(wit::Notice),
    /// Wait for an answer, or until this time.
    Wait(wit::Wait),
    /// Stop: the reader has finished.
    Finish(wit::Outcome),
}

/// A batch in the sandbox. [`Reader::batch`] gives access to it, and [`Reader::release`] frees it.
#[derive(Debug)]
pub struct BatchHandle(ResourceAny);

/// A batch, borrowed together with its reader.
pub struct Batch<'a> {
    reader: &'a mut Reader,
    handle: ResourceAny,
    /// The batch id, for [`Reader::handle_delivered`].
    pub id: u64,
    /// The shard that all the messages are from.
    pub shard: String,
    /// The number of messages.
    pub count: u32,
}

/// Calls a method of a resource within the bounds.
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
    /// Returns the next action.
    pub fn poll(&mut self) -> Result<Action, Error> {
        let polled = call!(&mut self.loaded, reader, call_poll, self.handle);
        let action = match self.loaded.recorded(Call::Poll, polled)? {
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

    /// Converts an action to the form in which it is recorded.
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

    /// Gives access to a batch.
    pub fn batch(&mut self, batch: &BatchHandle) -> Result<Batch<'_>, Error> {
        let handle = batch.0;
        let id = call!(&mut self.loaded, batch, call_id, handle)?;
        let shard = call!(&mut self.loaded, batch, call_shard, handle)?;
        let count = call!(&mut self.loaded, batch, call_count, handle)?;
        Ok(Batch { reader: self, handle, id, shard, count })
    }

    /// Frees a batch.
    pub fn release(&mut self, batch: BatchHandle) -> Result<(), Error> {
        // The time that the destination took does not count towards the limit.
        self.loaded.store.set_epoch_deadline(ticks(self.loaded.bounds.call));
        let dropped = batch.0.resource_drop(&mut self.loaded.store);
        dropped.map_err(|error| self.loaded.trapped(error))
    }

    /// Passes on the response to a request.
    pub fn handle_response(&mut self, id: u64, response: &wit::Response, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Response { id, response: Cow::Borrowed(response), now });
        let result = call!(&mut self.loaded, reader, call_handle_response, self.handle, id, response, now);
        self.loaded.recorded(Call::Tell, result.and_then(|result| result.map_err(Error::Misuse)))
    }

    /// Reports that a request got no response.
    pub fn handle_failure(&mut self, id: u64, failure: &wit::Failure, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Failure { id, failure: Cow::Borrowed(failure), now });
        let result = call!(&mut self.loaded, reader, call_handle_failure, self.handle, id, failure, now);
        self.loaded.recorded(Call::Tell, result.and_then(|result| result.map_err(Error::Misuse)))
    }

    /// Reports that a batch was delivered: its messages are durable, or will be before any later checkpoint is saved.
    pub fn handle_delivered(&mut self, id: u64, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Delivered { id, now });
        let result = call!(&mut self.loaded, reader, call_handle_delivered, self.handle, id, now);
        self.loaded.recorded(Call::Tell, result.and_then(|result| result.map_err(Error::Misuse)))
    }

    /// Reports that the time of a wait has come.
    pub fn handle_timeout(&mut self, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Timeout { now });
        let result = call!(&mut self.loaded, reader, call_handle_timeout, self.handle, now);
        self.loaded.recorded(Call::Tell, result)
    }

    /// Asks the reader to stop: it requests no more pages, and finishes.
    pub fn stop(&mut self, now: u64) -> Result<(), Error> {
        self.loaded.record_input(|| Input::Stop { now });
        let result = call!(&mut self.loaded, reader, call_stop, self.handle, now);
        self.loaded.recorded(Call::Tell, result)
    }

    /// The checkpoint: the position in every shard.
    pub fn checkpoint(&mut self) -> Result<String, Error> {
        let text = call!(&mut self.loaded, reader, call_checkpoint, self.handle);
        let text = self.loaded.recorded(Call::Checkpoint, text)?;
        if let Some(recorder) = &mut self.loaded.recorder {
            recorder.output(Output::Checkpoint(Cow::Borrowed(&text)));
        }
        Ok(text)
    }

    /// The revision of the checkpoint.
    pub fn revision(&mut self) -> Result<u64, Error> {
        call!(&mut self.loaded, reader, call_revision, self.handle)
    }

    /// The positions that changed after the revision `since`, as a checkpoint. `None` if the whole checkpoint should be
    /// saved instead, which is always so while recording, because a recording contains whole checkpoints.
    pub fn changes(&mut self, since: u64) -> Result<Option<String>, Error> {
        if self.loaded.recorder.is_some() {
            return Ok(None);
        }
        call!(&mut self.loaded, reader, call_changes, self.handle, since)
    }

    /// Every known shard.
    pub fn shards(&mut self) -> Result<Vec<wit::ShardStatus>, Error> {
        call!(&mut self.loaded, reader, call_shards, self.handle)
    }

    /// Counts of what was done since the reader was opened.
    pub fn totals(&mut self) -> Result<wit::Totals, Error> {
        call!(&mut self.loaded, reader, call_totals, self.handle)
    }
}

impl Batch<'_> {
    /// Lines from message `skip` on, as many as fit in `size` bytes, but at least one if any is left.
    pub fn lines(&mut self, skip: u32, size: u32) -> Result<wit::Lines, Error> {
        call!(&mut self.reader.loaded, batch, call_lines, self.handle, skip, size)
    }

    /// Lines of the invalid records from message `skip` on, as many as fit in `size` bytes.
    pub fn invalid_lines(&mut self, skip: u32, size: u32) -> Result<wit::InvalidLines, Error> {
        call!(&mut self.reader.loaded, batch, call_invalid_lines, self.handle, skip, size)
    }

    /// Messages from number `skip` on, as many as fit in `size` bytes, but at least one if any is left.
    pub fn messages(&mut self, skip: u32, size: u32) -> Result<Vec<wit::Message>, Error> {
        call!(&mut self.reader.loaded, batch, call_messages, self.handle, skip, size)
    }
}

/// Why a call to the component failed.
#[derive(Debug)]
pub enum Error {
    /// It cannot be loaded, for this reason.
    Load(String),
    /// The configuration or the checkpoint is invalid.
    Open(wit::OpenError),
    /// The driver broke the contract of the interface.
    Misuse(wit::Misuse),
    /// It exceeded its memory limit.
    OutOfMemory(usize),
    /// A call exceeded its time limit.
    TooSlow(Duration),
    /// It failed in another way, such as a panic.
    Trap(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        match self {
            Error::Load(why) => write!(f, "the component cannot be loaded: {why}"),
            Error::Open(wit::OpenError::Config(error)) => {
                write!(f, "invalid configuration: {}: {}", error.field, error.message)
            }
            Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Malformed(why))) => {
                write!(f, "the checkpoint is damaged: {why}")
            }
            Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Foreign(stream))) => {
                write!(f, "the checkpoint belongs to another stream: {stream}")
            }
            Error::Misuse(wit::Misuse::UnknownRequest(id)) => {
                write!(f, "the component does not know this request: {id}")
            }
            Error::Misuse(wit::Misuse::UnknownBatch(id)) => write!(f, "the component does not know this batch: {id}"),
            Error::OutOfMemory(bytes) => {
                write!(f, "the component exceeded its memory limit: {} MiB", bytes >> 20)
            }
            Error::TooSlow(call) => write!(f, "a call to the component exceeded its time limit: {call:?}"),
            Error::Trap(why) => write!(f, "the component failed: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Whether the configuration or the checkpoint is at fault, so that trying again would not help.
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
                "restore it from a backup, or move it away together with its messages and read the stream again"
            }
            Error::Open(wit::OpenError::Checkpoint(wit::CheckpointError::Foreign(_))) => {
                "read the stream that it belongs to, or keep this stream's checkpoint elsewhere"
            }
            Error::OutOfMemory(_) => {
                "run again with smaller pages: it continues from the last checkpoint, and nothing is lost"
            }
            Error::Misuse(_) | Error::TooSlow(_) | Error::Trap(_) => {
                "run again: it continues from the last checkpoint, and nothing is lost; this is a bug, please report it"
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
