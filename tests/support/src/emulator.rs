//! Kinesis emulators that speak HTTP, and helpers to fill their streams: ferrokinesis in this process, and any other by
//! URL.

use std::ops::Range;
use std::time::Duration;

use aws_credential_types::Credentials;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kinesis_reader::transport::endpoint::{Endpoint, Known};
use kinesis_reader::transport::{Body, Kinesis, Request, Transport};
use serde_json::{Value, json};

use simulation::aggregate::{UserRecord, aggregate};

/// The region of all emulators.
pub const REGION: &str = "us-east-1";

/// An emulator and a client for it.
pub struct Emulator {
    /// The URL it listens on.
    pub url: String,
    client: Kinesis,
}

impl Emulator {
    /// Starts ferrokinesis on a free port. It stops when the runtime is dropped.
    pub async fn ferrokinesis() -> Emulator {
        Emulator::ferrokinesis_on(0).await.expect("a free port")
    }

    /// Starts ferrokinesis on this port; 0 picks a free one.
    pub async fn ferrokinesis_on(port: u16) -> std::io::Result<Emulator> {
        let options = ferrokinesis::store::StoreOptions {
            create_stream_ms: 0,
            delete_stream_ms: 0,
            update_stream_ms: 0,
            shard_limit: 1000,
            ..Default::default()
        };
        let (app, _store) = ferrokinesis::create_app(options);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Emulator::at(url))
    }

    /// Connects to the emulator at `url`.
    pub fn at(url: String) -> Emulator {
        let known = Known { region: Some(REGION.to_owned()), url: Some(url.clone()), ..Known::default() };
        let endpoint = Endpoint::resolve(known).expect("a valid URL");
        let credentials = Credentials::new("test", "test", None, None, "emulator");
        let client = Kinesis::with_credentials(endpoint, credentials, None).expect("plain HTTP needs no setup");
        Emulator { url, client }
    }

    /// Calls an operation and returns its response.
    pub async fn ask(&self, operation: &str, query: Value) -> Value {
        let target = format!("Kinesis_20131202.{operation}");
        let request = Request { target, body: Body::Json(query.to_string()), timeout: Duration::from_secs(60) };
        let answer = self.client.send(request).await.expect("the emulator answers");
        let Body::Json(text) = answer.body else { panic!("{operation}: not JSON") };
        assert_eq!(answer.status, 200, "{operation}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Creates a stream and waits until it is active.
    pub async fn create(&self, stream: &str, shards: u32) {
        self.ask("CreateStream", json!({"StreamName": stream, "ShardCount": shards})).await;
        self.settled(stream).await;
    }

    /// Splits a shard in the middle of its hash key range.
    pub async fn split(&self, stream: &str, shard: &str) {
        let range = &self.shard(stream, shard).await["HashKeyRange"];
        let end = |name: &str| range[name].as_str().and_then(|key| key.parse::<u128>().ok()).expect("a hash key");
        let (first, last) = (end("StartingHashKey"), end("EndingHashKey"));
        let middle = (first + (last - first) / 2 + 1).to_string();
        let query = json!({"StreamName": stream, "ShardToSplit": shard, "NewStartingHashKey": middle});
        self.ask("SplitShard", query).await;
        self.settled(stream).await;
    }

    /// Merges two adjacent shards.
    pub async fn merge(&self, stream: &str, shard: &str, next: &str) {
        let query = json!({"StreamName": stream, "ShardToMerge": shard, "AdjacentShardToMerge": next});
        self.ask("MergeShards", query).await;
        self.settled(stream).await;
    }

    /// Returns the open shards in the order of their hash keys.
    pub async fn open_shards(&self, stream: &str) -> Vec<String> {
        let listing = self.ask("ListShards", json!({"StreamName": stream})).await;
        let mut open: Vec<(u128, String)> = listing["Shards"]
            .as_array()
            .expect("a listing")
            .iter()
            .filter(|shard| shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null())
            .map(|shard| {
                let first = shard["HashKeyRange"]["StartingHashKey"].as_str().and_then(|key| key.parse().ok());
                (first.expect("a hash key"), shard["ShardId"].as_str().expect("an identifier").to_owned())
            })
            .collect();
        open.sort();
        open.into_iter().map(|(_, id)| id).collect()
    }

    /// Puts messages `{"n":…}` with these numbers, one per record, spread across the shards.
    pub async fn put(&self, stream: &str, numbers: Range<u32>) {
        let mut numbers = numbers.peekable();
        while numbers.peek().is_some() {
            let records: Vec<Value> = numbers
                .by_ref()
                .take(200)
                .map(
                    |n| json!({"Data": BASE64_STANDARD.encode(payload(n)), "PartitionKey": format!("key-{}", n % 977)}),
                )
                .collect();
            let answer = self.ask("PutRecords", json!({"StreamName": stream, "Records": records})).await;
            assert_eq!(answer["FailedRecordCount"].as_u64().unwrap_or(0), 0, "{answer}");
        }
    }

    /// Puts messages `{"n":…}` with these numbers like an aggregating producer: messages of a shard share records of up
    /// to `most` messages.
    pub async fn put_aggregated(&self, stream: &str, numbers: Range<u32>, most: usize) {
        let mut shards: Vec<(u128, Vec<UserRecord>)> = Vec::new();
        for id in self.open_shards(stream).await {
            let first = self.shard(stream, &id).await["HashKeyRange"]["StartingHashKey"].as_str().map(str::parse);
            shards.push((first.and_then(Result::ok).expect("a hash key"), Vec::new()));
        }
        for n in numbers {
            let user = UserRecord::new(&format!("key-{}", n % 977), payload(n));
            let shard = shards.partition_point(|(first, _)| *first <= user.hash_key()) - 1;
            shards[shard].1.push(user);
        }
        for (first, users) in shards {
            for users in users.chunks(most) {
                self.put_data(stream, &aggregate(users), first).await;
            }
        }
    }

    /// Puts messages with these numbers that are not JSON but text or arbitrary bytes.
    pub async fn put_bad(&self, stream: &str, numbers: Range<u32>) {
        for n in numbers {
            let data = match n % 2 {
                0 => format!("no. {n}").into_bytes(),
                _ => [&[0xff], n.to_string().as_bytes()].concat(),
            };
            self.put_data(stream, &data, u128::from(n) << 120).await;
        }
    }

    /// Puts a record into the shard that contains this hash key.
    pub async fn put_data(&self, stream: &str, data: &[u8], hash_key: u128) {
        let data = BASE64_STANDARD.encode(data);
        let query = json!({
            "StreamName": stream, "Data": data, "PartitionKey": "a", "ExplicitHashKey": hash_key.to_string(),
        });
        self.ask("PutRecord", query).await;
    }

    async fn shard(&self, stream: &str, id: &str) -> Value {
        let listing = self.ask("ListShards", json!({"StreamName": stream})).await;
        let shards = listing["Shards"].as_array().expect("a listing");
        shards.iter().find(|shard| shard["ShardId"] == id).expect("the shard is listed").clone()
    }

    /// Waits until the stream is active.
    async fn settled(&self, stream: &str) {
        loop {
            let summary = self.ask("DescribeStreamSummary", json!({"StreamName": stream})).await;
            if summary["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Returns the payload of message number `n`: an order as a shop might write it.
pub fn payload(n: u32) -> String {
    let item = ["kettle", "żółta herbata", "cup \"XL\"", "茶壺"][n as usize % 4];
    json!({"n": n, "item": item, "price": f64::from(n % 500) / 4.0, "paid": n.is_multiple_of(3), "tags": ["a", n % 7]})
        .to_string()
}
