//! The build that needs wasi:http alone, with its lease in moto's DynamoDB.

use serde_json::{Value, json};
use tests::edge::calls::ten_thousand;
use tests::edge::client::{drain, status};
use tests::edge::events::Event;
use tests::edge::moto::Moto;
use tests::edge::{Build, Options};

use super::{STREAM, World, host, positions};

fn options(world: &World, moto: &Moto) -> Options {
    let options = Options::new(Build::Http, world.store(), &world.emulator.url, STREAM);
    let options = options.set("SINK_URL", &world.sink.url).set("SINK_TIMEOUT_SECONDS", "600");
    options.set("DYNAMODB_ENDPOINT_URL", &moto.url).set("LEASE_TABLE", "leases")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_over_several_calls() {
    let (world, moto) = tokio::join!(World::new(), Moto::start());
    moto.create("leases").await;
    world.emulator.put(STREAM, 0..10_000).await;
    let (_first, url) = host(options(&world, &moto)).await;
    let (second, other) = host(options(&world, &moto)).await;
    let sent_away = || assert_eq!(second.events.count(Event::KinesisAsked), 0);
    assert_eq!(ten_thousand([&url, &other], &world.sink, sent_away).await, 4);

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
    assert!(!positions(&url).await.is_empty());
    moto.stop().await;
    let answer = drain(&url, "").await;
    assert_eq!((answer.status, world.sink.count()), (503, 4), "{answer:?}");
}
