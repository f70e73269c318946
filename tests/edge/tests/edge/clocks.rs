//! Wrong clocks: the host's, and those behind the dates in answers.

use std::path::PathBuf;

use edge_tests::Options;
use edge_tests::client::{drain, status};
use edge_tests::events::Event;
use edge_tests::stub::{Reply, intercept};
use serde_json::json;
use test_support::proxy::{Gate, Mood, Proxy};

use super::{Fixture, STREAM, host, set_clock};

const DAY: i64 = 86_400_000;

/// Starts a Kinesis whose clock is ahead by this many milliseconds, and which rejects signatures with other times.
async fn gate(fixture: &Fixture, ahead: i64) -> Proxy {
    let gate =
        Gate { access_key: "test", secret_key: "test", ahead_s: ahead / 1000, name: "InvalidSignatureException" };
    Proxy::start(&fixture.emulator.url, 7, Mood { gate: Some(gate), ..Mood::default() }).await
}

fn with_clock(fixture: &Fixture, options: Options) -> (Options, PathBuf) {
    let clock = fixture.folder.path().join("clock");
    set_clock(&clock, 0);
    (Options { clock: Some(clock.clone()), ..options }, clock)
}

/// The first drain must not learn a wrong time and skip what arrives before the second.
#[tokio::test(flavor = "multi_thread")]
async fn no_date_in_an_answer_makes_a_drain_skip_messages() {
    let dates = [
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Tue, 19 Jan 2038 03:14:07 GMT",
        "Sun, 07 Feb 2106 06:28:15 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Mon, 01 Jan 1900 00:00:00 GMT",
        "tomorrow",
    ];
    for date in dates {
        let fixture = Fixture::new().await;
        let kinesis = intercept(&fixture.emulator.url, move |_, reply| reply.with("date", date)).await;
        let options = fixture.push().set("KINESIS_ENDPOINT_URL", &kinesis).set("KINESIS_START", "latest");
        let (_host, url) = host(options).await;
        let report = drain(&url, "").await.json();
        assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(0)), "{date}: {report}");
        fixture.emulator.put(STREAM, 0..50).await;
        let report = drain(&url, "").await.json();
        assert_eq!((&report["messages"], &report["gaps_total"]), (&json!(50), &json!(0)), "{date}: {report}");
        assert_eq!(fixture.sink.numbers(), (0..50).collect(), "{date}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_corrected_after_kinesis_rejects_their_time() {
    for service in [DAY, -DAY, 4_000 * DAY] {
        let fixture = Fixture::new().await;
        fixture.emulator.put(STREAM, 0..50).await;
        let proxy = gate(&fixture, service).await;
        let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", &proxy.url)).await;
        let report = drain(&url, "").await.json();
        assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(50)), "{service}: {report}");
        // The lease still goes by the host's clock.
        assert_eq!(status(&url).await["lease"]["held"], false);
    }
    // The host's clock is wrong, and that of the service is right.
    for offset in [DAY, -DAY, -4_000 * DAY] {
        let fixture = Fixture::new().await;
        fixture.emulator.put(STREAM, 0..50).await;
        let proxy = gate(&fixture, 0).await;
        let (options, clock) = with_clock(&fixture, fixture.push().set("KINESIS_ENDPOINT_URL", &proxy.url));
        let (_host, url) = host(options).await;
        set_clock(&clock, offset);
        let report = drain(&url, "").await.json();
        assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(50)), "{offset}: {report}");
    }
}

/// Dates that no service can have sent are not used for signing.
#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_with_an_impossible_date_is_reported_as_an_error() {
    for date in
        ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 1900 00:00:00 GMT", "now"]
    {
        let fixture = Fixture::new().await;
        fixture.emulator.put(STREAM, 0..10).await;
        let kinesis = intercept(&fixture.emulator.url, move |_, _| {
            Reply::error("InvalidSignatureException", "Signature expired: it is now earlier than").with("date", date)
        })
        .await;
        let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", &kinesis)).await;
        let answer = drain(&url, "").await;
        assert_eq!((answer.status, &answer.json()["outcome"]), (502, &json!("failed")), "{date}: {answer:?}");
        assert!(answer.text.contains("InvalidSignatureException"), "{answer:?}");
    }
}

