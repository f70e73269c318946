//! Many drains at once over a reshard, on stores with each quirk, in processes that are killed at each step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::edge::client::{Process, TOKEN, ask};
use tests::edge::events::{Event, Point};
use tests::edge::sink::{Sink, check};
use tests::edge::store::Quirk;
use tests::edge::{Build, Options};
use tests::emulator::Emulator;

/// Where processes die as they create the value, the one after the other.
const CREATION: [Point; 3] = [Point(Event::Incremented, 2), Point(Event::Swapping, 1), Point(Event::Swapped, 1)];

/// Where processes die that drain side by side.
const POINTS: [Point; 14] = [
    Point(Event::Read, 1),
    Point(Event::Swapping, 1),
    Point(Event::Swapped, 1),
    Point(Event::Read, 2),
    Point(Event::KinesisAsked, 1),
    Point(Event::KinesisAnswered, 2),
    Point(Event::KinesisAnswered, 12),
    Point(Event::SinkAsked, 1),
    Point(Event::SinkAnswered, 1),
    Point(Event::SinkAsked, 2),
    Point(Event::SinkAnswered, 2),
    Point(Event::Swapping, 2),
    Point(Event::Swapped, 2),
    Point(Event::Read, 4),
];

/// After a death nobody comes in for as long as a lease is, or for two minutes if it was in the creation.
const JUMP: u64 = 125_000;

/// When to come again, in seconds, where another creates the value.
const CREATION_RETRY: &str = "5";

/// With every second batch the calendar passes by more than half of a lease, so that who drains commits between batches.
const STEP: u64 = 35_000;

/// Messages before the reshard, and as many after it.
const MESSAGES: u32 = 600;

const PARENT: &str = "shardId-000000000000";
const CHILDREN: [&str; 2] = ["shardId-000000000008", "shardId-000000000009"];

