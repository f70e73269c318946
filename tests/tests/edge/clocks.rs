//! Clocks that are wrong: this host's, and those that answers tell of.

use std::path::PathBuf;

use serde_json::json;
use tests::edge::Options;
use tests::edge::client::{drain, status};
use tests::edge::events::Event;
use tests::edge::stub::{Reply, before};
use tests::proxy::{Gate, Mood, Proxy};

use super::{STREAM, World, ahead, host};

const DAY: i64 = 86_400_000;

/// A Kinesis that lives at this time, in milliseconds ahead of ours, and refuses who signs for another.
async fn gate(world: &World, ahead: i64) -> Proxy {
    let gate =
        Gate { access_key: "test", secret_key: "test", ahead_s: ahead / 1000, name: "InvalidSignatureException" };
    Proxy::start(&world.emulator.url, 7, Mood { gate: Some(gate), ..Mood::default() }).await
}

fn with_clock(world: &World, options: Options) -> (Options, PathBuf) {
    let clock = world.folder.path().join("clock");
    ahead(&clock, 0);
    (Options { clock: Some(clock.clone()), ..options }, clock)
}

/// What the first of two drains sees of the time must cost nothing of what arrives between them.
#[tokio::test(flavor = "multi_thread")]
async fn no_date_that_an_answer_tells_makes_messages_be_passed_over() {
    let dates = [
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Tue, 19 Jan 2038 03:14:07 GMT",
        "Sun, 07 Feb 2106 06:28:15 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 1900 00:00:00 GMT",
        "tomorrow",
    ];
    for date in dates {
        let world = World::new().await;
        let kinesis = before(&world.emulator.url, move |_, reply| reply.with("date", date)).await;
        let options = world.push().set("KINESIS_ENDPOINT_URL", &kinesis).set("KINESIS_START", "latest");
        let (_host, url) = host(options).await;
        let report = drain(&url, "").await.json();
        assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(0)), "{date}: {report}");
        world.emulator.put(STREAM, 0..50).await;
        let report = drain(&url, "").await.json();
        assert_eq!((&report["messages"], &report["gaps_total"]), (&json!(50), &json!(0)), "{date}: {report}");
        assert_eq!(world.sink.numbers(), (0..50).collect(), "{date}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_corrected_where_kinesis_refuses_it_for_its_time() {
    for service in [DAY, -DAY, 4_000 * DAY] {
        let world = World::new().await;
        world.emulator.put(STREAM, 0..50).await;
        let proxy = gate(&world, service).await;
        let (_host, url) = host(world.push().set("KINESIS_ENDPOINT_URL", &proxy.url)).await;
        let report = drain(&url, "").await.json();
        assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(50)), "{service}: {report}");
        // The lease goes by this host's clock all the same.
        assert_eq!(status(&url).await["lease"]["held"], false);
    }
    // The host's clock is wrong, and the service's right.
    for host_is in [DAY, -DAY, -4_000 * DAY] {
        let world = World::new().await;
        world.emulator.put(STREAM, 0..50).await;
        let proxy = gate(&world, 0).await;
        let (options, clock) = with_clock(&world, world.push().set("KINESIS_ENDPOINT_URL", &proxy.url));
        let (_host, url) = host(options).await;
        ahead(&clock, host_is);
        let report = drain(&url, "").await.json();
        assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(50)), "{host_is}: {report}");
    }
}

/// A date that no service can have is not signed with, and the next may be right.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_with_an_impossible_date_is_an_error_of_that_request() {
    for date in
        ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 1900 00:00:00 GMT", "now"]
    {
        let world = World::new().await;
        world.emulator.put(STREAM, 0..10).await;
        let kinesis = before(&world.emulator.url, move |_, _| {
            Reply::error("InvalidSignatureException", "Signature expired: it is now earlier than").with("date", date)
        })
        .await;
        let (_host, url) = host(world.push().set("KINESIS_ENDPOINT_URL", &kinesis)).await;
        let answer = drain(&url, "").await;
        assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("failed")), "{date}: {answer:?}");
        assert!(answer.text.contains("InvalidSignatureException"), "{answer:?}");
    }
}

/// Only the endpoint that refuses tells its own time: a sink's date moves nothing, nor does that of a page in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_without_a_refusal_moves_no_signature() {
    let world = World::new().await;
    world.emulator.put(STREAM, 0..10).await;
    let proxy = gate(&world, 0).await;
    let kinesis = before(&proxy.url, |_, reply| reply.with("date", "Tue, 19 Jan 2038 03:14:07 GMT")).await;
    let (_host, url) = host(world.push().set("KINESIS_ENDPOINT_URL", &kinesis)).await;
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(10)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_past_the_year_9999_or_before_1970_ends_with_words() {
    for beside in [8_100 * 365 * DAY, 100_000 * 365 * DAY, -200 * 365 * DAY] {
        let world = World::new().await;
        world.emulator.put(STREAM, 0..10).await;
        let (options, clock) = with_clock(&world, world.push());
        let (host, url) = host(options).await;
        ahead(&clock, beside);
        let answer = drain(&url, "").await;
        assert!([200, 502].contains(&answer.status), "{beside}: {answer:?}");
        if beside > 0 {
            assert!(answer.text.contains("9999"), "{answer:?}");
            assert_eq!(host.events.count(Event::KinesisAsked), 0);
        }
        assert_eq!(status(&url).await["lease"]["held"], false, "{beside}");
    }
}

/// The clock is set back amid a drain: the lease is held for no longer, and no pause lasts for years.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_amid_a_drain_holds_nothing_up() {
    for to in [-300 * DAY, 300 * DAY] {
        let world = World::new().await;
        world.emulator.put(STREAM, 0..1_000).await;
        let (options, clock) = with_clock(&world, world.push());
        let (_host, url) = host(options).await;
        let set = clock.clone();
        world.sink.calls(move || ahead(&set, to));
        let report = drain(&url, "").await.json();
        assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(1_000)), "{to}: {report}");
        ahead(&clock, 0);
        assert_eq!(drain(&url, "").await.status, 200, "the lease was given back");
        assert_eq!(world.sink.count(), 1_000);
    }
}

/// The only case in which nobody can know where the latest was.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_drain_with_a_clock_ahead_that_kept_nothing_is_told() {
    let world = World::new().await;
    let (options, clock) = with_clock(&world, world.push().set("KINESIS_START", "latest"));
    let (wrong, wrong_url) = host(options).await;
    ahead(&clock, DAY);
    let refused = "no lines of this name";
    let answer = drain(&wrong_url, "ack=0").await;
    assert!(answer.status == 400 && answer.text.contains(refused), "it took the lease and kept nothing: {answer:?}");
    assert!(wrong.database.value(super::KEY).is_some());
    world.emulator.put(STREAM, 0..10).await;
    let (_right, url) = host(world.push().set("KINESIS_START", "latest")).await;
    let report = drain(&url, "").await.json();
    let told =
        report["messages"] == 10 || report["warning"].as_str().is_some_and(|words| words.contains("passed over"));
    assert!(told, "{report}");
    world.emulator.put(STREAM, 10..20).await;
    let report = drain(&url, "").await.json();
    assert_eq!(report["warning"], json!(null), "once there is a checkpoint, it counts: {report}");
    assert!(world.sink.numbers().is_superset(&(10..20).collect()), "{report}");
}
