//! Reads a stream of one shard into a file of lines, with our program and with others.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Setting;
use super::cost::{Cost, PageServer, cells, count, in_turn, lines, ratio};

/// Messages per run by size, enough to make the time to start a process negligible.
const MESSAGES: [(usize, usize); 4] = [(100, 600_000), (500, 400_000), (2000, 150_000), (20_000, 16_000)];

/// The same for messages that their producer aggregated.
const AGGREGATED: [(usize, usize); 2] = [(100, 600_000), (500, 400_000)];

/// The only size at which the readers in Python run, as they are slow.
const PYTHON_SIZE: usize = 500;

/// A reader, and the command that reads a URL into a file.
struct Reader<'a> {
    name: &'a str,
    is_python: bool,
    command: Box<Start<'a>>,
}

type Start<'a> = dyn Fn(&str, &Path) -> Command + 'a;

pub(crate) fn bench(setting: &Setting) -> Result<(), String> {
    for &size in &setting.sizes {
        let messages = MESSAGES.iter().rev().find(|(of, _)| *of <= size).map_or(600_000, |(_, messages)| *messages);
        contest(setting, size, messages, "", &PageServer::start(size, messages, 1)?)?;
    }
    for (size, messages) in AGGREGATED {
        let kind = ", aggregated by the Kinesis Producer Library";
        contest(setting, size, messages, kind, &PageServer::aggregated(size, messages)?)?;
    }
    Ok(())
}

fn contest(setting: &Setting, size: usize, messages: usize, kind: &str, server: &PageServer) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut readers = readers(setting, folder.path(), size);
    // The Python readers treat each record as one message.
    readers.retain(|reader| kind.is_empty() || !reader.is_python);
    let file = folder.path().join("lines");
    let costs = in_turn(setting.rounds, &mut readers, |reader| {
        let cost = Cost::of(&mut (reader.command)(&server.url, &file))?;
        let found = lines(&file)?;
        if found != messages && reader.name != FLOOR {
            return Err(format!("{}: expected {messages} lines, found {found}", reader.name));
        }
        for path in [file.clone(), with_ending(&file, ".state")] {
            let _ = std::fs::remove_file(path);
        }
        Ok(cost)
    })?;

    println!("#### {} messages of {size} bytes{kind}\n", count(messages as f64));
    println!("| reader | messages per CPU-second | wall, s | peak, MiB | JSON speedup | CBOR speedup |");
    println!("|---|---|---|---|---|---|");
    for (reader, mine) in readers.iter().zip(&costs) {
        let ratios = costs.iter().take(2).map(|ours| ratio(mine, ours)).collect::<Vec<_>>().join(" | ");
        println!("| {} | {} | {ratios} |", reader.name, cells(mine, messages, |peak| peak.median));
    }
    println!();
    Ok(())
}

/// Our own readers come first.
fn readers<'a>(setting: &'a Setting, folder: &'a Path, size: usize) -> Vec<Reader<'a>> {
    let ours = move |wire: &'static str| {
        move |url: &str, file: &Path| {
            let mut command = program(setting, folder, url);
            command.arg("--to").arg(format!("ndjson:{}", file.display())).args(["--wire", wire]);
            command
        }
    };
    let built = move |name: &'static str| {
        move |url: &str, file: &Path| {
            let mut command = Command::new(setting.peers.join("sdk/release").join(name));
            command.args([url, bench::page_server::STREAM]).arg(file);
            command
        }
    };
    let mut readers = vec![
        Reader { name: "kinesis-reader, JSON", is_python: false, command: Box::new(ours("json")) },
        Reader { name: "kinesis-reader, CBOR", is_python: false, command: Box::new(ours("cbor")) },
        Reader { name: "aws-sdk-kinesis and serde_json", is_python: false, command: Box::new(built("sdk")) },
    ];
    if let (Some(python), PYTHON_SIZE) = (&setting.python, size) {
        let script = move |name: &str| {
            let mut command = Command::new(python);
            command.arg(setting.scripts.join(name)).env("RUNTIME__DLTHUB_TELEMETRY", "false");
            command
        };
        let boto3 = move |url: &str, file: &Path| {
            let mut command = script("boto3_loop.py");
            command.args([url, bench::page_server::STREAM]).arg(file);
            command
        };
        readers.push(Reader { name: "boto3 and orjson", is_python: true, command: Box::new(boto3) });
        if let Some(source) = &setting.dlt {
            let dlt = move |url: &str, file: &Path| {
                let mut command = script("dlt_source.py");
                command.arg(source).args([url, bench::page_server::STREAM]).arg(file);
                command
            };
            readers.push(Reader { name: "dlt's source", is_python: true, command: Box::new(dlt) });
        }
    }
    readers.push(Reader { name: FLOOR, is_python: false, command: Box::new(built("floor")) });
    readers
}

const FLOOR: &str = "floor: receive and write the raw bytes";

/// Returns a command that reads everything from `url` with our program.
pub(crate) fn program(setting: &Setting, folder: &Path, url: &str) -> Command {
    let mut command = paced_program(setting, folder, url);
    command.args(["--pace", "off"]);
    command
}

/// Returns the program with its own pace.
pub(crate) fn paced_program(setting: &Setting, folder: &Path, url: &str) -> Command {
    let mut command = Command::new(&setting.program);
    command.current_dir(folder).env_clear().env("HOME", folder);
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command.env("XDG_CACHE_HOME", std::env::temp_dir().join("kinesis-reader-bench"));
    command.args(["read", bench::page_server::STREAM, "--region", "us-east-1", "--endpoint-url", url]);
    command
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(ending);
    path.into()
}
