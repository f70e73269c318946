//! The program behind a proxy that injects faults.

use std::time::Duration;

use test_support::emulator::Emulator;
use test_support::program::{self, STREAM, assert_complete, bare, read, run, stderr};
use test_support::proxy::{Fault, Mood, PASSING, Proxy};
use test_support::soak::{Tally, kill_loop};
use tokio::net::TcpListener;

use crate::inside;

#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_once_through_all_faults_a_split_and_a_merge() {
    for (seed, to) in [(1, "sqlite:out.db"), (2, "ndjson:out.ndjson")] {
        let emulator = Emulator::ferrokinesis().await;
        emulator.create(STREAM, 3).await;
        emulator.put(STREAM, 0..1000).await;
        let shards = emulator.open_shards(STREAM).await;
        emulator.split(STREAM, &shards[0]).await;
        emulator.put(STREAM, 1000..2000).await;
        emulator.merge(STREAM, &shards[1], &shards[2]).await;
        emulator.put(STREAM, 2000..3000).await;
        let proxy = Proxy::start(&emulator.url, seed, Mood::of(40, PASSING)).await;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut count = 3000;
        // Continue until each fault has occurred.
        for round in 0.. {
            let output = run(read(folder.path(), &proxy.url, to).args(["--page-records", "40"]));
            assert!(output.status.success(), "{to}: {}", stderr(&output));
            assert_complete(folder.path(), to, count);
            if PASSING.iter().all(|&fault| proxy.count(fault) > 0) {
                break;
            }
            assert!(round < 20, "some faults never occur: {:?}", proxy.tally());
            emulator.put(STREAM, count..count + 500).await;
            count += 500;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_once_despite_kills_faults_and_reshards() {
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let tally = kill_loop(5, to, 8).await.expect("every run that is not killed succeeds");
        assert_eq!((tally.runs, tally.messages, tally.flaws), (8, 2100, program::Flaws::default()), "{to}");
        let Tally { kills, faults, reshards, .. } = tally;
        assert!(kills > 2 && faults > 5 && reshards > 2, "too few events to prove anything: {tally:?}");
    }
}

/// The request's timeout applies both to silence and to an answer that goes on forever.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_never_end_time_out() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..400).await;
    let mood = Mood::of(25, &[Fault::Silence, Fault::EndlessDrip]);
    let proxy = Proxy::start(&emulator.url, 3, mood).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut output = inside::file(folder.path());
    let quick = |config: &mut inside::Config| {
        config.limits.page_records = 20;
        config.limits.request_timeout = 400;
        config.limits.pace = None;
    };
    let summary = inside::drive(inside::ours(), &proxy.url, &mut output, quick).await.expect("the run succeeds");
    drop(output);
    assert_complete(folder.path(), inside::FILE, 400);
    assert!(proxy.count(Fault::Silence) > 0 && proxy.count(Fault::EndlessDrip) > 0, "{:?}", proxy.tally());
    assert!(summary.totals.retried > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_are_renewed() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..300).await;
    let proxy = Proxy::start(&emulator.url, 4, Mood::of(30, &[Fault::ExpiredCredentials])).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| folder.path().join(name);
    // The credential process returns another key each time.
    let script =
        "echo x >> asked; echo '{\"Version\":1,\"AccessKeyId\":\"KEY'$(wc -l < asked)'\",\"SecretAccessKey\":\"s\"}'";
    std::fs::write(at("keys.sh"), format!("cd {}\n{script}\n", folder.path().display())).expect("a writable directory");
    let profile = format!("[default]\ncredential_process = /bin/sh {}\n", at("keys.sh").display());
    std::fs::create_dir(at(".aws"))
        .and_then(|()| std::fs::write(at(".aws/config"), profile))
        .expect("a writable directory");
    let mut command = read(folder.path(), &proxy.url, "ndjson:out.ndjson");
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("PATH", "/usr/bin:/bin");
    let output = run(command.args(["--page-records", "10"]));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(folder.path(), "ndjson:out.ndjson", 300);
    let asked = std::fs::read_to_string(at("asked")).expect("the file exists").lines().count() as u64;
    let ended = proxy.count(Fault::ExpiredCredentials);
    assert!(ended > 3 && (2..=ended + 1).contains(&asked), "asked {asked} times after {ended} expirations");
}

/// The program sends to a single endpoint, whatever answers or proxy variables in the environment say.
#[tokio::test(flavor = "multi_thread")]
async fn neither_redirects_nor_proxies_from_the_environment_are_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let there = format!("http://{}/", elsewhere.local_addr().expect("the listener is bound"));
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..20).await;
    let mood = Mood { elsewhere: there.clone(), ..Mood::of(100, &[Fault::Redirect]) };
    let proxy = Proxy::start(&emulator.url, 6, mood).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let to = "sqlite:out.db";
    let read = || {
        let mut command = read(folder.path(), &proxy.url, to);
        command.envs(["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, &there)));
        command
    };
    let output = run(&mut read());
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("302"), "{words}");
    assert!(proxy.count(Fault::Redirect) > 0);

    proxy.set(Mood::default());
    let output = run(&mut read());
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(folder.path(), to, 20);
    let shards =
        run(bare(folder.path()).args(["shards", STREAM, "--region", "us-east-1", "--endpoint-url", &proxy.url]));
    assert!(shards.status.success(), "{}", stderr(&shards));

    // All programs have ended, so any connection elsewhere would have arrived by now.
    let connection = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
    assert!(connection.is_err(), "the program connected to another host");
}
