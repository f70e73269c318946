//! A proxy between a reader and an emulator that injects the faults of networks, load balancers and Kinesis.
//!
//! A seed decides which request meets which fault. The proxy implements HTTP on plain TCP, so that it can break every
//! byte. Only readers may use it, because their requests can be repeated safely.

mod gate;
mod message;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub use gate::Gate;
use message::{Message, Wire};

use simulation::chance::Chance;

/// What can go wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The request is delayed.
    Delay,
    /// The body of the answer arrives slowly, in small pieces.
    Drip,
    /// The connection is reset before the request reaches the service.
    Reset,
    /// The connection is reset in the middle of the answer's body.
    Drop,
    /// The connection is closed in the middle of the answer's body.
    Cut,
    /// The `Content-Length` is less than the length of the body.
    TooShort,
    /// The `Content-Length` is greater than the length of the body.
    TooLong,
    /// There is no answer.
    Silence,
    /// The body begins, and then continues slowly forever.
    EndlessDrip,
    /// A load balancer has no healthy server.
    Unavailable,
    /// The service has an internal error.
    Internal,
    /// A captive portal answers with status 200.
    Portal,
    /// The shard is throttled.
    Throttled,
    /// The iterator is said to have expired, whatever its age.
    ExpiredIterator,
    /// The same for an iterator that was never used.
    ExpiredFreshIterator,
    /// The token of a listing is said to have expired, whatever its age.
    ExpiredToken,
    /// The credentials have expired.
    ExpiredCredentials,
    /// The answer redirects elsewhere.
    Redirect,
}

/// The faults that a reader overcomes quickly.
pub const PASSING: &[Fault] = &[
    Fault::Delay,
    Fault::Drip,
    Fault::Reset,
    Fault::Drop,
    Fault::Cut,
    Fault::TooShort,
    Fault::TooLong,
    Fault::Unavailable,
    Fault::Internal,
    Fault::Portal,
    Fault::Throttled,
    Fault::ExpiredIterator,
    Fault::ExpiredFreshIterator,
    Fault::ExpiredToken,
];

/// The maximum number of consecutive failures over all connections. It must be below the number of failures after which
/// a reader gives up on an endpoint that has never answered.
const CONSECUTIVE_MAX: u32 = 3;

/// The maximum number of shards per page of a listing, so that even small streams have multi-page listings.
const SHARDS_IN_PAGE: usize = 2;

/// How the proxy behaves.
#[derive(Clone, Debug, Default)]
pub struct Mood {
    /// The share of requests that meet a fault, in percent.
    pub share: u8,
    /// The faults to draw from.
    pub faults: Vec<Fault>,
    /// Checks signatures. Without a gate, everyone may use the proxy.
    pub gate: Option<Gate>,
    /// The target of [`Fault::Redirect`].
    pub elsewhere: String,
}

impl Mood {
    /// A share of requests, in percent, meets one of these faults.
    pub fn of(share: u8, faults: &[Fault]) -> Mood {
        Mood { share, faults: faults.to_vec(), ..Mood::default() }
    }
}

/// A running proxy. It stops when it is dropped.
pub struct Proxy {
    /// The URL it listens on.
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    service: SocketAddr,
    state: Mutex<State>,
}

struct State {
    mood: Mood,
    chance: Chance,
    /// The number of consecutive failures so far.
    consecutive: u32,
    /// How often each fault occurred.
    tally: BTreeMap<String, u64>,
    /// The number of answers passed on, by operation.
    passed: BTreeMap<String, u64>,
    /// Iterators from `GetShardIterator` that have not been used yet.
    fresh: HashSet<String>,
    /// The rest of a listing, by token.
    listings: HashMap<String, Vec<Value>>,
}

