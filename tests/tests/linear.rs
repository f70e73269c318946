//! The reader's work is proportional to the number of shards, not to its square.
//!
//! The component runs on an engine that counts instructions, so the result is the same on every machine.

use wasmtime::component::{Component, Linker, ResourceAny};
use wasmtime::{Config, Engine, Store};

use kinesis_reader::component::COMPONENT;

mod bindings {
    #![allow(missing_docs, reason = "these are the contract's types")]
    wasmtime::component::bindgen!({ path: "../wit", world: "reader" });
}
use bindings::exports::kinesis::reader::reading as wit;

/// How the shards of a stream follow each other.
#[derive(Clone, Copy, Debug)]
enum Lineage {
    /// Every shard is open and has no parents.
    None,
    /// All shards are children of the first.
    Fan,
}

#[test]
fn the_work_for_four_times_the_shards_is_about_four_times_as_much() {
    let engine = Engine::new(Config::new().consume_fuel(true)).expect("an engine");
    let component = Component::new(&engine, COMPONENT).expect("a component");
    let world = Linker::new(&engine).instantiate_pre(&component).expect("the component imports nothing");
    let world = bindings::ReaderPre::new(world).expect("the component exports a reader");
    for lineage in [Lineage::None, Lineage::Fan] {
        let [few, many] = [1_000, 4_000].map(|shards| Run::new(&engine, &world, lineage, shards).work());
        let ratio = many as f64 / few as f64;
        // A search among four times as many shards takes a fifth longer. Quadratic work would take sixteen times as
        // long.
        assert!((3.0..6.0).contains(&ratio), "{lineage:?}: {few} and {many} instructions, {ratio:.1} times as many");
    }
}

struct Run {
    store: Store<()>,
    world: bindings::Reader,
    lineage: Lineage,
    shards: usize,
}

/// More instructions than any run needs.
const FUEL: u64 = 1 << 50;

impl Run {
    fn new(engine: &Engine, world: &bindings::ReaderPre<()>, lineage: Lineage, shards: usize) -> Run {
        let mut store = Store::new(engine, ());
        store.set_fuel(FUEL).expect("fuel is counted");
        let world = world.instantiate(&mut store).expect("an instance");
        Run { store, world, lineage, shards }
    }

    /// Reads the stream to its end, and returns the number of instructions that this took.
    fn work(mut self) -> u64 {
        let reader = self.open();
        let (mut now, mut saved) = (0, 0);
        loop {
            let action =
                self.world.kinesis_reader_reading().reader().call_poll(&mut self.store, reader).expect("no trap");
            match action {
                wit::Action::Send(request) => {
                    now += 1;
                    let response = self.answer(&request);
                    let reading = self.world.kinesis_reader_reading().reader();
                    let result = reading.call_handle_response(&mut self.store, reader, request.id, &response, now);
                    result.expect("no trap").expect("the request is pending");
                }
                wit::Action::Wait(wait) => {
                    now = now.max(wait.until.expect("a deadline"));
                    self.world
                        .kinesis_reader_reading()
                        .reader()
                        .call_handle_timeout(&mut self.store, reader, now)
                        .expect("no trap");
                    // A host saves the changes from time to time.
                    let changes = self
                        .world
                        .kinesis_reader_reading()
                        .reader()
                        .call_changes(&mut self.store, reader, saved)
                        .expect("no trap");
                    saved = self
                        .world
                        .kinesis_reader_reading()
                        .reader()
                        .call_revision(&mut self.store, reader)
                        .expect("no trap");
                    drop(changes);
                }
                wit::Action::Notice(wit::Notice::Shard(_)) => {}
                wit::Action::Finish(wit::Outcome::Reached) => break,
                other => panic!("{:?}: {other:?}", self.lineage),
            }
        }
        let shards =
            self.world.kinesis_reader_reading().reader().call_shards(&mut self.store, reader).expect("no trap");
        assert_eq!(shards.len(), self.shards, "{:?}", self.lineage);
        FUEL - self.store.get_fuel().expect("fuel is counted")
    }

    fn open(&mut self) -> ResourceAny {
        let source = wit::Source::Name("orders".to_owned());
        let mut config = self.world.kinesis_reader_reading().call_defaults(&mut self.store, &source).expect("no trap");
        config.limits.pace = None;
        let opened = self.world.kinesis_reader_reading().reader();
        opened.call_open(&mut self.store, &config, None, 1, 0, 1_763_900_000_000).expect("no trap").expect("a config")
    }

    fn answer(&self, request: &wit::Request) -> wit::Response {
        let wit::Body::Json(query) = &request.body else { panic!("not JSON") };
        let number = |text: &str| text.rsplit(['-', '"']).find_map(|part| part.parse::<usize>().ok());
        let (status, body) = match request.operation {
            wit::Operation::DescribeStreamSummary => (400, r#"{"__type":"AccessDeniedException"}"#.to_owned()),
            wit::Operation::ListShards => (200, self.listing(number(query).unwrap_or(0))),
            wit::Operation::GetShardIterator => {
                let shard = request.shard.as_deref().and_then(number).expect("a shard");
                (200, format!(r#"{{"ShardIterator":"{shard}"}}"#))
            }
            wit::Operation::GetRecords => (200, self.page(request.shard.as_deref().and_then(number).expect("a shard"))),
        };
        let body = wit::Body::Json(body);
        wit::Response { status, body, aws_request_id: None, date: None, signed: None }
    }

    /// Returns a listing of a thousand shards from this one on. Odd ones come first, so that the order does not help.
    fn listing(&self, from: usize) -> String {
        let to = (from + 1000).min(self.shards);
        let order = (from..to).filter(|shard| shard % 2 == 1).chain((from..to).filter(|shard| shard % 2 == 0));
        let shards: Vec<String> = order.map(|shard| self.listed(shard)).collect();
        let token = if to < self.shards { format!(r#","NextToken":"{to}""#) } else { String::new() };
        format!(r#"{{"Shards":[{}]{token}}}"#, shards.join(","))
    }

    fn listed(&self, shard: usize) -> String {
        let parents = self.parents(shard).into_iter().zip(["ParentShardId", "AdjacentParentShardId"]);
        let parents: String = parents.map(|(parent, name)| format!(r#","{name}":"shardId-{parent:012}""#)).collect();
        let end = if self.is_open(shard) { "" } else { r#","EndingSequenceNumber":"9""# };
        format!(
            r#"{{"ShardId":"shardId-{shard:012}"{parents},"SequenceNumberRange":{{"StartingSequenceNumber":"1"{end}}}}}"#
        )
    }

    fn parents(&self, shard: usize) -> Vec<usize> {
        match self.lineage {
            Lineage::None => Vec::new(),
            Lineage::Fan => (shard > 0).then_some(0).into_iter().collect(),
        }
    }

    fn is_open(&self, shard: usize) -> bool {
        match self.lineage {
            Lineage::None => true,
            Lineage::Fan => shard > 0,
        }
    }

    /// Returns an empty page, which is the last one if the shard is closed.
    fn page(&self, shard: usize) -> String {
        if self.is_open(shard) {
            return r#"{"Records":[],"NextShardIterator":"x","MillisBehindLatest":0}"#.to_owned();
        }
        r#"{"Records":[],"MillisBehindLatest":0}"#.to_owned()
    }
}
