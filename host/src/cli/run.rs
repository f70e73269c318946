//! Runs the commands, and what they need from their surroundings.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::args::Args;
use crate::cli::error::{Error, Exit};
use crate::component::{self, Bounds, Loaded, Sandbox, wit};
use crate::destination::{
    self, Destination, NdjsonFile, NdjsonStream, Sqlite, WithInvalidRecords, WithState, stream_error,
};
use crate::drive::{self, Clock, Summary};

use crate::cli::files::{Files, Purpose};
use crate::cli::plan::{self, Environment, Job, Plan, StateAt};
use crate::cli::report::{self, Console};
use crate::cli::stdout::{self, Stdout};
use crate::cli::{shards, show};
use crate::recording::{self, Recorder};
use crate::state::{FileState, State};
use crate::transport::endpoint::Endpoint;
use crate::transport::{Kinesis, Settings};
use crate::{replay, terminal};

/// Runs a command.
pub fn run(args: Args) -> Result<Exit, Error> {
    match Job::new(args, &Environment::read())? {
        Job::Read(plan) => read(&plan),
        Job::Shards(plan) => shards::list(&plan),
        Job::Show(plan) => match show::show(&plan.database, terminal_width(), &mut stdout()?) {
            Err(destination::Error::ClosedPipe) | Ok(()) => Ok(Exit::Reached),
            Err(error) => Err(error.into()),
        },
        Job::Replay(plan) => replay::replay(&plan),
    }
}

/// Logs this program's own events to stderr. The events of libraries might contain secrets or data.
pub fn log(level: LevelFilter) {
    let own = Targets::new().with_target("kinesis_reader", level);
    let words = tracing_subscriber::fmt::layer().with_writer(|| terminal::Log).with_ansi(false);
    tracing_subscriber::registry().with(words).with(own).init();
}

/// Makes a write that exceeds the limit on file sizes fail like one to a full disk, instead of killing the process.
pub fn catch_signals() -> Result<(), Error> {
    #[cfg(unix)]
    {
        use signal_hook::consts::SIGXFSZ;
        // The signal is caught rather than ignored so that child processes do not inherit this.
        signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(Error::System)?;
    }
    Ok(())
}

/// Standard output for data.
pub(crate) fn stdout() -> Result<Stdout, Error> {
    Stdout::open().map_err(|error| Error::Destination(stream_error(error)))
}

/// Reports on stderr why the program ends.
pub fn report_error(error: &Error) {
    if let Error::Destination(destination::Error::ClosedPipe) = error {
        return;
    }
    terminal::say(format_args!("error: {error}"));
    if let Some(hint) = error.hint() {
        terminal::say(format_args!("hint: {hint}"));
    }
}

fn read(plan: &Plan) -> Result<Exit, Error> {
    check_files(plan)?;
    let mut console = Console::new(plan.source.stream());
    let result = runtime()?.block_on(read_stream(plan, &mut console));
    let reported = match &plan.report {
        Some(path) => report::write(path, &console.outcome(plan.source.stream(), &result)),
        None => Ok(()),
    };
    if let (Err(_), Err(error)) = (&result, &reported) {
        console.warn(format_args!("{error}"));
    }
    let summary = result?;
    reported?;
    console.sum_up(plan.source.stream(), &describe(&plan.destination), plan.invalid_records.as_deref(), &summary);
    summary.ok()?;
    Ok(console.exit(&summary.outcome))
}

