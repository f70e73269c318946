//! What the commands need from their surroundings: log, signals, standard output, threads, component and connection.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use etcetera::{BaseStrategy, choose_base_strategy};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::error::Error;
use super::plan;
use super::stdout::Stdout;
use crate::bindings::wit;
use crate::component::{self, Bounds, Loaded, Sandbox};
use crate::destination::stream_error;
use crate::terminal;
use crate::transport::{Kinesis, Settings};

/// Logs this program's own events to stderr. The events of libraries might contain secrets or data.
pub(super) fn log(level: LevelFilter) {
    let own = Targets::new().with_target("kinesis_reader", level);
    let words = tracing_subscriber::fmt::layer().with_writer(|| terminal::Log).with_ansi(false);
    tracing_subscriber::registry().with(words).with(own).init();
}

/// Makes a write that exceeds the limit on file sizes fail like one to a full disk, instead of killing the process.
pub(super) fn catch_signals() -> Result<(), Error> {
    #[cfg(unix)]
    {
        use signal_hook::consts::SIGXFSZ;
        // The signal is caught rather than ignored so that child processes do not inherit this.
        signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(Error::System)?;
    }
    Ok(())
}

/// A future that completes on the first SIGINT or SIGTERM. A second one exits at once. Signals are handled on the
/// runtime's own threads, so that this works even while a write blocks.
pub(super) fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut int, mut term) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
            // The receiver is gone if the run has ended by itself.
            let _ = sender.send(());
            tokio::select! { _ = int.recv() => {} _ = term.recv() => {} }
            std::process::exit(130);
        });
        Ok(async move {
            if receiver.await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Standard output for data.
pub(super) fn stdout() -> Result<Stdout, Error> {
    Stdout::open().map_err(|error| Error::Destination(stream_error(error)))
}

/// The width of the terminal if the shell provides it, otherwise a width that fits most terminals.
pub(super) fn terminal_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100)
}

/// Two workers, one thread for name resolution, and the clock of the sandbox.
const THREADS: usize = 4;

/// The runtime for requests.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    // The runtime panics or hangs if it cannot start its threads.
    have_threads(THREADS).map_err(Error::System)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Error::System)
}

/// Checks that this many threads can run at once.
fn have_threads(count: usize) -> std::io::Result<()> {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let start = |_| {
        let gate = gate.clone();
        std::thread::Builder::new().spawn(move || drop(gate.lock()))
    };
    let threads: std::io::Result<Vec<_>> = (0..count).map(start).collect();
    drop(closed);
    for thread in threads? {
        // The thread cannot panic.
        let _ = thread.join();
    }
    Ok(())
}

/// Loads the component into a sandbox.
pub(super) fn load() -> Result<Loaded, component::Error> {
    Sandbox::new(Bounds::default(), cache())?.load(component::COMPONENT)
}

pub(super) async fn connect(settings: &Settings) -> Result<Arc<Kinesis>, Error> {
    Ok(Arc::new(Kinesis::connect(settings).await?))
}

/// Converts the stream's name or ARN for the component.
pub(super) fn source(source: &plan::Source) -> wit::Source {
    match source {
        plan::Source::Name(name) => wit::Source::Name(name.clone()),
        plan::Source::Arn { arn, .. } => wit::Source::Arn(arn.clone()),
    }
}

/// The directory for compiled code, among the caches of other programs.
fn cache() -> Option<PathBuf> {
    let folders = choose_base_strategy().ok()?;
    let folder = folders.cache_dir();
    folder.is_absolute().then(|| folder.join("kinesis-reader").join("compiled"))
}
