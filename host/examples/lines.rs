//! Prints the messages of a stream as lines of JSON on standard output. The next run continues where this one ended.
//!
//! ```sh
//! cargo run -p kinesis-reader --example lines
//! ```
//!
//! Region, endpoint and credentials are looked up as by the AWS command line. To use an emulator, set
//! `AWS_ENDPOINT_URL_KINESIS`, `AWS_REGION`, and `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` to any values.

use std::{error::Error, future::pending, io::stdout, path::Path, sync::Arc};

use kinesis_reader::component::{Bounds, COMPONENT, Sandbox, wit};
use kinesis_reader::destination::{Destination, NdjsonStream};
use kinesis_reader::drive::{self, Clock, Log};
use kinesis_reader::state::FileState;
use kinesis_reader::transport::{Kinesis, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let state = FileState::open(Path::new("orders.state"))?;
    let mut lines = NdjsonStream::new(stdout(), Some(Box::new(state)));

    let mut component = Sandbox::new(Bounds::default(), None)?.load(COMPONENT)?;
    let mut config = component.defaults(&wit::Source::Name("orders".to_owned()))?;
    config.until = wit::Until::CaughtUp(1000);
    let clock = Clock::start();
    let saved = lines.checkpoint()?;
    let reader = component.open(&config, saved.as_deref(), drive::seed(), clock.now(), drive::present())?;

    let kinesis = Arc::new(Kinesis::connect(&Settings::default()).await?);
    let summary = drive::drive(reader, kinesis, &mut lines, &mut Log, clock, pending()).await?;
    summary.ok()?;
    eprintln!("{} messages", summary.totals.messages);
    Ok(())
}
