//! A proxy between a reader and an emulator that does what networks, load balancers and Kinesis do on a bad day.
//!
//! Which request meets which fault is drawn from a seed. The proxy speaks plain TCP, so that every byte that it breaks
//! is its own. Only readers go through it: what they ask may be asked twice.

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

use crate::chance::Chance;

/// What can befall a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It comes late.
    Delay,
    /// The body of its answer comes in drops.
    Drip,
    /// The connection is reset before the service hears of it.
    Reset,
    /// The connection is reset in the middle of the answer's body.
    Drop,
    /// The answer ends, in all order, in the middle of its body.
    Cut,
    /// The answer announces less than it has.
    TooShort,
    /// The answer announces more than it has.
    TooLong,
    /// Nothing ever comes.
    Silence,
    /// The body begins, and comes in drops for ever.
    EndlessDrip,
    /// A load balancer has nobody to ask.
    Unavailable,
    /// The service fails within.
    Internal,
    /// Somebody else answers, and well.
    Portal,
    /// The shard is read too often.
    Throttled,
    /// The iterator is too old, however young it is.
    ExpiredIterator,
    /// The same, of an iterator that was only just given out and never used.
    ExpiredFreshIterator,
    /// The listing's token is too old, however young it is.
    ExpiredToken,
    /// The credentials have ended.
    ExpiredCredentials,
    /// The answer is said to be elsewhere.
    Redirect,
}

/// The faults that a reader overcomes soon.
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

/// Failures in a row, over all connections: fewer than the tries after which a reader gives up on whom it never heard.
const IN_A_ROW_MAX: u32 = 3;

/// The most shards in a page of a listing, so that small streams have listings of many pages.
const SHARDS_IN_PAGE: usize = 2;

/// What a proxy does.
#[derive(Clone, Debug, Default)]
pub struct Mood {
    /// The share of requests that meet a fault, in percent.
    pub share: u8,
    /// The faults to draw from.
    pub faults: Vec<Fault>,
    /// Who is let in. None: everybody.
    pub gate: Option<Gate>,
    /// Where [`Fault::Redirect`] sends to.
    pub elsewhere: String,
}

impl Mood {
    /// Some requests meet one of these.
    pub fn of(share: u8, faults: &[Fault]) -> Mood {
        Mood { share, faults: faults.to_vec(), ..Mood::default() }
    }
}

/// A proxy at work. It ends when it is dropped.
pub struct Proxy {
    /// Where it listens.
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
    in_a_row: u32,
    tally: BTreeMap<String, u64>,
    /// Answers passed on, by operation.
    passed: BTreeMap<String, u64>,
    /// Iterators that came from GetShardIterator and were not used yet.
    fresh: HashSet<String>,
    /// What is left of a listing, by its token.
    listings: HashMap<String, Vec<Value>>,
}

impl Proxy {
    /// A proxy before the emulator at this URL.
    pub async fn start(service: &str, seed: u64, mood: Mood) -> Proxy {
        let service = service.trim_start_matches("http://").parse().expect("the URL of an emulator");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let state = State {
            mood,
            chance: Chance::new(seed, 7),
            in_a_row: 0,
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
                    // A connection that breaks is what all this is about.
                    tokio::spawn(async move { serve(Wire::new(client), &shared).await });
                }
            }
        });
        Proxy { url, shared, task }
    }

    /// What it does from here on.
    pub fn set(&self, mood: Mood) {
        self.shared.state().mood = mood;
    }

    /// The faults so far, by name.
    pub fn tally(&self) -> BTreeMap<String, u64> {
        self.shared.state().tally.clone()
    }

    /// The answers of this operation that were passed on.
    pub fn passed(&self, operation: &str) -> u64 {
        self.shared.state().passed.get(operation).copied().unwrap_or(0)
    }

    /// How often this fault was met.
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

/// Answers the requests of a connection, one after the other.
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
                let mut bytes = answer.bytes_announced_as(length + 1_000_000);
                bytes.resize(bytes.len() + 1_000_000, b' ');
                drip(&mut client, &bytes, 1_000_000, 1_000_000).await?;
            }
            Some(Fault::Drop) => {
                client.write(&bytes[..middle]).await?;
                return client.reset();
            }
            Some(Fault::Cut) => return client.write(&bytes[..middle]).await,
            Some(Fault::TooShort) => return client.write(&answer.bytes_announced_as(length / 2)).await,
            Some(Fault::TooLong) => return client.write(&answer.bytes_announced_as(length + 100)).await,
            _ => client.write(&bytes).await?,
        }
    }
    Ok(())
}

/// Sends an answer whose body of `length` comes in `drops`.
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
    /// The fault that a request meets.
    fn draw(&mut self, request: &Message) -> Option<Fault> {
        let operation = request.operation();
        let asked = request.json();
        let fresh = asked["ShardIterator"].as_str().is_some_and(|iterator| self.fresh.remove(iterator));
        let fits = |fault: &Fault| match fault {
            Fault::ExpiredIterator => operation == "GetRecords" && !fresh,
            Fault::ExpiredFreshIterator => operation == "GetRecords" && fresh,
            Fault::ExpiredToken => asked["NextToken"].is_string(),
            Fault::Throttled => matches!(operation, "GetRecords" | "GetShardIterator"),
            _ => true,
        };
        let may = self.in_a_row < IN_A_ROW_MAX && self.chance.percent(self.mood.share);
        let mut fitting: Vec<Fault> = self.mood.faults.iter().copied().filter(fits).collect();
        // What was not met yet comes first, so that the rare ones come at all.
        if fitting.iter().any(|fault| !self.tally.contains_key(&format!("{fault:?}"))) {
            fitting.retain(|fault| !self.tally.contains_key(&format!("{fault:?}")));
        }
        let fault = (may && !fitting.is_empty()).then(|| self.chance.of(&fitting));
        self.in_a_row = if matches!(fault, None | Some(Fault::Delay | Fault::Drip)) { 0 } else { self.in_a_row + 1 };
        if let Some(fault) = fault {
            *self.tally.entry(format!("{fault:?}")).or_default() += 1;
        }
        fault
    }

    /// The answer that is given in place of the service's.
    fn instead(&mut self, fault: Option<Fault>, request: &Message) -> Option<Message> {
        let rejected = |name: &str, words: &str| Some(Message::rejection("400 Bad Request", name, words));
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
                *self.tally.entry("Refused at the gate".to_owned()).or_default() += 1;
            }
            refusal.or_else(|| self.rest_of_listing(request))
        })?;
        if let Some(gate) = gate {
            gate.date(&mut answer);
        }
        Some(answer)
    }

    /// The service's answer as it is passed on.
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

    /// The page behind a token that this proxy gave out.
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
