//! A sink: an HTTP server that takes batches, remembers them, and answers as a test wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use kinesis_reader_machine::sequence::Sequence;
use serde_json::Value;

/// A batch as it came.
#[derive(Clone, Debug)]
pub struct Batch {
    pub shard: String,
    pub epoch: u64,
    /// The headers, by name.
    pub headers: BTreeMap<String, String>,
    /// The bytes of its lines.
    pub bytes: usize,
    pub messages: Vec<Message>,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub sequence: String,
    /// The number that its payload gives.
    pub number: u64,
}

/// The server, and what came.
#[derive(Clone)]
pub struct Sink {
    pub url: String,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    /// What it answers.
    status: StatusCode,
    /// How long it thinks before.
    delay: Duration,
    /// It answers nobody until this is over.
    held: bool,
    batches: Vec<Batch>,
    /// Called with each batch.
    call: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Sink {
    /// Starts one on a free port. It ends with the runtime.
    pub async fn start() -> Sink {
        let inner =
            Inner { status: StatusCode::OK, delay: Duration::ZERO, held: false, batches: Vec::new(), call: None };
        let inner = Arc::new(Mutex::new(inner));
        let app = Router::new().fallback(take).with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let url = format!("http://{}/orders?key=1", listener.local_addr().expect("it is bound"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Sink { url, inner }
    }

    /// Answers so from here on. Only what it takes with 2xx is remembered.
    pub fn answers(&self, status: u16) {
        self.inner.lock().expect("nobody panics with it").status = StatusCode::from_u16(status).expect("a status");
    }

    /// Thinks for so long before each answer from here on.
    pub fn thinks(&self, delay: Duration) {
        self.inner.lock().expect("nobody panics with it").delay = delay;
    }

    /// Answers nobody, or everybody again.
    pub fn holds(&self, held: bool) {
        self.inner.lock().expect("nobody panics with it").held = held;
    }

    /// Calls this with each batch, before it answers.
    pub fn calls(&self, call: impl Fn() + Send + Sync + 'static) {
        self.inner.lock().expect("nobody panics with it").call = Some(Arc::new(call));
    }

    /// What came, in its order.
    pub fn batches(&self) -> Vec<Batch> {
        self.inner.lock().expect("nobody panics with it").batches.clone()
    }

    /// The numbers that came, each once.
    pub fn numbers(&self) -> BTreeSet<u64> {
        let inner = self.inner.lock().expect("nobody panics with it");
        inner.batches.iter().flat_map(|batch| &batch.messages).map(|message| message.number).collect()
    }

    /// How many messages came.
    pub fn count(&self) -> usize {
        self.inner.lock().expect("nobody panics with it").batches.iter().map(|batch| batch.messages.len()).sum()
    }
}

async fn take(State(inner): State<Arc<Mutex<Inner>>>, request: Request) -> (StatusCode, &'static str) {
    let delay = inner.lock().expect("nobody panics with it").delay;
    let (parts, body) = request.into_parts();
    // What broke off was not delivered.
    let Ok(bytes) = to_bytes(Body::new(body), usize::MAX).await else { return (StatusCode::BAD_REQUEST, "broken off") };
    assert_eq!((parts.method, parts.uri.query()), (Method::POST, Some("key=1")), "what is set as SINK_URL");
    tokio::time::sleep(delay).await;
    while inner.lock().expect("nobody panics with it").held {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let call = inner.lock().expect("nobody panics with it").call.clone();
    if let Some(call) = call {
        call();
    }
    let mut inner = inner.lock().expect("nobody panics with it");
    if inner.status.is_success() {
        let text = std::str::from_utf8(&bytes).expect("lines are text");
        inner.batches.push(batch(&parts.headers, text));
    }
    (inner.status, "as it was told\r\n")
}

fn batch(headers: &HeaderMap, text: &str) -> Batch {
    let headers: BTreeMap<String, String> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("it is text").to_owned()))
        .collect();
    let shard = headers["x-kinesis-shard"].clone();
    let messages = messages(text, Some(&shard));
    assert_eq!(headers["x-kinesis-messages"], messages.len().to_string(), "the count in its header");
    let epoch = headers["x-kinesis-epoch"].parse().expect("a number");
    Batch { shard, epoch, headers, bytes: text.len(), messages }
}

/// The messages in lines, all of one shard where one is told.
pub fn messages(text: &str, shard: Option<&str>) -> Vec<Message> {
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let envelope = &line["_kinesis"];
        assert!(shard.is_none_or(|shard| envelope["shard_id"] == shard), "the shard in its header");
        Message {
            sequence: envelope["seq_no"].as_str().expect("a sequence number").to_owned(),
            number: line["n"].as_u64().expect("a number"),
        }
    };
    text.lines().map(line).collect()
}

/// What must hold of all that came, whatever happened: within an epoch the messages of a shard are there once and in
/// order, and what a drain that ended well delivered never comes again. Tells how many came more than once.
pub fn check(batches: &[Batch], kept: &BTreeSet<u64>) -> Result<usize, String> {
    let mut last: BTreeMap<(&str, u64), Sequence> = BTreeMap::new();
    let mut epochs: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for batch in batches {
        for message in &batch.messages {
            let sequence = Sequence::parse(&message.sequence).map_err(|_| "no sequence number")?;
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
        if let Some(epoch) = epochs.iter().find(|epoch| kept.contains(epoch) && **epoch < newest) {
            return Err(format!("{sequence} of {shard} was kept in epoch {epoch} and came again in {newest}"));
        }
    }
    Ok(again)
}
