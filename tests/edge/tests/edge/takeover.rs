//! Runs many drains at once over a reshard, on stores with each quirk, in processes that are killed at each step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edge_tests::client::{Process, call};
use edge_tests::events::{Event, Point};
use edge_tests::sink::{Sink, check};
use edge_tests::store::Quirk;
use edge_tests::{Build, Options, TOKEN};
use test_support::emulator::Emulator;

/// Where processes die while they create the value, one after the other.
const CREATION: [Point; 3] = [Point(Event::Incremented, 2), Point(Event::Swapping, 1), Point(Event::Swapped, 1)];

/// Where concurrent processes die.
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

/// How far the clocks jump after a death, in milliseconds: more than a lease, and more than the two minutes for which a
/// death during creation blocks the others.
const JUMP: u64 = 125_000;

/// The `Retry-After` of a drain that finds another creating the value, in seconds.
const CREATION_RETRY: &str = "5";

/// How far the clocks step with every second batch, in milliseconds: more than half of a lease, so that drains commit
/// between batches.
const STEP: u64 = 35_000;

/// The number of messages before the reshard, and again after it.
const MESSAGES: u32 = 600;

const PARENT: &str = "shardId-000000000000";
const CHILDREN: [&str; 2] = ["shardId-000000000008", "shardId-000000000009"];

