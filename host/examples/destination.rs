//! A custom destination: sums up what was paid for each item, and keeps the sums together with the checkpoint.
//!
//! ```sh
//! cargo run -p kinesis-reader --example destination -- orders sums.json
//! ```
//!
//! It reads a stream of JSON objects with the members `item` and `price`. Sums and checkpoint are in one document,
//! which is replaced as a whole, so each message is counted exactly once even if the program is killed at any time. A
//! database achieves the same with a transaction. Ctrl-C stops the program after everything in flight was committed.
//! Region, endpoint and credentials are looked up as by the AWS command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs, io};

use kinesis_reader::component::{Bounds, COMPONENT, Sandbox, wit};
use kinesis_reader::destination::{Batch, Destination, Error, Written};
use kinesis_reader::drive::{self, Clock, Observer};
use kinesis_reader::transport::{Kinesis, Settings};
use serde::{Deserialize, Serialize};

/// The size of the pieces in which messages are taken from a batch. A page of aggregated records may have millions of
/// them.
const PIECE_SIZE: u32 = 1 << 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [stream, file] = arguments.as_slice() else { return Err("usage: destination STREAM FILE".into()) };
    let mut sums = Sums::open(file.into())?;

    let mut component = Sandbox::new(Bounds::default(), None)?.load(COMPONENT)?;
    let config = component.defaults(&wit::Source::Name(stream.clone()))?;
    let clock = Clock::start();
    let saved = sums.checkpoint()?;
    let reader = component.open(&config, saved.as_deref(), drive::seed(), clock.now(), drive::present())?;

    let kinesis = Arc::new(Kinesis::connect(&Settings::default()).await?);
    let interrupt = async {
        // If the signal cannot be handled, it ends the program at once, which does no harm either.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let summary = drive::drive(reader, kinesis, &mut sums, &mut Operator, clock, interrupt).await?;
    summary.ok()?;
    for (item, sum) in &sums.document.paid {
        println!("{item}: {sum}");
    }
    Ok(())
}

/// The sums of this run and all earlier ones.
struct Sums {
    file: PathBuf,
    document: Document,
}

/// The contents of the file: the sums of exactly those messages that the checkpoint covers.
#[derive(Default, Serialize, Deserialize)]
struct Document {
    checkpoint: Option<String>,
    paid: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Order {
    item: String,
    price: f64,
}

impl Sums {
    fn open(file: PathBuf) -> Result<Sums, Box<dyn std::error::Error>> {
        let document = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Document::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(Sums { file, document })
    }

    /// Writes a new file next to the old one, makes it durable and renames it, so that the file is complete at any
    /// time.
    fn save(&self) -> io::Result<()> {
        let path = self.file.with_extension("new");
        let file = fs::File::create(&path)?;
        serde_json::to_writer_pretty(&file, &self.document)?;
        file.sync_all()?;
        fs::rename(path, &self.file)
    }
}

impl Destination for Sums {
    fn checkpoint(&mut self) -> Result<Option<String>, Error> {
        Ok(self.document.checkpoint.clone())
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        let mut written = Written::default();
        while written.messages < u64::from(batch.count()) {
            let messages = batch.messages(written.messages as u32, PIECE_SIZE).map_err(Error::Batch)?;
            for message in &messages {
                match serde_json::from_slice::<Order>(&message.data) {
                    Ok(order) => *self.document.paid.entry(order.item).or_default() += order.price,
                    // If no message may be skipped, return an error here instead, and nothing is committed.
                    Err(error) => eprintln!("{} of {} is not an order: {error}", message.sequence, batch.shard()),
                }
                written.bytes += message.data.len() as u64;
            }
            written.messages += messages.len() as u64;
        }
        written.new = written.messages;
        Ok(written)
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        self.document.checkpoint = Some(checkpoint.to_owned());
        self.save().map_err(|error| Error::Write { path: self.file.clone(), error })
    }
}

/// Prints a warning for each gap.
struct Operator;

impl Observer for Operator {
    fn notice(&mut self, notice: &wit::Notice) {
        if let wit::Notice::Gap(gap) = notice {
            eprintln!("warning: {gap}");
        }
    }
}
