//! How the reader splits aggregated records of the Kinesis Producer Library: compared to recordings, for arbitrary
//! input, and at the bounds.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{
    Action, Batch, Config, HashRange, Instant, Outcome, Reader, Response, Source, Timestamp, Totals,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};
use simulation::aggregate::{UserRecord, aggregate, bytes, number, sealed};

const SHARD: &str = "shardId-000000000000";
const ALL: HashRange = HashRange { first: 0, last: u128::MAX };

// -------------------------------------------------------------------------------------------------------- recordings

#[test]
fn every_recorded_aggregate_is_split_or_delivered_whole() {
    let text = include_str!("../golden/kpl_vectors.json");
    let vectors: Value = serde_json::from_str(text).expect("valid JSON");
    let vectors = vectors["vectors"].as_array().expect("vectors");
    assert_eq!(vectors.len(), 20);
    for vector in vectors {
        let name = vector["name"].as_str().expect("a name");
        let carrier = Record {
            sequence: vector["carrier_sequence_number"].as_str().expect("a number").to_owned(),
            partition_key: vector["carrier_partition_key"].as_str().map(str::to_owned),
            data: decode(&vector["data_base64"]),
        };
        let expected: Vec<Got> = match name {
            // The library drops this record. For us, an index out of range means that it is not an aggregated record.
            "partition key index out of range" => vec![Got::of(&carrier)],
            _ => vector["expected"]["user_records"]
                .as_array()
                .expect("user records")
                .iter()
                .map(|user| Got {
                    sequence: carrier.sequence.clone(),
                    subsequence: user["sub_sequence_number"].as_u64().map(|sub| sub as u32),
                    partition_key: user["partition_key"].as_str().map(str::to_owned),
                    data: decode(&user["data_base64"]),
                })
                .collect(),
        };
        for raw in [false, true] {
            let stream = Stream { records: vec![carrier.clone()], range: None, raw };
            assert_eq!(stream.read(None, None).messages, expected, "{name}");
        }
    }
}

#[test]
fn a_missing_hash_key_index_is_not_index_0() {
    // In this recording, only the first user record has an explicit hash key, which is 5. The library that wrote it
    // gives 5 to the others as well. But their true hash keys are far from 5, so a shard for 5 alone keeps only the
    // first.
    let vectors: Value = serde_json::from_str(include_str!("../golden/kpl_vectors.json")).expect("valid JSON");
    let mixed = |vector: &&Value| vector["name"] == "mixed: only first has an explicit hash key";
    let vector = vectors["vectors"].as_array().expect("vectors").iter().find(mixed).expect("the vector exists");
    let record =
        Record { sequence: "7".to_owned(), partition_key: Some("k1".to_owned()), data: decode(&vector["data_base64"]) };
    let range = Some(HashRange { first: 5, last: 5 });
    let run = Stream { records: vec![record], range, raw: false }.read(None, None);
    assert_eq!(run.messages.iter().map(|message| message.subsequence).collect::<Vec<_>>(), [Some(0)]);
    assert_eq!(run.totals.dropped, 2);
}

// --------------------------------------------------------------------------------------------------------- the rules

#[test]
fn a_message_that_was_put_again_after_a_split_is_delivered_once() {
    // A record for the parent arrived in the first child. Its second message belongs to the other child, where the
    // producer puts it again.
    let middle = u128::MAX / 2;
    let user = |key: u128, data: &str| UserRecord { explicit_hash_key: Some(key), ..UserRecord::new("k", data) };
    let late = record(1, aggregate(&[user(0, "one"), user(middle + 1, "two"), user(middle, "three")]));
    let again = record(1, aggregate(&[user(middle + 1, "two")]));
    let [first, second] = [(late, 0..=middle), (again, middle + 1..=u128::MAX)].map(|(record, range)| {
        let range = Some(HashRange { first: *range.start(), last: *range.end() });
        Stream { records: vec![record], range, raw: false }.read(None, None)
    });
    assert_eq!(data(&first.messages), ["one", "three"]);
    assert_eq!(data(&second.messages), ["two"]);
    // Subsequence numbers do not depend on what was skipped.
    assert_eq!(first.messages.iter().map(|message| message.subsequence).collect::<Vec<_>>(), [Some(0), Some(2)]);
    assert_eq!((first.totals.dropped, second.totals.dropped), (1, 0));
}

