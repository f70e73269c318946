//! Measures the edge component: its size, instantiation, and a request, which is always a cold start.

use std::sync::Arc;
use std::time::Instant;

use edge_tests::client::drain;
use edge_tests::events::Event;
use edge_tests::host::{Host, engine};
use edge_tests::sink::Sink;
use edge_tests::{Build, Options};
use test_support::emulator::Emulator;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::Setting;
use super::cost::Spread;

const ROUNDS: usize = 30;

/// Messages per page.
const PAGE: u32 = 1000;

const STREAM: &str = "orders";

pub(crate) fn bench(_: &Setting) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let sink = Sink::start().await;
    let options = Options::new(Build::Kv, folder.path().join("store.db"), &emulator.url, STREAM);
    let host = Arc::new(Host::new(&engine(), options.set("SINK_URL", &sink.url)));
    let url = host.serve().await;

    let (mut instances, mut firsts, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS as u32 {
        emulator.put(STREAM, round * PAGE..(round + 1) * PAGE).await;
        let begun = Instant::now();
        host.instantiate().await;
        instances.push(begun.elapsed().as_secs_f64() * 1000.0);
        let begun = Instant::now();
        let report = drain(&url, "").await.json();
        whole.push(begun.elapsed().as_secs_f64() * 1000.0);
        let first = host.events.first_after(Event::KinesisAsked, begun).ok_or("no request to Kinesis")?;
        firsts.push(first.as_secs_f64() * 1000.0);
        if report["messages"] != PAGE || report["outcome"] != "caught-up" {
            return Err(format!("drain failed: {report}"));
        }
    }

    let begun = Instant::now();
    Component::from_file(&Engine::default(), Build::Kv.composed()).map_err(|error| error.to_string())?;
    let compiling = begun.elapsed().as_secs_f64() * 1000.0;

    println!("#### At the edge\n\n| | |\n|---|---|");
    println!("| compile the drain, composed with the reader | {compiling:.0} ms |");
    for (what, spent) in [
        ("instantiate it", instances),
        ("time from a request to the first request to Kinesis", firsts),
        ("a whole request: instance, lease, 1,000 messages to the sink, commit", whole),
    ] {
        // The first round warms up.
        let spent = Spread::of(spent.into_iter().skip(1));
        println!("| {what} | {:.1} ms ({:.1} to {:.1}) |", spent.median, spent.min, spent.max);
    }
    for build in [Build::Kv, Build::Http] {
        for path in [build.path(), build.composed()] {
            let size = std::fs::metadata(&path).map_err(|error| error.to_string())?.len();
            println!("| `{}` | {size} bytes |", path.file_name().unwrap_or_default().display());
        }
    }
    println!();
    Ok(())
}
