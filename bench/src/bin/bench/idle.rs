//! Measures what it costs to follow many shards to which nothing is written, by how often each is polled.

use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Setting;
use super::cost::{PageServer, Spread};
use super::lines::paced_program;

const SHARDS: usize = 1000;

/// How long the program may take to find all shards at their tips.
const START: Duration = Duration::from_secs(5);

/// How long it is measured then.
const TIME: Duration = Duration::from_secs(10);

/// As often as Kinesis allows, and as often as by default.
const CONTESTANTS: [(&str, &[&str]); 2] =
    [("5 times a second", &["--pace", "100%", "--idle-interval", "0s"]), ("once a second (default)", &[])];

pub(crate) fn bench(setting: &Setting) -> Result<(), String> {
    println!("#### Following {SHARDS} idle shards\n");
    println!("| each is polled | CPU, % of a core | × the default |");
    println!("|---|---|---|");
    let server = PageServer::start(100, 0, SHARDS)?;
    let mut shares = vec![Vec::new(); CONTESTANTS.len()];
    for _ in 0..setting.rounds {
        for ((_, flags), shares) in CONTESTANTS.iter().zip(&mut shares) {
            shares.push(100.0 * follow(setting, &server.url, flags)?);
        }
    }
    let default = shares.last().cloned().unwrap_or_default();
    for ((name, _), shares) in CONTESTANTS.iter().zip(&shares) {
        let ratio = Spread::of(shares.iter().zip(&default).map(|(share, default)| share / default)).ratio();
        let Spread { min, median, max } = Spread::of(shares.iter().copied());
        println!("| {name} | {median:.1} ({min:.1} to {max:.1}) | {ratio} |");
    }
    println!();
    Ok(())
}

/// Returns the share of a core that the program takes once all shards are at their tips.
fn follow(setting: &Setting, url: &str, flags: &[&str]) -> Result<f64, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut command = paced_program(setting, folder.path(), url);
    command.args(["--follow", "--to"]).arg(format!("ndjson:{}", folder.path().join("lines").display()));
    command.args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("cannot start: {command:?}: {error}"))?;
    let share = measure(&mut child);
    let _ = child.kill();
    let _ = child.wait();
    share
}

#[expect(clippy::disallowed_methods, reason = "what a process costs while nothing happens shows only over time")]
fn measure(child: &mut Child) -> Result<f64, String> {
    sleep(START);
    let (begun, before) = (Instant::now(), cpu_time(child.id())?);
    sleep(TIME);
    let (wall, cpu) = (begun.elapsed(), cpu_time(child.id())?.saturating_sub(before));
    match child.try_wait() {
        Ok(None) => Ok(cpu.as_secs_f64() / wall.as_secs_f64()),
        ended => Err(format!("the program did not go on: {ended:?}")),
    }
}

/// Returns the user and system time of a process.
fn cpu_time(process: u32) -> Result<Duration, String> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The name in parentheses may have spaces. The times are the fields 14 and 15, in hundredths of a second.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
