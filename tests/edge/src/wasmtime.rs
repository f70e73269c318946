//! Runs the build for generic wasi:http hosts in the `wasmtime` program.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::calls::drain_ten_thousand;
use super::moto::Moto;
use super::sink::Sink;
use super::{Build, Options};
use test_support::emulator::Emulator;

/// The flags of `wasmtime serve`, as in the README of the drain.
const FLAGS: [&str; 4] = ["-S", "cli", "-S", "inherit-env"];

/// Drains 10,000 messages with two of these servers, with ferrokinesis as Kinesis and moto as DynamoDB. Returns the
/// number of calls.
pub async fn drain_stream(program: &Path) -> u64 {
    let (emulator, moto, sink) = tokio::join!(Emulator::ferrokinesis(), Moto::start(), Sink::start());
    emulator.create("orders", 2).await;
    emulator.put("orders", 0..10_000).await;
    moto.create("kinesis-reader").await;
    // This build has no key-value store.
    let options = Options::new(Build::Http, "none".into(), &emulator.url, "orders")
        .set("DYNAMODB_ENDPOINT_URL", &moto.url)
        .set("SINK_URL", &sink.url)
        .set("SINK_TIMEOUT_SECONDS", "600");
    let ((_first, url), (_second, other)) = tokio::join!(serve(program, &options), serve(program, &options));
    drain_ten_thousand([&url, &other], &sink, || {}).await
}

/// Starts a server, which is killed when it is dropped, and returns it with its URL.
async fn serve(program: &Path, options: &Options) -> (Child, String) {
    let mut child = Command::new(program)
        .arg("serve")
        .args(FLAGS)
        .args(["--addr", "127.0.0.1:0"])
        .arg(options.build.composed())
        .envs(&options.settings)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    let url = loop {
        let line = lines.next_line().await.ok().flatten().expect("wasmtime prints its URL");
        if let Some((_, url)) = line.split_once("Serving HTTP on ") {
            break url.trim_end_matches('/').to_owned();
        }
        eprintln!("{line}");
    };
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("{line}");
        }
    });
    (child, url)
}
