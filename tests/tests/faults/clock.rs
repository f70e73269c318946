//! A clock that is wrong. The service's clock is moved and not this machine's: it is the difference that counts.

use tests::emulator::Emulator;
use tests::program::{STREAM, assert_whole, read, run, said};
use tests::proxy::{Gate, Mood, Proxy};

const GATE: Gate = Gate { access_key: "test", secret_key: "test", ahead_s: 0, name: "InvalidSignatureException" };

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_put_right_by_the_services_once() {
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
        let folder = tempfile::tempdir().expect("a folder");
        let to = "ndjson:out.ndjson";
        let output = run(read(folder.path(), &proxy.url, to).args(["--page-records", "50"]));
        assert!(output.status.success(), "{ahead_s} s: {}", said(&output));
        assert_whole(folder.path(), to, 600);
        let at_the_gate = proxy.tally().get("Refused at the gate").copied().unwrap_or(0);
        assert_eq!(at_the_gate, refused, "{ahead_s} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_and_no_clock_is_blamed() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let mood = Mood { gate: Some(Gate { secret_key: "another", ..GATE }), ..Mood::default() };
    let proxy = Proxy::start(&emulator.url, 1, mood).await;
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(&mut read(folder.path(), &proxy.url, "sqlite:out.db"));
    let words = said(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("InvalidSignatureException") && words.contains("does not match"), "{words}");
    assert!(words.contains("hint: "), "{words}");
    assert_eq!(proxy.tally().get("Refused at the gate"), Some(&2), "{words}");
}
