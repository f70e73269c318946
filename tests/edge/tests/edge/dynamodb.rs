//! The build that needs only wasi:http, with its lease in moto's DynamoDB.

use edge_tests::calls::drain_ten_thousand;
use edge_tests::client::{drain, status};
use edge_tests::events::Event;
use edge_tests::moto::Moto;
use edge_tests::{Build, Options};
use serde_json::{Value, json};

use super::{Fixture, STREAM, host, positions};

fn options(fixture: &Fixture, moto: &Moto) -> Options {
    let options = Options::new(Build::Http, fixture.store(), &fixture.emulator.url, STREAM);
    let options = options.set("SINK_URL", &fixture.sink.url).set("SINK_TIMEOUT_SECONDS", "600");
    options.set("DYNAMODB_ENDPOINT_URL", &moto.url).set("LEASE_TABLE", "leases")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_over_several_calls() {
    let (fixture, moto) = tokio::join!(Fixture::new(), Moto::start());
    moto.create("leases").await;
    fixture.emulator.put(STREAM, 0..10_000).await;
    let (_first, url) = host(options(&fixture, &moto)).await;
    let (second, other) = host(options(&fixture, &moto)).await;
    let check = || assert_eq!(second.events.count(Event::KinesisAsked), 0);
    assert_eq!(drain_ten_thousand([&url, &other], &fixture.sink, check).await, 4);

    let item = moto.call("GetItem", json!({"TableName": "leases", "Key": {"id": {"S": super::KEY}}})).await;
    let text = item["Item"]["value"]["S"].as_str().expect("the item has a string");
    let value: Value = serde_json::from_str(text).expect("the value is JSON");
    assert_eq!((&value["version"], &value["epoch"], &value["until"]), (&json!(1), &json!(4), &json!(0)));
    assert_eq!(status(&url).await["shards"].as_object().map(|shards| shards.len()), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_or_database_is_an_error() {
    let (fixture, mut moto) = tokio::join!(Fixture::new(), Moto::start());
    fixture.emulator.put(STREAM, 0..10).await;
    let (first, url) = host(options(&fixture, &moto)).await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, first.events.count(Event::KinesisAsked)), (503, 0), "{answer:?}");
    assert!(answer.text.contains("ResourceNotFoundException") && answer.text.contains("leases"), "{answer:?}");
    moto.create("leases").await;
    assert_eq!(drain(&url, "max-messages=4").await.status, 200);
    assert!(!positions(&url).await.is_empty());
    moto.stop().await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, fixture.sink.count()), (503, 4), "{answer:?}");
}
