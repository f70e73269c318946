//! Measures the machine alone, natively, with one shard and with many: the cost of a message, a tick, a listing and a
//! checkpoint, and the memory used by a waiting shard.
//!
//! Every shard is read once before anything is measured, so that all are in the reader's tables. Time is virtual:
//! pacing is on, and when the reader waits its clock is advanced.

use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bench::page_server::{Form, Pages, STREAM, Server, Wire};
use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{Action, Config, Instant, Reader, RequestId, Response, Source, Timestamp, Until};

use super::Setting;
use super::cost::{Spread, count, thread_time};

const SHARDS: [usize; 3] = [1, 100, 10_000];

/// Pages of 100 messages of 100 bytes, as a poll of a stream with many shards might return, rather than full pages.
const FORM: Form = Form { size: 100, messages: 1200 * 100, page: 100, record: 1 };

/// Pages per measurement.
const MEASURED: u64 = 1000;

/// Minimum duration of a measurement: the system's CPU clock ticks every few milliseconds.
const LEAST: Duration = Duration::from_millis(300);

/// Bytes of lines requested at a time, as in the program.
const PIECE: u32 = 1 << 20;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn bench(setting: &Setting) -> Result<(), String> {
    let mut found: Vec<Vec<[f64; FIGURES]>> = SHARDS.iter().map(|_| Vec::new()).collect();
    let itself = std::env::current_exe().map_err(|error| error.to_string())?;
    for _ in 0..setting.rounds {
        for (shards, found) in SHARDS.iter().zip(&mut found) {
            let output = Command::new(&itself).arg("--machine").arg(shards.to_string()).output();
            let output = output.map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout);
            let figures: Vec<f64> = text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
            let figures = <[f64; FIGURES]>::try_from(figures);
            found.push(figures.map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?);
        }
    }
    println!("#### Machine only, natively: pages of 100 messages of 100 bytes\n");
    println!(
        "| shards | ns a message | × one shard | ns a tick | ns: what changed, after a page | µs: the whole checkpoint | \
         µs: to read it | ms: a listing | bytes a shard |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (shards, mine) in SHARDS.iter().zip(&found) {
        let figure = |at: usize| Spread::of(mine.iter().map(|figures| figures[at])).median;
        let ratio = mine.iter().zip(&found[0]).map(|(mine, one)| mine[0] / one[0]);
        println!(
            "| {} | {:.0} | {} | {:.0} | {:.0} | {:.1} | {:.1} | {:.2} | {} |",
            count(*shards as f64),
            figure(0),
            Spread::of(ratio).ratio(),
            figure(1),
            figure(2),
            figure(3) / 1e3,
            figure(4) / 1e3,
            figure(5) / 1e6,
            // The memory of a single shard is lost in the granularity of allocations.
            if *shards < 1000 { "".to_owned() } else { count(figure(6)) },
        );
    }
    println!();
    Ok(())
}

/// Nanoseconds of each measured operation, and bytes per shard.
const FIGURES: usize = 7;

/// Measures this number of shards and prints the figures.
pub(crate) fn alone(shards: &str) -> ExitCode {
    let Ok(shards) = shards.parse() else { return ExitCode::from(2) };
    let server = Server::new(Pages::render(FORM), shards);
    let before = resident();
    let mut run = Run::read_once(&server, shards);
    let memory = resident().saturating_sub(before) as f64 / shards as f64;

    let (mut spent, mut messages) = (Duration::ZERO, 0);
    while spent < LEAST {
        run = Run::read_once(&server, shards);
        run.render = true;
        let (begun, pages, before) = (thread_time(), run.pages + MEASURED, run.reader.totals().messages);
        run.until(|run| run.pages >= pages);
        spent += thread_time() - begun;
        messages += run.reader.totals().messages - before;
    }
    let message = spent.as_nanos() as f64 / messages as f64;

    // Run until all shards wait for their pace.
    run.until(|run| run.waits);
    let tick = timed(|| {
        run.reader.handle_timeout(run.now);
        drop(black_box(run.reader.poll_action()));
    });
    let revision = run.reader.revision();
    let changes = timed(|| drop(black_box(run.reader.changes(revision - 1))));
    let text = run.reader.checkpoint();
    let whole = timed(|| drop(black_box(run.reader.checkpoint())));
    let open = timed(|| drop(black_box(opened(Some(&text)))));
    let listing = timed(|| {
        run.now = run.now + DAY;
        run.reader.handle_timeout(run.now);
        let (pages, listings) = (run.pages, run.listings);
        run.until(|run| run.listings > listings);
        assert_eq!(pages, run.pages, "the listing comes before any page");
    });
    println!("{message} {tick} {changes} {whole} {open} {listing} {memory}");
    ExitCode::SUCCESS
}

/// Returns the cost of an operation in nanoseconds.
fn timed(mut thing: impl FnMut()) -> f64 {
    let (begun, mut times, mut some) = (thread_time(), 0_u32, 1);
    loop {
        for _ in 0..some {
            thing();
        }
        times += some;
        let spent = thread_time() - begun;
        if spent >= LEAST {
            return spent.as_nanos() as f64 / f64::from(times);
        }
        // Read the clock rarely: it costs more than most measured operations.
        some = times.min(100_000);
    }
}

fn opened(checkpoint: Option<&str>) -> Reader {
    let mut config = Config::new(Source::Name(STREAM.to_owned()));
    (config.until, config.limits.list_interval) = (Until::Stopped, DAY);
    Reader::open(config, checkpoint, 1, Instant(0), Timestamp(1_795_000_000_000)).expect("the config is valid")
}

/// A reader, and a service that answers immediately.
struct Run<'a> {
    reader: Reader,
    server: &'a Server,
    now: Instant,
    render: bool,
    pages: u64,
    listings: u64,
    /// Whether the reader's last action was to wait.
    waits: bool,
}

impl Run<'_> {
    /// Returns a reader that has read one page of each shard.
    fn read_once(server: &Server, shards: usize) -> Run<'_> {
        let (now, render) = (Instant(0), false);
        let mut run = Run { reader: opened(None), server, now, render, pages: 0, listings: 0, waits: false };
        run.until(|run| run.pages >= shards as u64);
        run
    }

    fn until(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            self.waits = false;
            match self.reader.poll_action() {
                Action::Send(request) => {
                    let Body::Json(query) = &request.body else { panic!("not JSON") };
                    let answer = self.server.answer(request.operation.name(), Wire::Json, query.as_bytes());
                    self.listings += u64::from(request.operation == Operation::ListShards);
                    self.answer(request.id, answer);
                }
                Action::Deliver(batch) => {
                    let mut skip = if self.render { 0 } else { batch.count() };
                    while skip < batch.count() {
                        skip += black_box(batch.lines(skip, PIECE)).count;
                    }
                    self.reader.handle_delivered(batch.id(), self.now).expect("the batch is outstanding");
                    self.pages += 1;
                }
                Action::Notice(_) => {}
                Action::Wait(wait) => {
                    self.waits = true;
                    if !enough(self) {
                        self.now = wait.until.expect("a deadline");
                        self.reader.handle_timeout(self.now);
                    }
                }
                Action::Finish(outcome) => panic!("unexpected outcome: {outcome:?}"),
            }
        }
    }

    fn answer(&mut self, id: RequestId, answer: Vec<u8>) {
        let body = Body::Json(String::from_utf8(answer).expect("JSON is UTF-8"));
        let response = Response { status: 200, body, aws_request_id: None, date: None, signed: None };
        self.reader.handle_response(id, response, self.now).expect("the request is pending");
    }
}

/// Returns the resident memory of this process in bytes, if the system reports it.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}