/// So many that a drain delivers several batches.
const SHARDS: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn on_a_strict_store() {
    every_number_of_drains(Quirk::Strict).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_swap_on_nothing_overwrites() {
    every_number_of_drains(Quirk::OverwriteAbsent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_swap_that_was_made_is_answered_as_failed() {
    every_number_of_drains(Quirk::FalseFailure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_answers_are_lost() {
    every_number_of_drains(Quirk::LostReply).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_reads_are_stale() {
    every_number_of_drains(Quirk::StaleRead).await;
}

async fn every_number_of_drains(quirk: Quirk) {
    let folder = tempfile::tempdir().expect("a folder");
    let emulator = Emulator::ferrokinesis().await;
    for drains in [2, 4, 8] {
        let (stream, clock) = (format!("orders-{drains}"), folder.path().join(format!("{drains}.clock")));
        resharded(&emulator, &stream).await;
        let sink = Sink::start().await;
        let store = folder.path().join(format!("{drains}.db"));
        let mut options = Options::new(Build::Kv, store, &emulator.url, &stream).set("SINK_URL", &sink.url);
        options.quirk = quirk;
        options.clock = Some(clock.clone());
        let race = Race {
            emulator: Emulator::at(emulator.url.clone()),
            stream,
            sink,
            clock,
            options,
            shared: Mutex::default(),
        };
        race.jump(0);
        // The others all come at once where there is nothing yet.
        if drains == 2 {
            race.create().await;
        }
        let race = Arc::new(race);
        let passing = Arc::downgrade(&race);
        race.sink.calls(move || {
            if fastrand::bool()
                && let Some(race) = passing.upgrade()
            {
                race.jump(STEP);
            }
        });
        let running: Vec<_> = (0..drains).map(|number| tokio::spawn(race.clone().work(number))).collect();
        for worker in running {
            worker.await.expect("a worker does not panic");
        }
        race.check(quirk, drains);
    }
}

/// Shards with messages, of which the first is split and the halves have messages too.
async fn resharded(emulator: &Emulator, stream: &str) {
    emulator.create(stream, SHARDS).await;
    emulator.put(stream, 0..MESSAGES).await;
    emulator.split(stream, PARENT).await;
    assert_eq!(emulator.open_shards(stream).await[..2], CHILDREN);
    emulator.put(stream, MESSAGES..2 * MESSAGES).await;
}

struct Race {
    emulator: Emulator,
    stream: String,
    sink: Sink,
    clock: PathBuf,
    options: Options,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Messages that were put beside the first.
    more: u32,
    /// Processes that were started.
    started: usize,
    died: usize,
    ahead: u64,
    /// The epochs of drains that ended well.
    kept: BTreeSet<u64>,
    /// How often each status was answered.
    answers: BTreeMap<u16, usize>,
}

impl Race {
    async fn create(&self) {
        for point in CREATION {
            let mut process = Process::start(&Options { die: Some(point), ..self.options.clone() }).await;
            // One that is sent away has met what another left.
            while ask("POST", &format!("{}/drain", process.url), Some(TOKEN)).await.is_ok() {
                self.jump(JUMP);
            }
            process.killed().await;
            self.jump(JUMP);
        }
    }

    /// Calls drains until all is read, each time in a process that will die until there are none of these left.
    async fn work(self: Arc<Race>, number: usize) {
        loop {
            let mut options = self.options.clone();
            {
                let mut shared = self.shared.lock().expect("nobody panics with it");
                options.die = POINTS.get(shared.started).copied();
                options.seed = (number * 1000 + shared.started) as u64;
                shared.started += 1;
            }
            let mut process = Process::start(&options).await;
            let done = loop {
                match ask("POST", &format!("{}/drain?max-messages=200", process.url), Some(TOKEN)).await {
                    Ok(answer) => {
                        let report = answer.json();
                        let idle = report["outcome"] == "caught-up" && report["messages"] == 0;
                        if idle && options.die.is_none() {
                            break true;
                        }
                        if idle {
                            self.put_more().await;
                        }
                        if answer.header("retry-after") == CREATION_RETRY && report["outcome"].is_null() {
                            self.pass_creation().await;
                        }
                        let mut shared = self.shared.lock().expect("nobody panics with it");
                        *shared.answers.entry(answer.status).or_default() += 1;
                        match answer.status {
                            200 => shared.kept.insert(report["epoch"].as_u64().expect("a number")),
                            409 | 503 => false,
                            _ => panic!("{answer:?}"),
                        };
                    }
                    Err(_) => break false,
                }
                // Somebody else may come in.
                tokio::time::sleep(Duration::from_millis(30)).await;
            };
            if done {
                return;
            }
            process.killed().await;
            self.shared.lock().expect("nobody panics with it").died += 1;
            self.jump(JUMP);
        }
    }

    /// Moves everybody's calendar.
    fn jump(&self, milliseconds: u64) {
        let mut shared = self.shared.lock().expect("nobody panics with it");
        shared.ahead += milliseconds;
        let beside = self.clock.with_extension("new");
        std::fs::write(&beside, shared.ahead.to_string()).expect("it can be written");
        std::fs::rename(beside, &self.clock).expect("it can be moved");
    }

    /// Somebody began to create the value, and nobody else may for two minutes. If it is still so after a moment, they
    /// pass: the answer that it had begun was lost.
    async fn pass_creation(&self) {
        let ahead = || self.shared.lock().expect("nobody panics with it").ahead;
        let before = ahead();
        tokio::time::sleep(Duration::from_millis(200)).await;
        if ahead() == before {
            self.jump(JUMP);
        }
    }

    /// Gives something to do to who has yet to die of it.
    async fn put_more(&self) {
        let first = {
            let mut shared = self.shared.lock().expect("nobody panics with it");
            shared.more += 60;
            2 * MESSAGES + shared.more - 60
        };
        self.emulator.put(&self.stream, first..first + 60).await;
    }

    fn check(&self, quirk: Quirk, drains: usize) {
        let shared = self.shared.lock().expect("nobody panics with it");
        let batches = self.sink.batches();
        assert_eq!(
            self.sink.numbers(),
            (0..u64::from(2 * MESSAGES + shared.more)).collect(),
            "{quirk:?}, {drains} drains"
        );
        assert_eq!(shared.died, POINTS.len(), "each point is one that is reached");
        let again = check(&batches, &shared.kept).unwrap_or_else(|wrong| panic!("{quirk:?}, {drains} drains: {wrong}"));
        let mut seen = BTreeSet::new();
        let firsts = batches.iter().filter(|batch| batch.messages.iter().any(|message| seen.insert(message.number)));
        let order: Vec<&str> = firsts.map(|batch| batch.shard.as_str()).collect();
        let parent = order.iter().rposition(|shard| *shard == PARENT);
        let child = order.iter().position(|shard| CHILDREN.contains(shard));
        assert!(parent < child, "{quirk:?}, {drains} drains: a child before all of its parent: {order:?}");
        println!("{quirk:?}, {drains} drains: {again} messages came again, {:?}", shared.answers);
    }
}