impl Proxy {
    /// Starts a proxy in front of the emulator at this URL.
    pub async fn start(service: &str, seed: u64, mood: Mood) -> Proxy {
        let service = service.trim_start_matches("http://").parse().expect("the URL of an emulator");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("the listener is bound"));
        let state = State {
            mood,
            chance: Chance::new(seed, 7),
            consecutive: 0,
            tally: BTreeMap::new(),
            passed: BTreeMap::new(),
            fresh: HashSet::new(),
            listings: HashMap::new(),
        };
        let shared = Arc::new(Shared { service, state: Mutex::new(state) });
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let shared = shared.clone();
                    // Broken connections are expected here, so errors are ignored.
                    tokio::spawn(async move { serve(Wire::new(client), &shared).await });
                }
            }
        });
        Proxy { url, shared, task }
    }

    /// Changes the behavior from now on.
    pub fn set(&self, mood: Mood) {
        self.shared.state().mood = mood;
    }

    /// Returns the number of faults so far, by name.
    pub fn tally(&self) -> BTreeMap<String, u64> {
        self.shared.state().tally.clone()
    }

    /// Returns the number of answers to this operation that were passed on.
    pub fn passed(&self, operation: &str) -> u64 {
        self.shared.state().passed.get(operation).copied().unwrap_or(0)
    }

    /// Returns how often this fault occurred.
    pub fn count(&self, fault: Fault) -> u64 {
        self.shared.state().tally.get(&format!("{fault:?}")).copied().unwrap_or(0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the requests on a connection, one after the other.
async fn serve(mut client: Wire, shared: &Shared) -> io::Result<()> {
    let mut service = Wire::new(TcpStream::connect(shared.service).await?);
    while let Some(request) = client.read().await? {
        let fault = shared.state().draw(&request);
        match fault {
            Some(Fault::Delay) => {
                let pause = shared.state().chance.within(10, 200);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Some(Fault::Reset) => return client.reset(),
            Some(Fault::Silence) => return client.read().await.map(drop),
            _ => {}
        }
        let instead = shared.state().instead(fault, &request);
        if let Some(answer) = instead {
            client.write(&answer.bytes()).await?;
            continue;
        }
        service.write(&request.bytes()).await?;
        let answer = service.read().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let answer = shared.state().pass(&request, answer);
        let (bytes, length) = (answer.bytes(), answer.body.len());
        let middle = bytes.len() - length.div_ceil(2);
        match fault {
            Some(Fault::Drip) => drip(&mut client, &bytes, length, 10).await?,
            Some(Fault::EndlessDrip) => {
                let mut bytes = answer.bytes_with_length(length + 1_000_000);
                bytes.resize(bytes.len() + 1_000_000, b' ');
                drip(&mut client, &bytes, 1_000_000, 1_000_000).await?;
            }
            Some(Fault::Drop) => {
                client.write(&bytes[..middle]).await?;
                return client.reset();
            }
            Some(Fault::Cut) => return client.write(&bytes[..middle]).await,
            Some(Fault::TooShort) => return client.write(&answer.bytes_with_length(length / 2)).await,
            Some(Fault::TooLong) => return client.write(&answer.bytes_with_length(length + 100)).await,
            _ => client.write(&bytes).await?,
        }
    }
    Ok(())
}

/// Sends an answer whose body has this length, split into this many pieces.
async fn drip(client: &mut Wire, bytes: &[u8], length: usize, drops: usize) -> io::Result<()> {
    let (head, body) = bytes.split_at(bytes.len() - length);
    client.write(head).await?;
    for drop in body.chunks(length.div_ceil(drops).max(1)) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        client.write(drop).await?;
    }
    Ok(())
}

impl State {
    /// Draws the fault that a request meets.
    fn draw(&mut self, request: &Message) -> Option<Fault> {
        let operation = request.operation();
        let query = request.json();
        let fresh = query["ShardIterator"].as_str().is_some_and(|iterator| self.fresh.remove(iterator));
        let fits = |fault: &Fault| match fault {
            Fault::ExpiredIterator => operation == "GetRecords" && !fresh,
            Fault::ExpiredFreshIterator => operation == "GetRecords" && fresh,
            Fault::ExpiredToken => query["NextToken"].is_string(),
            Fault::Throttled => matches!(operation, "GetRecords" | "GetShardIterator"),
            _ => true,
        };
        let may = self.consecutive < CONSECUTIVE_MAX && self.chance.percent(self.mood.share);
        let mut fitting: Vec<Fault> = self.mood.faults.iter().copied().filter(fits).collect();
        // Prefer faults that have not occurred yet, so that rare ones occur at all.
        if fitting.iter().any(|fault| !self.tally.contains_key(&format!("{fault:?}"))) {
            fitting.retain(|fault| !self.tally.contains_key(&format!("{fault:?}")));
        }
        let fault = (may && !fitting.is_empty()).then(|| self.chance.of(&fitting));
        let is_failure = !matches!(fault, None | Some(Fault::Delay | Fault::Drip));
        self.consecutive = if is_failure { self.consecutive + 1 } else { 0 };
        if let Some(fault) = fault {
            *self.tally.entry(format!("{fault:?}")).or_default() += 1;
        }
        fault
    }

    /// Returns an answer to use instead of the service's, if any.
    fn instead(&mut self, fault: Option<Fault>, request: &Message) -> Option<Message> {
        let rejected = |name: &str, message: &str| Some(Message::rejection("400 Bad Request", name, message));
        let by_fault = fault.and_then(|fault| match fault {
            Fault::Unavailable => Some(Message::html(self.chance.of(&[
                "503 Service Unavailable",
                "502 Bad Gateway",
                "504 Gateway Timeout",
            ]))),
            Fault::Internal => Some(Message::rejection("500 Internal Server Error", "InternalFailure", "")),
            Fault::Portal => Some(Message::html("200 OK")),
            Fault::Throttled => rejected("ProvisionedThroughputExceededException", "Rate exceeded for shard"),
            Fault::ExpiredIterator | Fault::ExpiredFreshIterator => {
                rejected("ExpiredIteratorException", "Iterator expired")
            }
            Fault::ExpiredToken => rejected("ExpiredNextTokenException", "The NextToken has expired"),
            Fault::ExpiredCredentials => {
                rejected("ExpiredTokenException", "The security token included in the request is expired")
            }
            Fault::Redirect => {
                let mut answer = Message::html("302 Found");
                answer.set_header("Location", &self.mood.elsewhere);
                Some(answer)
            }
            Fault::Delay
            | Fault::Drip
            | Fault::Reset
            | Fault::Drop
            | Fault::Cut
            | Fault::TooShort
            | Fault::TooLong
            | Fault::Silence
            | Fault::EndlessDrip => None,
        });
        let gate = self.mood.gate.clone();
        let mut answer = by_fault.or_else(|| {
            let refusal = gate.as_ref().and_then(|gate| gate.refusal(request));
            if refusal.is_some() {
                *self.tally.entry("RefusedByGate".to_owned()).or_default() += 1;
            }
            refusal.or_else(|| self.rest_of_listing(request))
        })?;
        if let Some(gate) = gate {
            gate.date(&mut answer);
        }
        Some(answer)
    }

    /// Returns the service's answer as it is passed on.
    fn pass(&mut self, request: &Message, mut answer: Message) -> Message {
        *self.passed.entry(request.operation().to_owned()).or_default() += 1;
        if answer.is_ok() {
            match request.operation() {
                "GetShardIterator" => {
                    let iterator = answer.json()["ShardIterator"].as_str().map(str::to_owned);
                    self.fresh.extend(iterator);
                }
                "ListShards" => {
                    if let Value::Array(shards) = answer.json()["Shards"].take() {
                        answer = self.page_of_listing(shards);
                    }
                }
                _ => {}
            }
        }
        if let Some(gate) = &self.mood.gate {
            gate.date(&mut answer);
        }
        answer
    }

    /// Returns the next page of a listing, if the request has one of the proxy's tokens.
    fn rest_of_listing(&mut self, request: &Message) -> Option<Message> {
        let token = request.json()["NextToken"].as_str()?.to_owned();
        let shards = self.listings.get(&token)?.clone();
        Some(self.page_of_listing(shards))
    }

    fn page_of_listing(&mut self, mut shards: Vec<Value>) -> Message {
        let rest = shards.split_off(shards.len().min(SHARDS_IN_PAGE));
        if rest.is_empty() {
            return Message::answer("200 OK", &json!({"Shards": shards}));
        }
        let token = format!("token-{}", self.listings.len());
        self.listings.insert(token.clone(), rest);
        Message::answer("200 OK", &json!({"Shards": shards, "NextToken": token}))
    }
}