#[test]
fn a_page_with_only_foreign_messages_advances_the_checkpoint() {
    let foreign = UserRecord { explicit_hash_key: Some(9), ..UserRecord::new("k", "x") };
    let [one, two] = [1, 2].map(|count| aggregate(&vec![foreign.clone(); count]));
    let records = vec![record(1, one), record(2, two)];
    let run = Stream { records, range: Some(HashRange { first: 0, last: 8 }), raw: false }.read(None, None);
    assert_eq!((run.messages.len(), run.totals.dropped, run.totals.messages), (0, 3, 0));
    assert!(run.checkpoint.contains(r#"{"after":"2"}"#), "{}", run.checkpoint);
}

#[test]
fn without_a_usable_range_every_message_is_kept() {
    let foreign = UserRecord { explicit_hash_key: Some(9), ..UserRecord::new("k", "x") };
    let carrier = record(1, aggregate(&[foreign]));
    let empty = Some(HashRange { first: 1, last: 0 });
    assert_eq!(Stream { records: vec![carrier.clone()], range: None, raw: false }.read(None, None).messages.len(), 1);
    assert_eq!(Stream { records: vec![carrier.clone()], range: empty, raw: false }.read(None, None).messages.len(), 0);
    // Without partition keys, the stream distributes records by itself, and hash keys do not determine the shard.
    let keyless = Record { partition_key: None, ..carrier };
    assert_eq!(Stream { records: vec![keyless], range: empty, raw: false }.read(None, None).messages.len(), 1);
}

#[test]
fn fields_may_come_in_any_order_and_unknown_ones_are_skipped() {
    let user = |index: u64, data: &[u8]| bytes(3, &[number(1, index), number(9, 300), bytes(3, data)].concat());
    let fixed = [&[0x3d, 1, 2, 3, 4][..], &[0x39, 1, 2, 3, 4, 5, 6, 7, 8][..]].concat();
    let body = [user(1, b"one"), bytes(1, b"a"), fixed, user(0, b"two"), bytes(1, "ż".as_bytes()), number(8, 1)];
    let run =
        Stream { records: vec![record(1, sealed(&body.concat()))], range: Some(ALL), raw: false }.read(None, None);
    assert_eq!(data(&run.messages), ["one", "two"]);
    assert_eq!(run.messages.iter().map(|m| m.partition_key.as_deref()).collect::<Vec<_>>(), [Some("ż"), Some("a")]);
}

#[test]
fn a_malformed_aggregate_is_one_message() {
    let key = bytes(1, b"k");
    let user = bytes(3, &[number(1, 0), bytes(3, b"x")].concat());
    let tagged = |tags: &[Vec<u8>]| {
        let tags: Vec<u8> = tags.iter().flat_map(|tag| bytes(4, tag)).collect();
        [key.clone(), bytes(3, &[number(1, 0), bytes(3, b"x"), tags].concat())].concat()
    };
    let tag = |key: usize, value: usize| [bytes(1, "ż".repeat(key).as_bytes()), bytes(2, &b"v".repeat(value))].concat();
    let keyed = |key: &str| [bytes(1, key.as_bytes()), user.clone()].concat();
    let hashed = |hash: &str| [key.clone(), bytes(2, hash.as_bytes()), user.clone()].concat();
    let bodies: [(&str, Vec<u8>); 20] = [
        ("an empty body", Vec::new()),
        ("no user record", key.clone()),
        ("no key table", user.clone()),
        ("the index of an explicit hash key without a table", {
            [key.clone(), bytes(3, &[number(1, 0), number(2, 0), bytes(3, b"x")].concat())].concat()
        }),
        ("an index out of range", [key.clone(), bytes(3, &[number(1, u64::MAX), bytes(3, b"x")].concat())].concat()),
        ("no partition key", [key.clone(), bytes(3, &bytes(3, b"x"))].concat()),
        ("no data", [key.clone(), bytes(3, &number(1, 0))].concat()),
        ("a key that is not UTF-8", [bytes(1, b"\xff"), user.clone()].concat()),
        ("a negative hash key", [key.clone(), bytes(2, b"-1"), user.clone()].concat()),
        (
            "a hash key out of range",
            [key.clone(), bytes(2, b"340282366920938463463374607431768211456"), user.clone()].concat(),
        ),
        ("a length beyond the end", [key.clone(), user.clone(), vec![0x1a, 5, 1]].concat()),
        ("a number without an end", [key.clone(), user.clone(), vec![0x40, 0xff]].concat()),
        ("a group", [key.clone(), user.clone(), vec![0x4b, 0x4c]].concat()),
        ("a key of more than 256 characters", keyed(&"k".repeat(257))),
        ("a key of more than 256 characters of four bytes", keyed(&"\u{1f422}".repeat(257))),
        ("a hash key of more than 39 digits", hashed(&"0".repeat(40))),
        ("a tag without a key", tagged(&[bytes(2, b"v")])),
        ("a tag whose key is too long", tagged(&[tag(129, 0)])),
        ("a tag whose value is too long", tagged(&[tag(1, 257)])),
        ("too many tags", tagged(&vec![tag(1, 1); 51])),
    ];
    for (what, body) in bodies {
        let carrier = record(1, sealed(&body));
        for raw in [false, true] {
            let run = Stream { records: vec![carrier.clone()], range: Some(ALL), raw }.read(None, None);
            assert_eq!(run.messages, [Got::of(&carrier)], "{what}");
        }
    }
    let valid = [
        keyed("k"),
        keyed(""),
        keyed(&"k".repeat(256)),
        keyed(&"\u{1f422}".repeat(256)),
        hashed(&u128::MAX.to_string()),
        hashed(&"0".repeat(39)),
        tagged(&vec![tag(128, 256); 50]),
    ];
    for body in valid {
        let stream = Stream { records: vec![record(1, sealed(&body))], range: Some(ALL), raw: false };
        assert_eq!(data(&stream.read(None, None).messages), ["x"]);
    }
}

#[test]
fn without_deaggregation_a_record_is_a_message() {
    let carrier = record(1, aggregate(&[UserRecord::new("k", "one"), UserRecord::new("k", "two")]));
    let stream = Stream { records: vec![carrier.clone()], range: Some(ALL), raw: false };
    let whole = |config: &mut Config| config.deaggregate = false;
    assert_eq!(stream.run(None, whole).messages, [Got::of(&carrier)]);
    // If a run stopped within an aggregated record, the whole record is delivered.
    let begun = stream.read(Some(1), None);
    assert_eq!(data(&begun.messages), ["one"]);
    assert_eq!(stream.run(Some(&begun.checkpoint), whole).messages, [Got::of(&carrier)]);
}

#[test]
fn the_largest_page_of_the_smallest_messages_is_read_in_pieces() {
    // A page of ten records of 1 MiB, with six bytes per message.
    let users = vec![UserRecord::new("k", ""); (1 << 20) / 6 - 10];
    let records: Vec<Record> = (1..=10).map(|n| record(n, aggregate(&users))).collect();
    let size: usize = records.iter().map(|record| record.data.len()).sum();
    assert!(size > 10_000_000, "{size}");
    let run = Stream { records, range: Some(ALL), raw: false }.read(None, None);
    assert_eq!(run.messages.len(), 10 * users.len());
    // The lines are 400 MB in all.
    assert_eq!((run.batches.len(), run.totals.pages), (4, 1));
    let mut before = 0;
    for batch in &run.batches {
        let (mut skip, mut bytes) = (0, 0);
        while skip < batch.count() {
            let lines = batch.lines(skip, 1 << 16);
            let first: Value = serde_json::from_str(lines.text.lines().next().expect("a line")).expect("JSON");
            let number = before + skip as usize;
            assert_eq!(first["_kinesis"]["seq_no"], (number / users.len() + 1).to_string());
            assert_eq!(first["_kinesis"]["sub_seq"], number % users.len());
            (skip, bytes) = (skip + lines.count, bytes + lines.text.len());
        }
        before += batch.count() as usize;
        assert!(bytes <= 96 << 20, "{bytes} bytes");
        assert!(bytes > (96 << 20) - 1000 || before == run.messages.len(), "{bytes} bytes, although more would fit");
    }
}

#[test]
fn a_full_page_of_plain_records_is_one_batch_whatever_is_in_them() {
    // Each byte becomes six in the line.
    let records: Vec<Record> = (1..=10).map(|n| record(n, vec![1; 1 << 20])).collect();
    let stream = Stream { records, range: Some(ALL), raw: false };
    let run = stream.run(None, |config| config.payload = kinesis_reader_machine::Payload::Text);
    assert_eq!(run.batches.iter().map(Batch::count).collect::<Vec<_>>(), [10]);
}

#[test]
fn a_record_whose_messages_share_an_overlong_key_does_not_grow() {
    let users = vec![UserRecord::new(&"K".repeat(1_040_000), ""); 1000];
    let carrier = record(1, aggregate(&users));
    let run = Stream { records: vec![carrier.clone()], range: Some(ALL), raw: false }.read(None, None);
    assert_eq!(run.messages, [Got::of(&carrier)]);
    assert!(run.lines(u32::MAX).len() < 2 << 20, "more than base64 needs");
}

// ---------------------------------------------------------------------------------------------------------- properties

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// However the reading of plain and aggregated records is split into runs and calls, every message is delivered
    /// once and in order.
    #[test]
    fn runs_that_stop_at_any_message_deliver_every_message_once(
        puts in vec(put(), 1..8),
        steps in vec(prop_oneof![1_u64..9, 250_u64..600], 1..6),
        (first, last) in (any::<u128>(), any::<u128>()),
        known in any::<bool>(),
        raw in any::<bool>(),
        size in 1_u32..2000,
    ) {
        let records: Vec<Record> = puts.iter().zip(1..).map(|(put, n)| put.record(n)).collect();
        let range = known.then_some(HashRange { first: first.min(last), last: first.max(last) });
        let expected: Vec<Got> = puts.iter().zip(&records).flat_map(|(put, record)| put.messages(record, range)).collect();
        let foreign = puts.iter().map(|put| put.users.as_ref().map_or(1, Vec::len)).sum::<usize>() - expected.len();
        let stream = Stream { records, range, raw };

        let (mut got, mut lines, mut dropped) = (Vec::new(), String::new(), 0);
        let mut checkpoint: Option<String> = None;
        let mut steps = steps.into_iter().cycle();
        for turn in 0.. {
            prop_assert!(turn < 5000, "the runs do not end");
            let run = stream.read(steps.next(), checkpoint.as_deref());
            prop_assert_eq!(run.totals.messages, run.messages.len() as u64);
            prop_assert_eq!(run.totals.bytes, run.messages.iter().map(|message| message.data.len() as u64).sum::<u64>());
            dropped += run.totals.dropped;
            lines += &run.lines(size);
            got.extend(run.messages);
            checkpoint = Some(run.checkpoint);
            if run.outcome != Outcome::Limited {
                break;
            }
        }
        prop_assert_eq!(&got, &expected);
        prop_assert_eq!(dropped, foreign as u64);

        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        prop_assert_eq!(lines.len(), expected.len());
        for (line, message) in lines.iter().zip(&expected) {
            prop_assert_eq!(&line["_kinesis"]["seq_no"], &message.sequence);
            prop_assert_eq!(line["_kinesis"]["sub_seq"].as_u64(), message.subsequence.map(u64::from));
            prop_assert_eq!(line["_kinesis"]["partition"].as_str(), message.partition_key.as_deref());
            prop_assert_eq!(decode(&line["data_base64"]), message.data.clone());
        }
        let ids: BTreeSet<&str> = lines.iter().filter_map(|line| line["_kinesis_msg_id"].as_str()).collect();
        prop_assert_eq!(ids.len(), lines.len());
    }

    /// An aggregated record with a changed byte, or cut short, is data like any other.
    #[test]
    fn a_damaged_aggregate_is_delivered_whole(users in vec(user(), 1..6), at in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>()) {
        let mut damaged = aggregate(&users);
        let at = at.index(damaged.len());
        if cut { damaged.truncate(at) } else { damaged[at] ^= flip }
        let carrier = record(1, damaged);
        let run = Stream { records: vec![carrier.clone()], range: Some(ALL), raw: cut }.read(None, None);
        prop_assert_eq!(run.messages, [Got::of(&carrier)]);
    }

    /// Any body with a valid checksum is either one message or split into messages.
    #[test]
    fn nonsense_with_a_valid_checksum_does_no_harm(body in prop_oneof![vec(any::<u8>(), 0..60), nonsense()], raw in any::<bool>()) {
        let carrier = record(1, sealed(&body));
        let run = Stream { records: vec![carrier.clone()], range: None, raw }.read(None, None);
        prop_assert!(!run.messages.is_empty());
        let is_split = run.messages.iter().all(|message| message.subsequence.is_some());
        prop_assert!(is_split || run.messages == [Got::of(&carrier)]);
    }
}

/// What a producer puts: one record, aggregated or not.
#[derive(Clone, Debug)]
struct Put {
    partition_key: Option<String>,
    users: Option<Vec<UserRecord>>,
    data: Vec<u8>,
}

impl Put {
    fn record(&self, n: u64) -> Record {
        let data = self.users.as_ref().map_or(self.data.clone(), |users| aggregate(users));
        Record { data, partition_key: self.partition_key.clone(), ..record(n, Vec::new()) }
    }

    fn messages(&self, record: &Record, range: Option<HashRange>) -> Vec<Got> {
        let Some(users) = &self.users else { return vec![Got::of(record)] };
        let range = range.filter(|_| record.partition_key.is_some()).unwrap_or(ALL);
        let ours = |user: &UserRecord| (range.first..=range.last).contains(&user.hash_key());
        let users = users.iter().zip(0..).filter(|(user, _)| ours(user));
        users
            .map(|(user, subsequence)| Got {
                sequence: record.sequence.clone(),
                subsequence: Some(subsequence),
                partition_key: Some(user.partition_key.clone()),
                data: user.data.clone(),
            })
            .collect()
    }
}

fn put() -> impl Strategy<Value = Put> {
    let users =
        prop_oneof![1 => Just(1..2), 8 => Just(1..7), 1 => Just(260..300)].prop_flat_map(|size| vec(user(), size));
    (option::weighted(0.9, "[a-c]{1,2}"), option::of(users), vec(any::<u8>(), 0..30))
        .prop_map(|(partition_key, users, data)| Put { partition_key, users, data })
}

fn user() -> impl Strategy<Value = UserRecord> {
    ("[a-zż]{0,3}", option::of(any::<u128>()), vec(any::<u8>(), 0..200))
        .prop_map(|(partition_key, explicit_hash_key, data)| UserRecord { partition_key, explicit_hash_key, data })
}

/// Generates fields with the right numbers and arbitrary contents.
fn nonsense() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        (1_u64..5, vec(any::<u8>(), 0..9)).prop_map(|(field, value)| bytes(field, &value)),
        (1_u64..5, 0_u64..3).prop_map(|(field, value)| number(field, value)),
        (0_u64..3, 0_u64..3, vec(any::<u8>(), 0..9))
            .prop_map(|(key, hash, data)| bytes(3, &[number(1, key), number(2, hash), bytes(3, &data)].concat())),
        (0_u64..3, vec(any::<u8>(), 0..9))
            .prop_map(|(key, data)| bytes(3, &[number(1, key), bytes(3, &data)].concat())),
    ];
    vec(field, 0..9).prop_map(|fields| fields.concat())
}