/// Fails if a file has two purposes, or if a report or recording cannot be written, before anything is done.
fn check_files(plan: &Plan) -> Result<(), Error> {
    let mut files = Files::default();
    match &plan.destination {
        plan::Destination::Sqlite(path) => files.database("--to", path, plan.source.stream()),
        plan::Destination::Ndjson(path) => files.written(Purpose::Flag("--to"), path),
        plan::Destination::Stdout => {}
    }
    if let StateAt::File(path) = &plan.state {
        files.state("--state", path);
    }
    for (flag, path) in [
        ("--invalid-records", plan.invalid_records.as_ref()),
        ("--report", plan.report.as_ref()),
        ("--recording", plan.recording.as_ref().map(|(path, _)| path)),
    ] {
        if let Some(path) = path {
            files.written(Purpose::Flag(flag), path);
        }
    }
    for (variable, path) in &plan.settings_files {
        files.read(Purpose::Variable(variable), path);
    }
    let [out, err] = stdout::files();
    if let (plan::Destination::Stdout, Some(out)) = (&plan.destination, &out) {
        files.open(Purpose::Stdout, out);
    }
    if let Some(err) = &err {
        files.open(Purpose::Stderr, err);
    }
    files.check()?;
    if let Some(path) = &plan.report {
        report::check(path)?;
    }
    if let Some((path, _)) = &plan.recording {
        recording::check(path).map_err(|error| Error::Recording { path: path.clone(), error })?;
    }
    Ok(())
}

async fn read_stream(plan: &Plan, console: &mut Console) -> Result<Summary, Error> {
    let mut destination = open(plan)?;
    let saved = destination.checkpoint()?;
    let clock = Clock::start();
    let mut loaded = load()?;
    let transport = connect(&plan.aws).await?;
    let wire = wire(plan.wire, transport.endpoint());
    let config = config(plan, wire, loaded.defaults(&source(&plan.source))?);
    if let Some((path, payload)) = &plan.recording {
        let recorder = Recorder::create(path, *payload);
        loaded.record(recorder.map_err(|error| Error::Recording { path: path.clone(), error })?);
    }
    let reader = loaded.open(&config, saved.as_deref(), drive::seed(), clock.now(), drive::present())?;
    let interrupt = interrupted().map_err(Error::System)?;
    let summary = drive::drive(reader, transport.clone(), destination.as_mut(), console, clock, interrupt).await?;
    match &summary.outcome {
        wit::Outcome::Failed(error) => Error::unreached(error, &transport).map_or(Ok(summary), Err),
        wit::Outcome::Reached | wit::Outcome::Exhausted | wit::Outcome::Limited | wit::Outcome::Stopped => Ok(summary),
    }
}

/// Two workers, one thread for name resolution, and the clock of the sandbox.
const THREADS: usize = 4;

/// The runtime for requests.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
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
pub(crate) fn load() -> Result<Loaded, component::Error> {
    Sandbox::new(Bounds::default(), cache())?.load(component::COMPONENT)
}

pub(crate) async fn connect(settings: &Settings) -> Result<Arc<Kinesis>, Error> {
    Ok(Arc::new(Kinesis::connect(settings).await?))
}

/// Converts the stream's name or ARN for the component.
pub(crate) fn source(source: &plan::Source) -> wit::Source {
    match source {
        plan::Source::Name(name) => wit::Source::Name(name.clone()),
        plan::Source::Arn { arn, .. } => wit::Source::Arn(arn.clone()),
    }
}

fn open(plan: &Plan) -> Result<Box<dyn Destination>, Error> {
    let stream = plan.source.stream();
    let state = || -> Result<Option<Box<dyn State>>, Error> {
        match &plan.state {
            StateAt::File(path) => Ok(Some(Box::new(FileState::open(path)?))),
            StateAt::Destination | StateAt::Nowhere => Ok(None),
        }
    };
    let destination: Box<dyn Destination> = match &plan.destination {
        plan::Destination::Sqlite(path) => {
            let sqlite = Sqlite::open(path, stream)?;
            match state()? {
                Some(state) => Box::new(WithState::new(sqlite, state)),
                None => Box::new(sqlite),
            }
        }
        plan::Destination::Ndjson(path) => {
            let state = state()?.unwrap_or_else(|| Box::new(crate::state::MemoryState::new(None)));
            Box::new(NdjsonFile::open(path, state)?)
        }
        plan::Destination::Stdout => Box::new(NdjsonStream::new(stdout()?, state()?)),
    };
    Ok(match &plan.invalid_records {
        Some(path) => Box::new(WithInvalidRecords::open(path, destination)?),
        None => destination,
    })
}

