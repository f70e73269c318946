//! Renders the pages.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use minicbor::Encoder;
use minicbor::data::IanaTag;

use simulation::aggregate::{UserRecord, aggregate};

/// The shape of a stream's records.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Approximate size of a message's payload in bytes.
    pub size: usize,
    /// Messages per shard.
    pub messages: usize,
    /// Messages per page.
    pub page: usize,
    /// Messages per record. If more than one, they are aggregated like by the Kinesis Producer Library.
    pub record: usize,
}

/// A wire encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `application/x-amz-json-1.1`.
    Json,
    /// `application/x-amz-cbor-1.1`.
    Cbor,
}

/// The pages of a shard, without their ends, which contain an iterator.
pub struct Pages {
    json: Vec<Vec<u8>>,
    cbor: Vec<Vec<u8>>,
}

impl Form {
    /// Payloads of about `size` bytes, a thousand per page or as many as Kinesis would return.
    pub fn of(size: usize, messages: usize) -> Form {
        Form { size, messages, page: (PAGE_BYTES / size).min(1000), record: 1 }
    }

    /// The same in aggregated records of a producer's default size, 20 per page.
    pub fn aggregated(size: usize, messages: usize) -> Form {
        let record = (AGGREGATE_BYTES / size).max(1);
        Form { size, messages, page: record * 20, record }
    }
}

/// "The maximum size of data that GetRecords can return is 10 MiB"
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>); our full pages stay below that.
const PAGE_BYTES: usize = 8 << 20;

/// "AggregationMaxSize: Maximum number of bytes to pack into an aggregated Kinesis record. […] Default: 51200"
/// (<https://github.com/awslabs/amazon-kinesis-producer/blob/master/java/amazon-kinesis-producer-sample/default_config.properties>).
const AGGREGATE_BYTES: usize = 50 << 10;

impl Pages {
    /// Renders all pages.
    pub fn render(form: Form) -> Pages {
        let mut chance = fastrand::Rng::with_seed(form.size as u64);
        let mut pages = Pages { json: Vec::new(), cbor: Vec::new() };
        let numbers: Vec<usize> = (0..form.messages).collect();
        for numbers in numbers.chunks(form.page) {
            let records: Vec<Record> =
                numbers.chunks(form.record).map(|numbers| Record::new(numbers, form, &mut chance)).collect();
            pages.json.push(json(&records));
            pages.cbor.push(cbor(&records));
        }
        // At the tip: an empty page.
        pages.json.push(json(&[]));
        pages.cbor.push(cbor(&[]));
        pages
    }

    /// Returns the number of pages, including the empty one at the end.
    pub fn count(&self) -> usize {
        self.json.len()
    }

    /// Returns a page without its end.
    pub(super) fn head(&self, wire: Wire, page: usize) -> Option<&[u8]> {
        let pages = match wire {
            Wire::Json => &self.json,
            Wire::Cbor => &self.cbor,
        };
        pages.get(page).map(Vec::as_slice)
    }

    /// Returns the end of a page, which contains the next iterator.
    pub(super) fn end(&self, wire: Wire, shard: usize, page: usize) -> Vec<u8> {
        let left = self.count().saturating_sub(page + 1);
        let next = iterator(shard, (page + 1).min(self.count() - 1));
        let behind = left as u64 * 1000;
        match wire {
            Wire::Json => format!(",\"NextShardIterator\":\"{next}\",\"MillisBehindLatest\":{behind}}}").into_bytes(),
            Wire::Cbor => {
                let mut end = Vec::new();
                let mut encoder = Encoder::new(&mut end);
                infallible(encoder.str("NextShardIterator").and_then(|encoder| encoder.str(&next)));
                infallible(encoder.str("MillisBehindLatest").and_then(|encoder| encoder.u64(behind)));
                end
            }
        }
    }

    /// Returns a whole page of the first shard.
    pub fn body(&self, wire: Wire, page: usize) -> Vec<u8> {
        let mut body = self.head(wire, page).unwrap_or_default().to_vec();
        body.extend(self.end(wire, 0, page));
        body
    }
}

/// An iterator in plain text, as long as those of Kinesis.
pub(super) fn iterator(shard: usize, page: usize) -> String {
    format!("{ITERATOR}{shard:06}-{page:06}-{:A<210}", "")
}

/// The prefix of all iterators.
pub(super) const ITERATOR: &str = "iterator-";

