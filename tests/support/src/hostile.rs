//! A server that takes Kinesis's place and answers with whatever bytes a test wants, including those that no emulator
//! would send.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// A request that the server received.
#[derive(Clone, Debug)]
pub struct Request {
    /// The operation, or the request line if it is for another service.
    pub operation: String,
    pub body: Value,
    /// The number of requests before it.
    pub number: usize,
}

/// The server. It runs until the process ends.
pub struct Hostile {
    pub url: String,
    requests: Arc<AtomicUsize>,
}

impl Hostile {
    /// Starts a server that answers each request with the bytes from `script`. If these are `None`, it answers like a
    /// stream of one shard with [`RECORDS`] records.
    pub fn start(script: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static) -> Hostile {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("the listener is bound"));
        let requests = Arc::new(AtomicUsize::new(0));
        let (script, count) = (Arc::new(script), requests.clone());
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (script, count) = (script.clone(), count.clone());
                thread::spawn(move || serve(socket, &*script, &count));
            }
        });
        Hostile { url, requests }
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn serve(mut socket: TcpStream, script: &dyn Fn(&Request) -> Option<Vec<u8>>, count: &AtomicUsize) -> Option<()> {
    let _ = socket.set_nodelay(true);
    let mut input = BufReader::new(socket.try_clone().ok()?);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if input.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let length = header(&head, "content-length");
        let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
        input.read_exact(&mut body).ok()?;
        let operation = match header(&head, "x-amz-target") {
            Some(target) => target.rsplit('.').next().unwrap_or_default(),
            None => head.lines().next().unwrap_or_default(),
        };
        let request = Request {
            operation: operation.to_owned(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            number: count.fetch_add(1, Ordering::Relaxed),
        };
        let answer = script(&request).unwrap_or_else(|| default_answer(&request));
        socket.write_all(&answer).ok()?;
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Returns an answer in the same form as Kinesis's.
pub fn answer(status: u16, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Returns an error in the same form as Kinesis's.
pub fn refusal(status: u16, name: &str, message: &str) -> Vec<u8> {
    answer(status, "", &json!({"__type": name, "message": message}))
}

/// The number of records in the default stream.
pub const RECORDS: u64 = 10;

/// The sequence number of the first record.
const FIRST: u64 = 4_960_000_000_000_000_000;

/// Returns a record with this number.
pub fn record(number: u64, key: &str, data: &[u8]) -> Value {
    json!({
        "SequenceNumber": (FIRST + number).to_string(),
        "ApproximateArrivalTimestamp": 1_763_900_000.0 + number as f64,
        "PartitionKey": key,
        "Data": BASE64_STANDARD.encode(data),
    })
}

/// Returns an open shard without parents.
pub fn shard(id: &str) -> Value {
    json!({
        "ShardId": id,
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": u128::MAX.to_string()},
        "SequenceNumberRange": {"StartingSequenceNumber": FIRST.to_string()},
    })
}

fn default_answer(request: &Request) -> Vec<u8> {
    let body = match request.operation.as_str() {
        "DescribeStreamSummary" => json!({"StreamDescriptionSummary": {
            "StreamName": "orders",
            "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/orders",
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": 1_700_000_000,
            "EnhancedMonitoring": [],
            "OpenShardCount": 1,
        }}),
        "ListShards" => json!({"Shards": [shard("shardId-000000000000")]}),
        "GetShardIterator" => {
            let after = |sequence: &str| sequence.parse().map_or(0, |sequence: u64| sequence + 1 - FIRST);
            let from = request.body["StartingSequenceNumber"].as_str().map_or(0, after);
            json!({"ShardIterator": from.to_string()})
        }
        "GetRecords" => {
            let from = request.body["ShardIterator"].as_str().and_then(|from| from.parse().ok()).unwrap_or(RECORDS);
            let limit = request.body["Limit"].as_u64().unwrap_or(RECORDS);
            let end = RECORDS.min(from + limit);
            let records: Vec<Value> =
                (from..end).map(|number| record(number, "key", format!("{{\"n\":{number}}}").as_bytes())).collect();
            json!({
                "Records": records,
                "NextShardIterator": end.to_string(),
                "MillisBehindLatest": if end == RECORDS { 0 } else { 1000 },
            })
        }
        other => return refusal(400, "UnknownOperationException", other),
    };
    answer(200, "", &body)
}