/// Enough that a drain delivers several batches.
const SHARDS: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn drains_take_over_on_a_strict_store() {
    run_with_each_number_of_drains(Quirk::Strict).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_take_over_where_swaps_overwrite_absent_values() {
    run_with_each_number_of_drains(Quirk::OverwriteAbsent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_take_over_where_successful_swaps_are_reported_as_failed() {
    run_with_each_number_of_drains(Quirk::FalseFailure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_take_over_where_answers_are_lost() {
    run_with_each_number_of_drains(Quirk::LostReply).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drains_take_over_where_reads_are_stale() {
    run_with_each_number_of_drains(Quirk::StaleRead).await;
}

async fn run_with_each_number_of_drains(quirk: Quirk) {
    let folder = tempfile::tempdir().expect("a temporary folder can be created");
    let emulator = Emulator::ferrokinesis().await;
    for drains in [2, 4, 8] {
        let (stream, clock) = (format!("orders-{drains}"), folder.path().join(format!("{drains}.clock")));
        create_resharded(&emulator, &stream).await;
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
        // In the other races, all drains start at once without a value in the store.
        if drains == 2 {
            race.create_value().await;
        }
        let race = Arc::new(race);
        let weak = Arc::downgrade(&race);
        race.sink.on_batch(move || {
            if fastrand::bool()
                && let Some(race) = weak.upgrade()
            {
                race.jump(STEP);
            }
        });
        let workers: Vec<_> = (0..drains).map(|number| tokio::spawn(race.clone().work(number))).collect();
        for worker in workers {
            worker.await.expect("a worker does not panic");
        }
        race.check(quirk, drains);
    }
}

/// Creates a stream with messages in all shards, then splits the first shard and puts messages in its children too.
async fn create_resharded(emulator: &Emulator, stream: &str) {
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
    /// The number of messages that were added later.
    added: u32,
    /// The number of processes started so far.
    started: usize,
    died: usize,
    /// How far the clocks are ahead, in milliseconds.
    ahead: u64,
    /// The epochs of drains that ended successfully.
    committed: BTreeSet<u64>,
    /// How often each status was answered.
    answers: BTreeMap<u16, usize>,
}

impl Race {
    async fn create_value(&self) {
        for point in CREATION {
            let mut process = Process::start(&Options { die_at: Some(point), ..self.options.clone() }).await;
            // An answer means that the drain was blocked by what a dead process left behind.
            while call("POST", &format!("{}/drain", process.url), Some(TOKEN)).await.is_ok() {
                self.jump(JUMP);
            }
            process.wait_for_kill().await;
            self.jump(JUMP);
        }
    }

    /// Calls drains until everything is read. As long as there are points left, each process dies at the next one.
    async fn work(self: Arc<Race>, number: usize) {
        loop {
            let mut options = self.options.clone();
            {
                let mut shared = self.shared.lock().expect("no panic while locked");
                options.die_at = POINTS.get(shared.started).copied();
                options.seed = (number * 1000 + shared.started) as u64;
                shared.started += 1;
            }
            let mut process = Process::start(&options).await;
            let done = loop {
                match call("POST", &format!("{}/drain?max-messages=200", process.url), Some(TOKEN)).await {
                    Ok(answer) => {
                        let report = answer.json();
                        let idle = report["outcome"] == "caught-up" && report["messages"] == 0;
                        if idle && options.die_at.is_none() {
                            break true;
                        }
                        if idle {
                            self.add_messages().await;
                        }
                        if answer.header("retry-after") == CREATION_RETRY && report["outcome"].is_null() {
                            self.wait_for_creation().await;
                        }
                        let mut shared = self.shared.lock().expect("no panic while locked");
                        *shared.answers.entry(answer.status).or_default() += 1;
                        match answer.status {
                            200 => shared.committed.insert(report["epoch"].as_u64().expect("an epoch is a number")),
                            409 | 503 => false,
                            _ => panic!("{answer:?}"),
                        };
                    }
                    Err(_) => break false,
                }
                // Gives the others a chance to take the lease.
                tokio::time::sleep(Duration::from_millis(30)).await;
            };
            if done {
                return;
            }
            process.wait_for_kill().await;
            self.shared.lock().expect("no panic while locked").died += 1;
            self.jump(JUMP);
        }
    }

    /// Moves the clocks of all processes forward.
    fn jump(&self, milliseconds: u64) {
        let mut shared = self.shared.lock().expect("no panic while locked");
        shared.ahead += milliseconds;
        let new = self.clock.with_extension("new");
        std::fs::write(&new, shared.ahead.to_string()).expect("the file can be written");
        std::fs::rename(new, &self.clock).expect("the file can be replaced");
    }

    /// Waits while another process is creating the value. If nothing happens for a moment, its increment succeeded but
    /// the answer was lost, and the clocks jump over the two minutes for which no process may create the value.
    async fn wait_for_creation(&self) {
        let ahead = || self.shared.lock().expect("no panic while locked").ahead;
        let before = ahead();
        tokio::time::sleep(Duration::from_millis(200)).await;
        if ahead() == before {
            self.jump(JUMP);
        }
    }

    /// Adds messages, so that a process that is still to die reaches its point.
    async fn add_messages(&self) {
        let first = {
            let mut shared = self.shared.lock().expect("no panic while locked");
            shared.added += 60;
            2 * MESSAGES + shared.added - 60
        };
        self.emulator.put(&self.stream, first..first + 60).await;
    }

    fn check(&self, quirk: Quirk, drains: usize) {
        let shared = self.shared.lock().expect("no panic while locked");
        let batches = self.sink.batches();
        assert_eq!(
            self.sink.numbers(),
            (0..u64::from(2 * MESSAGES + shared.added)).collect(),
            "{quirk:?}, {drains} drains"
        );
        assert_eq!(shared.died, POINTS.len(), "a process did not reach the point where it should die");
        let again =
            check(&batches, &shared.committed).unwrap_or_else(|error| panic!("{quirk:?}, {drains} drains: {error}"));
        let mut seen = BTreeSet::new();
        let new = batches.iter().filter(|batch| batch.messages.iter().any(|message| seen.insert(message.number)));
        let order: Vec<&str> = new.map(|batch| batch.shard.as_str()).collect();
        let parent = order.iter().rposition(|shard| *shard == PARENT);
        let child = order.iter().position(|shard| CHILDREN.contains(shard));
        assert!(parent < child, "{quirk:?}, {drains} drains: a child was read before the end of its parent: {order:?}");
        println!("{quirk:?}, {drains} drains: {again} messages came again, {:?}", shared.answers);
    }
}