struct Record {
    sequence: String,
    arrived_ms: u64,
    key: String,
    data: Vec<u8>,
}

impl Record {
    /// Creates the record that holds these messages.
    fn new(numbers: &[usize], form: Form, chance: &mut fastrand::Rng) -> Record {
        let number = numbers.first().copied().unwrap_or(0);
        let key = |chance: &mut fastrand::Rng| format!("customer-{:06}", chance.u32(..1_000_000));
        let (key, data) = if form.record == 1 {
            (key(chance), payload(number, form.size, chance))
        } else {
            let user = |number: &usize| UserRecord::new(&key(chance), payload(*number, form.size, chance));
            ("a".to_owned(), aggregate(&numbers.iter().map(user).collect::<Vec<_>>()))
        };
        Record {
            sequence: format!("4966490823814781602385{:034}", number as u64 * 7_919 + 1_000_000_007),
            arrived_ms: 1_763_900_000_000 + number as u64 * 3,
            key,
            data,
        }
    }
}

/// An order as a shop might write it: numbers, nested values, and texts, some with escapes or accents.
fn payload(number: usize, size: usize, chance: &mut fastrand::Rng) -> Vec<u8> {
    let price = chance.u32(100..50_000);
    let mut text = format!(
        "{{\"id\":{number},\"kind\":\"order\",\"price\":{}.{:02},\"paid\":{},\"note\":\"",
        price / 100,
        price % 100,
        chance.bool()
    );
    let whole = size.saturating_sub(2);
    if size > 300 {
        text.push_str("none\",\"items\":[");
        while text.len() + 260 < whole {
            let separator = if text.ends_with('[') { "" } else { "," };
            let name = NAMES[chance.usize(..NAMES.len())];
            text.push_str(&format!(
                "{separator}{{\"sku\":\"{:08x}\",\"name\":\"{name}\",\"count\":{},\"weight\":{}.5,\"text\":\"",
                chance.u32(..),
                chance.u8(1..20),
                chance.u8(..),
            ));
            let words = chance.usize(2..24);
            text.extend((0..words).map(|_| WORDS[chance.usize(..WORDS.len())]));
            text.push_str("\"}");
        }
        text.push_str("],\"end\":\"");
    }
    while text.len() < whole {
        text.push(char::from(b'a' + chance.u8(..26)));
    }
    text.push_str("\"}");
    text.into_bytes()
}

const NAMES: [&str; 4] = ["kettle", "cup \\\"XL\\\"", "herbata, bez cukru", "lamp \\u00e9t\\u00e9\\n"];
const WORDS: [&str; 8] = ["of ", "steel, ", "painted ", "by hand ", "(2 years) ", "for 1.5 l ", "\\/ ", "dishwasher "];

fn json(records: &[Record]) -> Vec<u8> {
    let mut text = String::from("{\"Records\":[");
    for (number, Record { sequence, arrived_ms, key, data }) in records.iter().enumerate() {
        let separator = if number == 0 { "" } else { "," };
        let (seconds, ms) = (arrived_ms / 1000, arrived_ms % 1000);
        let data = BASE64_STANDARD.encode(data);
        text.push_str(&format!(
            "{separator}{{\"SequenceNumber\":\"{sequence}\",\"ApproximateArrivalTimestamp\":{seconds}.{ms:03},\
             \"Data\":\"{data}\",\"PartitionKey\":\"{key}\"}}"
        ));
    }
    text.push(']');
    text.into_bytes()
}

fn cbor(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    infallible(encoder.map(3).and_then(|encoder| encoder.str("Records")));
    infallible(encoder.array(records.len() as u64));
    for Record { sequence, arrived_ms, key, data } in records {
        infallible(encoder.map(4));
        infallible(encoder.str("SequenceNumber").and_then(|encoder| encoder.str(sequence)));
        infallible(encoder.str("ApproximateArrivalTimestamp").and_then(|encoder| encoder.tag(IanaTag::Timestamp)));
        infallible(encoder.u64(*arrived_ms));
        infallible(encoder.str("Data").and_then(|encoder| encoder.bytes(data)));
        infallible(encoder.str("PartitionKey").and_then(|encoder| encoder.str(key)));
    }
    bytes
}

/// For writes to a `Vec`, which cannot fail.
fn infallible<T, E>(_: Result<T, E>) {}
