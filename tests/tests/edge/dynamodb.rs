//! The build that needs wasi:http alone, with its lease in moto's DynamoDB.

use std::process::Stdio;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use tests::edge::client::{drain, send, status};
use tests::edge::events::Event;
use tests::edge::{Build, Options};
use tests::emulator::REGION;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{STREAM, World, host, places};

/// A server of moto's, which ends with this.
struct Moto {
    child: Child,
    url: String,
}

impl Moto {
    async fn start() -> Moto {
        let program = std::env::var_os("MOTO_SERVER").expect("run by `cargo xtask`");
        let mut child = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("moto starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let url = loop {
            let line = lines.next_line().await.ok().flatten().expect("moto says where it listens");
            if let Some((_, url)) = line.split_once("Running on ") {
                break url.trim().to_owned();
            }
        };
        // It logs each request, and waits for who reads that.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Moto { child, url }
    }

    async fn ask(&self, operation: &str, query: Value) -> Value {
        let scope = format!("Credential=test/20250101/{REGION}/dynamodb/aws4_request");
        let request = Request::post(&self.url)
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"))
            .body(Full::from(query.to_string()))
            .expect("a request");
        let answer = send(request).await.expect("moto answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Makes the table as the README has it.
    async fn create(&self, table: &str) {
        let query = json!({
            "TableName": table,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        });
        self.ask("CreateTable", query).await;
    }
}

fn options(world: &World, moto: &Moto) -> Options {
    let options = Options::new(Build::Http, world.store(), &world.emulator.url, STREAM);
    let options = options.set("SINK_URL", &world.sink.url).set("SINK_TIMEOUT_SECONDS", "600");
    options.set("DYNAMODB_ENDPOINT", &moto.url).set("LEASE_TABLE", "leases")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_over_several_calls() {
    let (world, moto) = tokio::join!(World::new(), Moto::start());
    moto.create("leases").await;
    world.emulator.put(STREAM, 0..10_000).await;
    let (first, url) = host(options(&world, &moto)).await;
    let (second, other) = host(options(&world, &moto)).await;

    world.sink.holds(true);
    let working = {
        let url = url.clone();
        tokio::spawn(async move { drain(&url, "max-messages=3000").await })
    };
    while first.events.count(Event::SinkAsked) == 0 && !working.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = drain(&other, "").await;
    assert_eq!((answer.status, second.events.count(Event::KinesisAsked)), (409, 0), "{answer:?}");
    assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds <= 62), "{answer:?}");
    world.sink.holds(false);
    assert_eq!(working.await.expect("it ends").status, 200);

    let mut epochs = 1;
    loop {
        let answer = drain(if epochs % 2 == 0 { &url } else { &other }, "max-messages=3000").await;
        let report = answer.json();
        epochs += 1;
        assert_eq!((answer.status, &report["epoch"]), (200, &json!(epochs)), "{report}");
        if report["outcome"] == "caught-up" {
            break;
        }
    }
    assert_eq!((epochs, world.sink.count()), (4, 10_000));
    assert_eq!(world.sink.numbers(), (0..10_000).collect());

    let item = moto.ask("GetItem", json!({"TableName": "leases", "Key": {"id": {"S": super::KEY}}})).await;
    let kept: Value = serde_json::from_str(item["Item"]["value"]["S"].as_str().expect("a text")).expect("JSON");
    assert_eq!((&kept["version"], &kept["epoch"], &kept["until"]), (&json!(1), &json!(4), &json!(0)));
    assert_eq!(status(&url).await["shards"].as_object().map(|shards| shards.len()), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_there_and_a_database_that_is_not() {
    let (world, mut moto) = tokio::join!(World::new(), Moto::start());
    world.emulator.put(STREAM, 0..10).await;
    let (first, url) = host(options(&world, &moto)).await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, first.events.count(Event::KinesisAsked)), (503, 0), "{answer:?}");
    assert!(answer.text.contains("ResourceNotFoundException") && answer.text.contains("leases"), "{answer:?}");
    moto.create("leases").await;
    assert_eq!(drain(&url, "max-messages=4").await.status, 200);
    assert!(!places(&url).await.is_empty());
    moto.child.kill().await.expect("it can be killed");
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, world.sink.count()), (503, 4), "{answer:?}");
}
