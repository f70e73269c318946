//! A sink: an HTTP server that records the batches it accepts, and answers as a test asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use kinesis_reader_machine::sequence::Sequence;
use serde_json::Value;

/// A batch as it was received.
#[derive(Clone, Debug)]
pub struct Batch {
    pub shard: String,
    pub epoch: u64,
    pub headers: BTreeMap<String, String>,
    /// The size of its lines.
    pub bytes: usize,
    pub messages: Vec<Message>,
}

/// A message as it was received.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub sequence: String,
    /// The number in its payload.
    pub number: u64,
}

#[derive(Clone)]
pub struct Sink {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// The status to answer with.
    status: StatusCode,
    /// The pause before an answer.
    delay: Duration,
    /// All answers wait while this is set.
    held: bool,
    batches: Vec<Batch>,
    /// Called for each batch, before the answer.
    callback: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Sink {
    /// Starts a sink on a free port, which ends with the runtime.
    pub async fn start() -> Sink {
        let inner =
            Inner { status: StatusCode::OK, delay: Duration::ZERO, held: false, batches: Vec::new(), callback: None };
        let inner = Arc::new(Mutex::new(inner));
        let app = Router::new().fallback(handle).with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let url = format!("http://{}/orders?key=1", listener.local_addr().expect("the listener is bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Sink { url, inner }
    }

    /// Sets the status of further answers. Only batches that are answered with 2xx are recorded.
    pub fn answer_with(&self, status: u16) {
        self.inner.lock().expect("no panic while locked").status = StatusCode::from_u16(status).expect("a status");
    }

    /// Sets the pause before further answers.
    pub fn delay(&self, delay: Duration) {
        self.inner.lock().expect("no panic while locked").delay = delay;
    }

    /// Holds all answers back, or lets them go.
    pub fn hold(&self, held: bool) {
        self.inner.lock().expect("no panic while locked").held = held;
    }

    /// Sets a function to call for each batch, before the answer.
    pub fn on_batch(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.inner.lock().expect("no panic while locked").callback = Some(Arc::new(callback));
    }

    /// Returns the accepted batches, in order.
    pub fn batches(&self) -> Vec<Batch> {
        self.inner.lock().expect("no panic while locked").batches.clone()
    }

    /// Returns the numbers of the accepted messages, without repetitions.
    pub fn numbers(&self) -> BTreeSet<u64> {
        let inner = self.inner.lock().expect("no panic while locked");
        inner.batches.iter().flat_map(|batch| &batch.messages).map(|message| message.number).collect()
    }

    /// Counts the accepted messages, with repetitions.
    pub fn count(&self) -> usize {
        self.inner.lock().expect("no panic while locked").batches.iter().map(|batch| batch.messages.len()).sum()
    }
}

async fn handle(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> (StatusCode, &'static str) {
    let delay = inner.lock().expect("no panic while locked").delay;
    let (parts, body) = request.into_parts();
    // A request that was cut off is not delivered.
    let Ok(bytes) = to_bytes(Body::new(body), usize::MAX).await else { return (StatusCode::BAD_REQUEST, "cut off") };
    assert_eq!((parts.method, parts.uri.query()), (Method::POST, Some("key=1")), "the query of SINK_URL is kept");
    tokio::time::sleep(delay).await;
    while inner.lock().expect("no panic while locked").held {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let callback = inner.lock().expect("no panic while locked").callback.clone();
    if let Some(callback) = callback {
        callback();
    }
    let mut inner = inner.lock().expect("no panic while locked");
    if inner.status.is_success() {
        let text = std::str::from_utf8(&bytes).expect("lines are UTF-8");
        inner.batches.push(batch(&parts.headers, text));
    }
    (inner.status, "scripted answer\r\n")
}

fn batch(headers: &HeaderMap, text: &str) -> Batch {
    let headers: BTreeMap<String, String> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("headers are ASCII").to_owned()))
        .collect();
    let shard = headers["x-kinesis-shard"].clone();
    let messages = messages(text, Some(&shard));
    assert_eq!(headers["x-kinesis-messages"], messages.len().to_string(), "the header has the number of messages");
    let epoch = headers["x-kinesis-epoch"].parse().expect("an epoch is a number");
    Batch { shard, epoch, headers, bytes: text.len(), messages }
}

/// Parses the messages in lines, and checks their shard if one is given.
pub fn messages(text: &str, shard: Option<&str>) -> Vec<Message> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let envelope = &line["_kinesis"];
        assert!(shard.is_none_or(|shard| envelope["shard_id"] == shard), "the header has the shard");
        Message {
            sequence: envelope["seq_no"].as_str().expect("a line has a sequence number").to_owned(),
            number: line["n"].as_u64().expect("a payload has a number"),
        }
    };
    text.lines().map(line).collect()
}

/// Checks the guarantees of delivery: within an epoch, the messages of a shard are delivered in order and once, and
/// messages of a committed epoch do not come again. Returns the number of repetitions.
pub fn check(batches: &[Batch], committed: &BTreeSet<u64>) -> Result<usize, String> {
    let mut last: BTreeMap<(&str, u64), Sequence> = BTreeMap::new();
    let mut epochs: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for batch in batches {
        for message in &batch.messages {
            let sequence = Sequence::parse(&message.sequence).map_err(|_| "invalid sequence number")?;
            let before = last.insert((&batch.shard, batch.epoch), sequence.clone());
            if before.is_some_and(|before| before >= sequence) {
                return Err(format!(
                    "{} of {} in epoch {} is out of order",
                    message.sequence, batch.shard, batch.epoch
                ));
            }
            epochs.entry((&batch.shard, &message.sequence)).or_default().push(batch.epoch);
        }
    }
    let mut again = 0;
    for ((shard, sequence), epochs) in epochs {
        again += epochs.len() - 1;
        let newest = epochs.iter().max().copied().unwrap_or_default();
        if let Some(epoch) = epochs.iter().find(|epoch| committed.contains(epoch) && **epoch < newest) {
            return Err(format!("{sequence} of {shard} was committed in epoch {epoch} but came again in {newest}"));
        }
    }
    Ok(again)
}
