//! Runs the machine natively, rendering pages as lines, for comparison with the component.
//!
//! `native json|cbor FOLDER`: the folder contains a response for each operation, and the pages in order. Prints the
//! cost of a message in nanoseconds.

use std::time::Duration;

use kinesis_reader_machine::wire::{Body, Operation, Wire};
use kinesis_reader_machine::{Action, Config, Instant, Reader, Response, Source, Timestamp, Until};

/// Bytes of lines requested at a time, as in the program.
const PIECE: u32 = 1 << 20;

/// Minimum duration of rendering.
const MEASURED: Duration = Duration::from_millis(400);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wire, folder] = arguments.as_slice() else { panic!("usage: native json|cbor FOLDER") };
    let wire = if wire == "cbor" { Wire::Cbor } else { Wire::Json };
    let answer = |name: &str| {
        let bytes = std::fs::read(format!("{folder}/{name}")).ok()?;
        Some(match wire {
            Wire::Json => Body::Json(String::from_utf8(bytes).expect("JSON is UTF-8")),
            Wire::Cbor => Body::Cbor(bytes),
        })
    };
    let pages: Vec<Body> = (0..).map_while(|page| answer(&format!("page-{page}"))).collect();
    let answers = ["DescribeStreamSummary", "ListShards", "GetShardIterator"].map(|name| answer(name).expect(name));

    read(wire, &answers, &pages);
    let begun = thread_time();
    let (mut messages, mut spent) = (0, Duration::ZERO);
    while spent < MEASURED {
        messages += read(wire, &answers, &pages);
        spent = thread_time() - begun;
    }
    println!("{}", spent.as_nanos() as f64 / messages as f64);
}

/// Renders all pages as lines and returns the number of messages.
fn read(wire: Wire, answers: &[Body; 3], pages: &[Body]) -> u64 {
    let mut config = Config::new(Source::Name("orders".to_owned()));
    (config.wire, config.limits.pace, config.until) = (wire, None, Until::Stopped);
    let mut reader =
        Reader::open(config, None, 1, Instant(0), Timestamp(1_795_000_000_000)).expect("the config is valid");
    let mut pages = pages.iter();
    loop {
        match reader.poll_action() {
            Action::Send(request) => {
                let body = match request.operation {
                    Operation::DescribeStreamSummary => Some(&answers[0]),
                    Operation::ListShards => Some(&answers[1]),
                    Operation::GetShardIterator => Some(&answers[2]),
                    Operation::GetRecords => pages.next(),
                };
                let Some(body) = body else { return reader.totals().messages };
                let response =
                    Response { status: 200, body: body.clone(), aws_request_id: None, date: None, signed: None };
                reader.handle_response(request.id, response, Instant(0)).expect("the request is pending");
            }
            Action::Deliver(batch) => {
                let mut skip = 0;
                while skip < batch.count() {
                    let lines = std::hint::black_box(batch.lines(skip, PIECE));
                    skip += lines.count;
                }
                reader.handle_delivered(batch.id(), Instant(0)).expect("the batch is outstanding");
            }
            Action::Notice(_) => {}
            other => panic!("unexpected action: {other:?}"),
        }
    }
}

/// Returns the CPU time of this thread or, if the system does not report it, elapsed time.
fn thread_time() -> Duration {
    thread_local!(static BEGUN: std::time::Instant = std::time::Instant::now());
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let time = text.and_then(|text| text.split(' ').next()?.parse().ok()).map(Duration::from_nanos);
    time.unwrap_or_else(|| BEGUN.with(std::time::Instant::elapsed))
}
