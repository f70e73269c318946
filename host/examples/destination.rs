//! A destination of one's own: what was paid for each item, summed up, and kept together with the checkpoint.
//!
//! ```sh
//! cargo run -p kinesis-reader --example destination -- orders sums.json
//! ```
//!
//! It reads a stream of JSON objects with the members `item` and `price`. Sums and checkpoint are one document that
//! is replaced whole, so that each message is summed up exactly once, whatever ends the program when: a database does
//! the same with a transaction. The first Ctrl-C ends it in order. Region, endpoint and credentials are found as the
//! AWS command line finds them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::{env, fs, io};

use kinesis_reader::component::{Bounds, COMPONENT, Sandbox, wit};
use kinesis_reader::destination::{Batch, Destination, Error, Written};
use kinesis_reader::drive::{self, Clock, Observer};
use kinesis_reader::error::Gap;
use kinesis_reader::transport::{Kinesis, Settings};
use serde::{Deserialize, Serialize};

/// Bytes of messages to take out of a batch at a time: a page of small messages out of aggregates may have millions.
const TOGETHER: u32 = 1 << 20;

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
        // Where it cannot be heard of, it ends the program as it always does, and no sum is wrong for it.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let summary = drive::drive(reader, kinesis, &mut sums, &mut Operator, clock, interrupt).await?;
    summary.ok()?;
    for (item, sum) in &sums.kept.paid {
        println!("{item}: {sum}");
    }
    Ok(())
}

/// The sums of this run and those before it.
struct Sums {
    file: PathBuf,
    kept: Kept,
}

/// What the file holds: the sums of all messages up to the checkpoint, and of no other.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
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
        let kept = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(Sums { file, kept })
    }

    /// Written beside, made durable, and renamed: the file is whole at every moment.
    fn save(&self) -> io::Result<()> {
        let beside = self.file.with_extension("new");
        let file = fs::File::create(&beside)?;
        serde_json::to_writer_pretty(&file, &self.kept)?;
        file.sync_all()?;
        fs::rename(beside, &self.file)
    }
}

impl Destination for Sums {
    fn checkpoint(&mut self) -> Result<Option<String>, Error> {
        Ok(self.kept.checkpoint.clone())
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        let mut written = Written::default();
        while written.messages < u64::from(batch.count()) {
            let messages = batch.messages(written.messages as u32, TOGETHER).map_err(Error::Batch)?;
            for message in &messages {
                match serde_json::from_slice::<Order>(&message.data) {
                    Ok(order) => *self.kept.paid.entry(order.item).or_default() += order.price,
                    // Who cannot go on without each of them would return an error here, and nothing would be committed.
                    Err(error) => eprintln!("{} of {} is no order: {error}", message.sequence, batch.shard()),
                }
                written.bytes += message.data.len() as u64;
            }
            written.messages += messages.len() as u64;
        }
        written.new = written.messages;
        Ok(written)
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        self.kept.checkpoint = Some(checkpoint.to_owned());
        self.save().map_err(|error| Error::Write { path: self.file.clone(), error })
    }
}

/// Tells of what left the stream before it was read.
struct Operator;

impl Observer for Operator {
    fn notice(&mut self, notice: &wit::Notice) {
        if let wit::Notice::Gap(gap) = notice {
            eprintln!("warning: {}", Gap(gap));
        }
    }
}