/// A date counts only in an answer that rejects a signature.
#[tokio::test(flavor = "multi_thread")]
async fn a_date_without_a_rejection_does_not_change_signatures() {
    let fixture = Fixture::new().await;
    fixture.emulator.put(STREAM, 0..10).await;
    let proxy = gate(&fixture, 0).await;
    let kinesis = intercept(&proxy.url, |_, reply| reply.with("date", "Tue, 19 Jan 2038 03:14:07 GMT")).await;
    let (_host, url) = host(fixture.push().set("KINESIS_ENDPOINT_URL", &kinesis)).await;
    let report = drain(&url, "").await.json();
    assert_eq!((&report["outcome"], &report["messages"]), (&json!("caught-up"), &json!(10)), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_past_the_year_9999_or_before_1970_ends_properly() {
    for offset in [8_100 * 365 * DAY, 100_000 * 365 * DAY, -200 * 365 * DAY] {
        let fixture = Fixture::new().await;
        fixture.emulator.put(STREAM, 0..10).await;
        let (options, clock) = with_clock(&fixture, fixture.push());
        let (host, url) = host(options).await;
        set_clock(&clock, offset);
        let answer = drain(&url, "").await;
        assert!([200, 502].contains(&answer.status), "{offset}: {answer:?}");
        if offset > 0 {
            assert!(answer.text.contains("9999"), "{answer:?}");
            assert_eq!(host.events.count(Event::KinesisAsked), 0);
        }
        assert_eq!(status(&url).await["lease"]["held"], false, "{offset}");
    }
}

/// Setting the clock back makes neither the lease longer nor a pause last for years.
#[tokio::test(flavor = "multi_thread")]
async fn setting_the_clock_during_a_drain_delays_nothing() {
    for offset in [-300 * DAY, 300 * DAY] {
        let fixture = Fixture::new().await;
        fixture.emulator.put(STREAM, 0..1_000).await;
        let (options, clock) = with_clock(&fixture, fixture.push());
        let (_host, url) = host(options).await;
        let file = clock.clone();
        fixture.sink.on_batch(move || set_clock(&file, offset));
        let report = drain(&url, "").await.json();
        assert_eq!(
            (&report["outcome"], &report["messages"]),
            (&json!("caught-up"), &json!(1_000)),
            "{offset}: {report}"
        );
        set_clock(&clock, 0);
        assert_eq!(drain(&url, "").await.status, 200, "the lease was given back");
        assert_eq!(fixture.sink.count(), 1_000);
    }
}

/// This is the only case in which it is impossible to know where `latest` was.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_drain_with_a_fast_clock_and_no_checkpoint_is_reported() {
    let fixture = Fixture::new().await;
    let (options, clock) = with_clock(&fixture, fixture.push().set("KINESIS_START", "latest"));
    let (fast, fast_url) = host(options).await;
    set_clock(&clock, DAY);
    // This takes the lease but commits nothing.
    let answer = drain(&fast_url, "ack=0").await;
    assert!(answer.status == 400 && answer.text.contains("no lines with this name"), "{answer:?}");
    assert!(fast.database.value(super::KEY).is_some());
    fixture.emulator.put(STREAM, 0..10).await;
    let (_right, url) = host(fixture.push().set("KINESIS_START", "latest")).await;
    let report = drain(&url, "").await.json();
    let has_warning = report["warning"].as_str().is_some_and(|warning| warning.contains("skipped"));
    assert!(report["messages"] == 10 || has_warning, "{report}");
    fixture.emulator.put(STREAM, 10..20).await;
    let report = drain(&url, "").await.json();
    assert_eq!(report["warning"], json!(null), "there is a checkpoint now: {report}");
    assert!(fixture.sink.numbers().is_superset(&(10..20).collect()), "{report}");
}
