//! The library driven in the test's own process, where the component, its bounds and its configuration can be chosen.

use std::path::Path;
use std::sync::Arc;

use aws_credential_types::Credentials;
use kinesis_reader::component::{Bounds, COMPONENT, Loaded, Sandbox, wit};
use kinesis_reader::destination::{Destination, NdjsonFile, NdjsonStream, Sqlite};
use kinesis_reader::drive::{self, Clock, Error, Log, Summary};
use kinesis_reader::state::FileState;
use kinesis_reader::transport::endpoint::{Endpoint, Known};
use kinesis_reader::transport::{Failure, Kinesis, Request, Response, Transport};
use tests::emulator::REGION;
use tests::program::STREAM;

pub(crate) use kinesis_reader::component::wit::Config;

/// Where [`file`] puts messages, in the words of `--to`.
pub(crate) const FILE: &str = "ndjson:out.ndjson";

/// Where [`database`] puts messages.
pub(crate) const DATABASE: &str = "sqlite:out.db";

/// A file in a folder, with its state beside it.
pub(crate) fn file(folder: &Path) -> NdjsonFile {
    let state = FileState::open(&folder.join("out.ndjson.state")).expect("a state");
    NdjsonFile::open(&folder.join("out.ndjson"), Box::new(state)).expect("a file")
}

/// A database in a folder.
pub(crate) fn database(folder: &Path) -> Sqlite {
    Sqlite::open(&folder.join("out.db"), STREAM).expect("a database")
}

/// The component that the program has, in the program's bounds.
pub(crate) fn ours() -> Loaded {
    Sandbox::new(Bounds::default(), None).and_then(|sandbox| sandbox.load(COMPONENT)).expect("it loads")
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
    let endpoint = Endpoint::resolve(known).expect("it is a URL");
    let credentials = Credentials::new("test", "test", None, None, "test");
    let kinesis = Kinesis::with_credentials(endpoint, credentials, None).expect("plain http needs nothing");
    drive::drive(reader, Arc::new(kinesis), destination, &mut Log, clock, std::future::pending()).await
}

/// A transport whose requests die.
struct Deadly;

impl Transport for Deadly {
    async fn send(&self, request: Request) -> Result<Response, Failure> {
        panic!("{} was too much", request.target)
    }
}

/// It is not taken for one without an answer in time, which would be tried again.
#[tokio::test]
async fn a_request_that_dies_ends_the_run() {
    let mut loaded = ours();
    let config = loaded.defaults(&wit::Source::Name(STREAM.to_owned())).expect("it answers");
    let clock = Clock::start();
    let reader = loaded.open(&config, None, 1, clock.now(), 1_763_900_000_000).expect("it opens");
    let (mut nowhere, mut log) = (NdjsonStream::new(std::io::sink(), None), Log);
    let driven = drive::drive(reader, Arc::new(Deadly), &mut nowhere, &mut log, clock, std::future::pending());
    let error = driven.await.expect("the component is well").ok().expect_err("it cannot go on");
    assert!(error.to_string().contains("a bug in the transport"), "{error}");
    assert_eq!(kinesis_reader::cli::error::Error::from(error).exit(), kinesis_reader::cli::error::Exit::Failed);
}
