//! Wrong clocks. We move the service's clock instead of this machine's, since only the difference matters.

use test_support::emulator::Emulator;
use test_support::program::{STREAM, assert_complete, read, run, stderr};
use test_support::proxy::{Gate, Mood, Proxy};

const GATE: Gate = Gate { access_key: "test", secret_key: "test", ahead_s: 0, name: "InvalidSignatureException" };

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_clock_is_corrected_once_by_the_services_clock() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 3).await;
    emulator.put(STREAM, 0..600).await;
    for (ahead_s, name, refused) in [
        (0, "InvalidSignatureException", 0),
        (200, "InvalidSignatureException", 0),
        (3 * 3600, "InvalidSignatureException", 1),
        (-3 * 3600, "InvalidSignatureException", 1),
        (400 * 86_400, "RequestTimeTooSkewed", 1),
        (-20 * 60, "SignatureDoesNotMatch", 1),
    ] {
        let mood = Mood { gate: Some(Gate { ahead_s, name, ..GATE }), ..Mood::default() };
        let proxy = Proxy::start(&emulator.url, 1, mood).await;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let to = "ndjson:out.ndjson";
        let output = run(read(folder.path(), &proxy.url, to).args(["--page-records", "50"]));
        assert!(output.status.success(), "{ahead_s} s: {}", stderr(&output));
        assert_complete(folder.path(), to, 600);
        let refusals = proxy.tally().get("RefusedByGate").copied().unwrap_or(0);
        assert_eq!(refusals, refused, "{ahead_s} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_reported_and_not_blamed_on_the_clock() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let mood = Mood { gate: Some(Gate { secret_key: "another", ..GATE }), ..Mood::default() };
    let proxy = Proxy::start(&emulator.url, 1, mood).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let output = run(&mut read(folder.path(), &proxy.url, "sqlite:out.db"));
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("InvalidSignatureException") && words.contains("does not match"), "{words}");
    assert!(words.contains("hint: "), "{words}");
    assert_eq!(proxy.tally().get("RefusedByGate"), Some(&2), "{words}");
}
