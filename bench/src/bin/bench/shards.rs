//! Reads the same number of messages from 1 to 10,000 shards, and measures memory with large pages and many shards.

use super::Setting;
use super::cost::{Cost, PageServer, cells, count, lines};
use super::lines::program;

const MESSAGES: usize = 1_000_000;

pub(crate) fn bench(setting: &Setting) -> Result<(), String> {
    println!("#### Many shards: {} messages of 100 bytes\n", count(MESSAGES as f64));
    println!("| shards | messages per CPU-second | wall, s | peak, MiB |");
    println!("|---|---|---|---|");
    for shards in [1, 100, 1000, 10_000] {
        run(setting, 100, MESSAGES / shards, shards)?;
    }
    println!("\n#### 64 shards\n");
    println!("| payload, bytes | messages per CPU-second | wall, s | peak, MiB |");
    println!("|---|---|---|---|");
    for (size, messages) in [(500, 6_000), (20_000, 838)] {
        run(setting, size, messages, 64)?;
    }
    println!();
    Ok(())
}

fn run(setting: &Setting, size: usize, messages: usize, shards: usize) -> Result<(), String> {
    let server = PageServer::start(size, messages, shards)?;
    let mut costs = Vec::new();
    for _ in 0..setting.rounds {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file = folder.path().join("lines");
        let mut command = program(setting, folder.path(), &server.url);
        command.arg("--to").arg(format!("ndjson:{}", file.display()));
        costs.push(Cost::of(&mut command)?);
        let found = lines(&file)?;
        if found != messages * shards {
            return Err(format!("{found} lines for {} messages", messages * shards));
        }
    }
    let row = if size == 100 { shards } else { size };
    println!("| {row} | {} |", cells(&costs, messages * shards, |peak| peak.max));
    Ok(())
}
