//! Measures rendering pages as lines, in the sandbox and natively with the same code, in turn and on the same pages.
//!
//! Either is given the body of a response and returns lines in pieces, and is charged for everything this takes:
//! copying the body and, in the sandbox, copying and validating the lines on their way out. The native program is built
//! for processors from 2013 on (x86-64-v3), but without SHA instructions, which wasm does not have either.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use bench::page_server::{Form, Pages, STREAM, Server, Wire};
use kinesis_reader::component::{Action, Bounds, COMPONENT, Loaded, Sandbox, wit};

use super::Setting;
use super::cost::{Spread, thread_time};

/// Bytes of lines requested at a time, as in the program.
const PIECE: u32 = 1 << 20;

/// Minimum duration of rendering.
const MEASURED: Duration = Duration::from_millis(400);

const OPERATIONS: [&str; 3] = ["DescribeStreamSummary", "ListShards", "GetShardIterator"];

pub(crate) fn bench(setting: &Setting) -> Result<(), String> {
    println!("#### Pages to lines\n");
    println!("| payload, bytes | wire | wasm, ns a message | native, ns a message | wasm / native |");
    println!("|---|---|---|---|---|");
    for &size in &setting.sizes {
        for name in ["json", "cbor"] {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let itself = std::env::current_exe().map_err(|error| error.to_string())?;
            // If this process were large, its children would start out large too.
            let size_text = size.to_string();
            let status = Command::new(&itself).args(["--pages", name, &size_text]).arg(folder.path()).status();
            if !status.is_ok_and(|status| status.success()) {
                return Err("cannot write the pages".to_owned());
            }
            let (mut boxed, mut native) = (Vec::new(), Vec::new());
            for _ in 0..setting.rounds {
                boxed.push(number_from(Command::new(&itself).args(["--sandbox", name]).arg(folder.path()))?);
                native.push(number_from(
                    Command::new(setting.peers.join("native/release/native")).arg(name).arg(folder.path()),
                )?);
            }
            let ratio = Spread::of(boxed.iter().zip(&native).map(|(boxed, native)| boxed / native));
            let [boxed, native] = [boxed, native].map(|costs| Spread::of(costs.into_iter()));
            println!("| {size} | {name} | {:.0} | {:.0} | {} |", boxed.median, native.median, ratio.ratio());
        }
    }
    println!();
    Ok(())
}

/// Runs a command that prints a number.
fn number_from(command: &mut Command) -> Result<f64, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Writes the responses and a few pages to a directory.
pub(crate) fn pages(wire: &str, size: &str, folder: &str) -> ExitCode {
    let wire = if wire == "cbor" { Wire::Cbor } else { Wire::Json };
    let Ok(size) = size.parse() else { return ExitCode::from(2) };
    match write(Path::new(folder), size, wire) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path, size: usize, wire: Wire) -> std::io::Result<()> {
    let form = Form::of(size, 0);
    let form = Form { messages: form.page * 16, ..form };
    let pages = Pages::render(form);
    for page in 0..pages.count() - 1 {
        fs::write(folder.join(format!("page-{page}")), pages.body(wire, page))?;
    }
    let server = Server::new(pages, 1);
    for operation in OPERATIONS {
        fs::write(folder.join(operation), server.answer(operation, wire, &[]))?;
    }
    Ok(())
}

/// Renders the pages of a directory in the sandbox and prints the cost of a message in nanoseconds.
pub(crate) fn in_sandbox(wire: &str, folder: &str) -> ExitCode {
    let wire = if wire == "cbor" { wit::Wire::Cbor } else { wit::Wire::Json };
    let answer = |name: &str| {
        let bytes = fs::read(Path::new(folder).join(name)).ok()?;
        Some(match wire {
            wit::Wire::Json => wit::Body::Json(String::from_utf8(bytes).expect("JSON is UTF-8")),
            wit::Wire::Cbor => wit::Body::Cbor(bytes),
        })
    };
    let pages: Vec<wit::Response> = (0..).map_while(|page| answer(&format!("page-{page}"))).map(response).collect();
    let answers = OPERATIONS.map(|name| response(answer(name).expect(name)));
    let sandbox = Sandbox::new(Bounds::default(), None).expect("a sandbox");
    let load = || sandbox.load(COMPONENT).expect("a valid component");

    read(load(), wire, &answers, &pages);
    let (mut messages, mut spent) = (0, Duration::ZERO);
    while spent < MEASURED {
        // Don't measure compilation.
        let loaded = load();
        let begun = thread_time();
        messages += read(loaded, wire, &answers, &pages);
        spent += thread_time() - begun;
    }
    println!("{}", spent.as_nanos() as f64 / messages as f64);
    ExitCode::SUCCESS
}

fn response(body: wit::Body) -> wit::Response {
    wit::Response { status: 200, body, aws_request_id: None, date: None, signed: None }
}

/// Renders all pages as lines and returns the number of messages.
fn read(mut loaded: Loaded, wire: wit::Wire, answers: &[wit::Response; 3], pages: &[wit::Response]) -> u64 {
    let mut config = loaded.defaults(&wit::Source::Name(STREAM.to_owned())).expect("defaults");
    (config.wire, config.limits.pace, config.until) = (wire, None, wit::Until::Stopped);
    let mut reader = loaded.open(&config, None, 1, 0, 1_795_000_000_000).expect("the config is valid");
    let mut pages = pages.iter();
    loop {
        match reader.poll().expect("an action") {
            Action::Send(request) => {
                let answer = match request.operation {
                    wit::Operation::DescribeStreamSummary => Some(&answers[0]),
                    wit::Operation::ListShards => Some(&answers[1]),
                    wit::Operation::GetShardIterator => Some(&answers[2]),
                    wit::Operation::GetRecords => pages.next(),
                };
                let Some(answer) = answer else { return reader.totals().expect("totals").messages };
                reader.handle_response(request.id, answer, 0).expect("the request is pending");
            }
            Action::Deliver(handle) => {
                let mut batch = reader.batch(&handle).expect("a batch");
                let mut skip = 0;
                while skip < batch.count {
                    skip += std::hint::black_box(batch.lines(skip, PIECE).expect("lines")).count;
                }
                let id = batch.id;
                reader.release(handle).expect("the batch is outstanding");
                reader.handle_delivered(id, 0).expect("the batch is outstanding");
            }
            Action::Notice(_) => {}
            other => panic!("unexpected action: {other:?}"),
        }
    }
}
