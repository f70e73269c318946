//! Drives the library in the test's own process, so that a test can choose the component, its bounds and its
//! configuration.

use std::path::Path;
use std::sync::Arc;

use aws_credential_types::Credentials;
use kinesis_reader::component::{Bounds, COMPONENT, Loaded, Sandbox, wit};
use kinesis_reader::destination::{Destination, NdjsonFile, NdjsonStream, Sqlite};
use kinesis_reader::drive::{self, Clock, Error, Log, Summary};
use kinesis_reader::state::FileState;
use kinesis_reader::transport::endpoint::{Endpoint, Known};
use kinesis_reader::transport::{Failure, Kinesis, Request, Response, Transport};
use test_support::emulator::REGION;
use test_support::program::STREAM;

pub(crate) use kinesis_reader::component::wit::Config;

/// The destination that [`file`] opens, as in `--to`.
pub(crate) const FILE: &str = "ndjson:out.ndjson";

/// The destination that [`database`] opens, as in `--to`.
pub(crate) const DATABASE: &str = "sqlite:out.db";

/// Opens a file in a directory, with its state beside it.
pub(crate) fn file(folder: &Path) -> NdjsonFile {
    let state = FileState::open(&folder.join("out.ndjson.state")).expect("a state");
    NdjsonFile::open(&folder.join("out.ndjson"), Box::new(state)).expect("a file")
}

/// Opens a database in a directory.
pub(crate) fn database(folder: &Path) -> Sqlite {
    Sqlite::open(&folder.join("out.db"), STREAM).expect("a database")
}

/// Loads the program's own component, with the program's bounds.
pub(crate) fn ours() -> Loaded {
    Sandbox::new(Bounds::default(), None).and_then(|sandbox| sandbox.load(COMPONENT)).expect("the component loads")
}

/// Reads the stream at this endpoint to its tip.
pub(crate) async fn drive(
    mut loaded: Loaded,
    url: &str,
    destination: &mut dyn Destination,
    change: impl FnOnce(&mut Config),
) -> Result<Summary, Error> {
    let mut config = loaded.defaults(&wit::Source::Name(STREAM.to_owned()))?;
    change(&mut config);
    let saved = destination.checkpoint().map_err(Error::Destination)?;
    let clock = Clock::start();
    let reader = loaded.open(&config, saved.as_deref(), 1, clock.now(), 1_763_900_000_000)?;
    let known = Known { region: Some(REGION.to_owned()), url: Some(url.to_owned()), ..Known::default() };
    let endpoint = Endpoint::resolve(known).expect("a valid URL");
    let credentials = Credentials::new("test", "test", None, None, "test");
    let kinesis = Kinesis::with_credentials(endpoint, credentials, None).expect("plain HTTP needs no setup");
    drive::drive(reader, Arc::new(kinesis), destination, &mut Log, clock, std::future::pending()).await
}

/// A transport that panics.
struct Panicking;

impl Transport for Panicking {
    async fn send(&self, request: Request) -> Result<Response, Failure> {
        panic!("cannot send {}", request.target)
    }
}

/// A panic must not look like a timeout, which would be retried.
#[tokio::test]
async fn a_panic_in_the_transport_ends_the_run() {
    let mut loaded = ours();
    let config = loaded.defaults(&wit::Source::Name(STREAM.to_owned())).expect("defaults");
    let clock = Clock::start();
    let reader = loaded.open(&config, None, 1, clock.now(), 1_763_900_000_000).expect("a valid configuration");
    let (mut nowhere, mut log) = (NdjsonStream::new(std::io::sink(), None), Log);
    let driven = drive::drive(reader, Arc::new(Panicking), &mut nowhere, &mut log, clock, std::future::pending());
    let error = driven.await.expect("the component works").ok().expect_err("the run fails");
    assert!(error.to_string().contains("a bug in the transport"), "{error}");
    assert_eq!(kinesis_reader::cli::error::Error::from(error).exit(), kinesis_reader::cli::error::Exit::Failed);
}