// --------------------------------------------------------------------------------------------------------- the harness

/// A record of the stream.
#[derive(Clone, Debug)]
struct Record {
    sequence: String,
    partition_key: Option<String>,
    data: Vec<u8>,
}

fn record(n: u64, data: Vec<u8>) -> Record {
    Record { sequence: n.to_string(), partition_key: Some("a".to_owned()), data }
}

/// A delivered message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    sequence: String,
    subsequence: Option<u32>,
    partition_key: Option<String>,
    data: Vec<u8>,
}

impl Got {
    /// Returns the message of a record that is not aggregated.
    fn of(record: &Record) -> Got {
        let Record { sequence, partition_key, data } = record.clone();
        Got { sequence, subsequence: None, partition_key, data }
    }
}

fn data(messages: &[Got]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(&message.data).expect("text")).collect()
}

fn decode(text: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(text.as_str().expect("text")).expect("base64")
}

/// A stream of one shard.
struct Stream {
    records: Vec<Record>,
    range: Option<HashRange>,
    /// Whether pages are in CBOR, with data as raw bytes.
    raw: bool,
}

/// The result of a run.
struct Run {
    outcome: Outcome,
    messages: Vec<Got>,
    batches: Vec<Batch>,
    checkpoint: String,
    totals: Totals,
}