/// The wire encoding for this endpoint.
fn wire(requested: plan::Wire, endpoint: &Endpoint) -> wit::Wire {
    match requested {
        plan::Wire::Auto if endpoint.is_aws() => wit::Wire::Cbor,
        plan::Wire::Auto | plan::Wire::Json => wit::Wire::Json,
        plan::Wire::Cbor => wit::Wire::Cbor,
    }
}

fn config(plan: &Plan, wire: wit::Wire, defaults: wit::Config) -> wit::Config {
    wit::Config {
        start: match plan.start {
            plan::Start::TrimHorizon => wit::Start::TrimHorizon,
            plan::Start::Latest(_) => wit::Start::Latest,
            plan::Start::At(time) => wit::Start::AtTimestamp(time),
        },
        until: match plan.until {
            plan::Until::CaughtUp(lag) => wit::Until::CaughtUp(lag.as_millis() as u64),
            plan::Until::Time(time) => wit::Until::Time(time),
            plan::Until::Stopped => wit::Until::Stopped,
        },
        wire,
        payload: match plan.payload {
            plan::Payload::Merged => wit::Payload::Merged,
            plan::Payload::Json => wit::Payload::Json,
            plan::Payload::Text => wit::Payload::Text,
            plan::Payload::Base64 => wit::Payload::Base64,
        },
        message_id: match plan.message_id {
            plan::MessageId::Sha256 => wit::MessageId::Sha256,
            plan::MessageId::Dlt => wit::MessageId::Dlt,
        },
        deaggregate: plan.deaggregate,
        on_gap: match plan.on_gap {
            plan::OnGap::Continue => wit::OnGap::Continue,
            plan::OnGap::Fail => wit::OnGap::Fail,
        },
        recreated: match plan.recreated {
            plan::Recreated::Refuse => wit::Recreated::Refuse,
            plan::Recreated::Follow => wit::Recreated::Follow,
        },
        limits: wit::Limits {
            max_messages: plan.limits.max_messages,
            page_records: plan.limits.page_records.unwrap_or(defaults.limits.page_records),
            pace: plan.limits.pace,
            ..defaults.limits
        },
        ..defaults
    }
}

fn describe(destination: &plan::Destination) -> String {
    match destination {
        plan::Destination::Sqlite(path) | plan::Destination::Ndjson(path) => path.display().to_string(),
        plan::Destination::Stdout => "stdout".to_owned(),
    }
}

/// A future that completes on the first SIGINT or SIGTERM. A second one exits at once. Signals are handled on the
/// runtime's own threads, so that this works even while a write blocks.
fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
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

/// The directory for compiled code, among the caches of other programs.
fn cache() -> Option<PathBuf> {
    let folder = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    folder.is_absolute().then(|| folder.join("kinesis-reader").join("compiled"))
}

/// The width of the terminal if the shell provides it, otherwise a width that fits most terminals.
fn terminal_width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use crate::transport::endpoint::Known;

    use super::*;

    #[test]
    fn auto_means_cbor_at_aws_and_json_elsewhere() {
        let known = |url: Option<&str>| Known { url: url.map(str::to_owned), ..Known::default() };
        let at = |url| Endpoint::resolve(Known { region: Some("eu-west-1".to_owned()), ..known(url) }).unwrap();
        let (aws, other) = (at(None), at(Some("http://localhost:4567")));
        for (requested, expected) in [
            (plan::Wire::Auto, [wit::Wire::Cbor, wit::Wire::Json]),
            (plan::Wire::Json, [wit::Wire::Json, wit::Wire::Json]),
            (plan::Wire::Cbor, [wit::Wire::Cbor, wit::Wire::Cbor]),
        ] {
            assert_eq!([&aws, &other].map(|endpoint| wire(requested, endpoint)), expected, "{requested:?}");
        }
    }
}
