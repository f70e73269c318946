//! The kill loop: runs the program again and again and kills it at random moments, behind a proxy that breaks
//! responses, while the stream is written to and resharded. In the end, every message must be there exactly once.

use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::emulator::Emulator;
use crate::program::{self, Flaws, STREAM};
use crate::proxy::{Mood, PASSING, Proxy};
use simulation::chance::Chance;

/// Messages put per run.
const MESSAGES: u32 = 300;

/// If there are more open shards than this, some are merged.
const SHARDS_MAX: usize = 6;

/// The result of a kill loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub runs: u64,
    pub kills: u64,
    pub faults: u64,
    pub reshards: u64,
    pub messages: u64,
    pub flaws: Flaws,
}

impl Tally {
    /// Adds two tallies.
    pub fn and(self, other: Tally) -> Tally {
        Tally {
            runs: self.runs + other.runs,
            kills: self.kills + other.kills,
            faults: self.faults + other.faults,
            reshards: self.reshards + other.reshards,
            messages: self.messages + other.messages,
            flaws: Flaws {
                lost: self.flaws.lost + other.flaws.lost,
                repeated: self.flaws.repeated + other.flaws.repeated,
                out_of_order: self.flaws.out_of_order + other.flaws.out_of_order,
            },
        }
    }
}

/// Runs the program `runs` times, the last time without faults and to completion, and checks the result.
pub async fn kill_loop(seed: u64, to: &str, runs: u64) -> Result<Tally, String> {
    let mut chance = Chance::new(seed, 11);
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 3).await;
    let proxy = Proxy::start(&emulator.url, seed, Mood::default()).await;
    let folder = tempfile::tempdir().map_err(|error| format!("cannot create a directory: {error}"))?;
    let mut tally = Tally::default();
    let mut put = 0;
    for run in 1..=runs {
        let last = run == runs;
        let share = if last { 0 } else { chance.of(&[0, 5, 20, 40]) };
        proxy.set(Mood::of(share, PASSING));
        let page = chance.magnitude(5, 500).to_string();
        let mut command = program::read(folder.path(), &proxy.url, to);
        command.args(["--page-records", &page]).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("cannot start the program: {error}"))?;
        let life = (!last && chance.percent(80)).then(|| Duration::from_millis(chance.magnitude(5, 1500)));
        let mut writing = Chance::new(seed ^ run, 12);
        let (ended, reshards) = tokio::join!(end(child, life), write(&emulator, &mut writing, put, last));
        let (status, errors) = ended?;
        put += if last { 0 } else { MESSAGES };
        tally.runs += 1;
        tally.reshards += reshards;
        match status {
            None => tally.kills += 1,
            Some(status) if status.success() => {}
            Some(status) => return Err(format!("run {run} ended with {status}: {errors}")),
        }
        if last {
            // The writer stopped before this run, so it saw the whole stream.
            tally.flaws = program::flaws(&program::messages(folder.path(), to), put);
        } else {
            check(folder.path(), to, run)?;
        }
    }
    tally.messages = u64::from(put);
    tally.faults = proxy.tally().values().sum();
    Ok(tally)
}

/// At any moment, the messages delivered so far must be in order and without duplicates.
fn check(folder: &Path, to: &str, run: u64) -> Result<(), String> {
    let flaws = program::flaws(&program::messages(folder, to), 0);
    if flaws == Flaws::default() { Ok(()) } else { Err(format!("after run {run}: {flaws:?}")) }
}

/// Waits for the program to exit, or kills it at the end of its `life` and returns no status.
async fn end(mut child: Child, life: Option<Duration>) -> Result<(Option<ExitStatus>, String), String> {
    let begun = Instant::now();
    let failed = |error: std::io::Error| format!("cannot wait for the program: {error}");
    while child.try_wait().map_err(failed)?.is_none() {
        if life.is_some_and(|life| begun.elapsed() >= life) {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Ok((None, String::new()));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let output = child.wait_with_output().map_err(failed)?;
    Ok((Some(output.status), program::stderr(&output)))
}

/// Puts messages and occasionally reshards. Returns the number of reshards.
async fn write(emulator: &Emulator, chance: &mut Chance, first: u32, stopped: bool) -> u64 {
    if stopped {
        return 0;
    }
    let mut reshards = 0;
    for part in 0..3 {
        let begin = first + part * (MESSAGES / 3);
        emulator.put(STREAM, begin..begin + MESSAGES / 3).await;
        tokio::time::sleep(Duration::from_millis(chance.within(0, 100))).await;
        if chance.percent(30) {
            let open = emulator.open_shards(STREAM).await;
            let at = chance.within(0, open.len() as u64 - 1) as usize;
            if open.len() < SHARDS_MAX && (at == 0 || chance.percent(60)) {
                emulator.split(STREAM, &open[at]).await;
            } else {
                emulator.merge(STREAM, &open[at.max(1) - 1], &open[at.max(1)]).await;
            }
            reshards += 1;
        }
    }
    reshards
}