impl Run {
    /// Renders all lines in pieces of this size.
    fn lines(&self, size: u32) -> String {
        let mut text = String::new();
        for batch in &self.batches {
            let mut skip = 0;
            while skip < batch.count() {
                let lines = batch.lines(skip, size);
                assert!(lines.count > 0 && (lines.count == 1 || lines.text.len() <= size as usize));
                text += &lines.text;
                skip += lines.count;
            }
            assert_eq!(batch.lines(skip, size).count, 0);
        }
        text
    }
}

impl Stream {
    /// Reads from a checkpoint, up to this many messages.
    fn read(&self, most: Option<u64>, checkpoint: Option<&str>) -> Run {
        self.run(checkpoint, |config| config.limits.max_messages = most)
    }

    fn run(&self, checkpoint: Option<&str>, change: impl FnOnce(&mut Config)) -> Run {
        let mut config = Config::new(Source::Name("orders".to_owned()));
        config.payload = kinesis_reader_machine::Payload::Base64;
        config.limits.pace = None;
        change(&mut config);
        let mut now = Instant(0);
        let mut reader = Reader::open(config, checkpoint, 1, now, Timestamp(0)).expect("a valid configuration");
        let (mut messages, mut batches) = (Vec::new(), Vec::<Batch>::new());
        loop {
            match reader.poll_action() {
                Action::Send(request) => {
                    let Body::Json(query) = &request.body else { panic!("not JSON") };
                    let query: Value = serde_json::from_str(query).expect("JSON");
                    let body = self.answer(request.operation, &query);
                    let response = Response { status: 200, body, aws_request_id: None, date: None, signed: None };
                    reader.handle_response(request.id, response, now).expect("the request is pending");
                }
                Action::Deliver(batch) => {
                    // Take the messages in two calls.
                    let mut taken = batch.messages(0, batch.count());
                    taken.extend(batch.messages(taken.len() as u32, u32::MAX));
                    assert_eq!(taken.len(), batch.count() as usize);
                    assert_eq!(taken.iter().map(|message| message.data.len() as u64).sum::<u64>(), batch.size());
                    messages.extend(taken.into_iter().map(|message| Got {
                        sequence: message.sequence,
                        subsequence: message.subsequence,
                        partition_key: message.partition_key,
                        data: message.data,
                    }));
                    reader.handle_delivered(batch.id(), now).expect("the batch is pending");
                    batches.push(batch);
                }
                Action::Notice(_) => {}
                Action::Wait(wait) => {
                    now = wait.until.expect("a deadline");
                    reader.handle_timeout(now);
                }
                Action::Finish(outcome) => {
                    let (checkpoint, totals) = (reader.checkpoint(), reader.totals());
                    return Run { outcome, messages, batches, checkpoint, totals };
                }
            }
        }
    }

