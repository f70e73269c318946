//! Compares the Python and JavaScript packages to the loops that their users would write otherwise, in turn and on the
//! same pages. Every message is inspected.

use std::path::PathBuf;
use std::process::Command;

use super::Setting;
use super::cost::{Cost, PageServer, cells, count, in_turn, ratio};

const SIZE: usize = 500;

/// Enough to make the time to start a process negligible.
const MESSAGES: usize = 400_000;

/// A way to read all messages, and the index of the way that it is compared to.
struct Way {
    name: &'static str,
    command: Command,
    peer: Option<usize>,
}

pub(crate) fn python(setting: &Setting) -> Result<(), String> {
    let (Some(package), Some(peers)) = (set("KINESIS_READER_PYTHON_PACKAGE"), &setting.python) else {
        eprintln!("skipping the Python package: no environment");
        return Ok(());
    };
    let script = |python: &PathBuf, way: &str| {
        let mut command = Command::new(python);
        command.arg(setting.scripts.join("packages.py")).arg(way).env("RUNTIME__DLTHUB_TELEMETRY", "false");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command.env("AWS_DEFAULT_REGION", "us-east-1");
        command
    };
    let mut ways = vec![
        Way { name: "boto3 and orjson: dicts", command: script(peers, "boto3"), peer: None },
        Way { name: "`read`: dicts", command: script(&package, "read"), peer: Some(0) },
        Way { name: "`read(loads=orjson.loads)`: dicts", command: script(&package, "read-orjson"), peer: Some(0) },
    ];
    if setting.dlt.is_some() {
        ways.push(Way { name: "dlt's source: rows", command: script(&package, "dlt"), peer: None });
    }
    let peer = setting.dlt.is_some().then_some(3);
    ways.push(Way { name: "`kinesis_reader.dlt`: rows", command: script(&package, "dlt-ours"), peer });
    contest(setting, "Python", ways)
}

pub(crate) fn js(setting: &Setting) -> Result<(), String> {
    if set("KINESIS_READER_JS_PACKAGE").is_none() {
        eprintln!("skipping the JavaScript package: not built");
        return Ok(());
    }
    let script = |way: &str| {
        let mut command = Command::new("node");
        command.arg(setting.scripts.join("js/contestants.js")).arg(way);
        command
    };
    let ways = vec![
        Way { name: "client-kinesis and JSON.parse: objects", command: script("sdk"), peer: None },
        Way { name: "`read`: objects", command: script("read"), peer: Some(0) },
        Way { name: "`readBatches`, `messages()`: objects", command: script("batches"), peer: Some(0) },
        Way { name: "client-kinesis and JSON.stringify: lines", command: script("sdk-lines"), peer: None },
        Way { name: "`readBatches`, `pieces()`: lines", command: script("lines"), peer: Some(3) },
    ];
    contest(setting, "JavaScript", ways)
}

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from)
}

fn contest(setting: &Setting, language: &str, mut ways: Vec<Way>) -> Result<(), String> {
    let server = PageServer::start(SIZE, MESSAGES, 1)?;
    for way in &mut ways {
        way.command.args([&server.url, &MESSAGES.to_string()]);
        way.command.args(setting.dlt.as_ref());
    }
    let costs = in_turn(setting.rounds, &mut ways, |way| Cost::of(&mut way.command))?;
    println!("#### {language}: {} messages of {SIZE} bytes\n", count(MESSAGES as f64));
    println!("| reader | messages per CPU-second | wall, s | peak, MiB | speedup over the peer above |");
    println!("|---|---|---|---|---|");
    for (way, mine) in ways.iter().zip(&costs) {
        let ratio = way.peer.and_then(|peer| costs.get(peer)).map_or(String::new(), |theirs| ratio(theirs, mine));
        println!("| {} | {} | {ratio} |", way.name, cells(mine, MESSAGES, |peak| peak.median));
    }
    println!();
    Ok(())
}