    fn answer(&self, operation: Operation, query: &Value) -> Body {
        let all = self
            .range
            .map(|range| json!({"StartingHashKey": range.first.to_string(), "EndingHashKey": range.last.to_string()}));
        Body::Json(
            match operation {
                Operation::DescribeStreamSummary => {
                    json!({"StreamDescriptionSummary": {"StreamName": "orders", "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/orders"}})
                }
                Operation::ListShards => json!({"Shards": [{"ShardId": SHARD, "HashKeyRange": all}]}),
                Operation::GetShardIterator => {
                    let from = query["StartingSequenceNumber"].as_str().map_or(0, |from| {
                        let at = |record: &Record| record.sequence == from;
                        let at = self.records.iter().position(at).expect("a record");
                        at + usize::from(query["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER")
                    });
                    json!({"ShardIterator": from.to_string()})
                }
                Operation::GetRecords => {
                    let from: usize = query["ShardIterator"].as_str().and_then(|from| from.parse().ok()).expect("an iterator");
                    let most = query["Limit"].as_u64().expect("a limit") as usize;
                    let to = (from + most).min(self.records.len());
                    return self.page(from..to);
                }
            }
            .to_string(),
        )
    }

    fn page(&self, range: std::ops::Range<usize>) -> Body {
        let (records, next) = (&self.records[range.clone()], range.end.to_string());
        if !self.raw {
            let record = |record: &Record| {
                json!({
                    "SequenceNumber": record.sequence,
                    "PartitionKey": record.partition_key,
                    "Data": BASE64_STANDARD.encode(&record.data),
                })
            };
            let records: Vec<Value> = records.iter().map(record).collect();
            return Body::Json(json!({"Records": records, "NextShardIterator": next}).to_string());
        }
        let head = |kind: u8, length: usize| {
            let mut head = vec![kind << 5 | 26];
            head.extend((length as u32).to_be_bytes());
            head
        };
        let text = |text: &str| [head(3, text.len()), text.as_bytes().to_vec()].concat();
        let mut body =
            [head(5, 2), text("NextShardIterator"), text(&next), text("Records"), head(4, records.len())].concat();
        for record in records {
            body.extend(head(5, 3));
            body.extend([text("SequenceNumber"), text(&record.sequence), text("PartitionKey")].concat());
            body.extend(record.partition_key.as_deref().map_or(vec![0xf6], text));
            body.extend([text("Data"), head(2, record.data.len()), record.data.clone()].concat());
        }
        Body::Cbor(body)
    }
}
