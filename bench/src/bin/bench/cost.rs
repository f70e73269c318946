//! Measures the cost of processes and aggregates measurements.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wait4::Wait4;

/// The cost of one run of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// User and system time.
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// Maximum resident memory in bytes.
    pub(crate) peak: u64,
}

impl Cost {
    /// Runs a command to completion.
    pub(crate) fn of(command: &mut Command) -> Result<Cost, String> {
        let command_line = format!("{command:?}");
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("cannot start: {command_line}: {error}"))?;
        let mut errors = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            let _ = stderr.read_to_string(&mut errors);
        }
        let ended = child.wait4().map_err(|error| format!("cannot wait for: {command_line}: {error}"))?;
        let wall = begun.elapsed();
        if !ended.status.success() {
            return Err(format!("failed: {command_line}: {}\n{errors}", ended.status));
        }
        Ok(Cost { cpu: ended.rusage.utime + ended.rusage.stime, wall, peak: ended.rusage.maxrss })
    }
}

/// The minimum, median and maximum of some measurements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let (half, last) = (values.len() / 2, values.len().saturating_sub(1));
        let median = if values.len() % 2 == 1 { at(half) } else { (at(half.wrapping_sub(1)) + at(half)) / 2.0 };
        Spread { min: at(0), median, max: at(last) }
    }

    /// Formats the spread of a ratio.
    pub(crate) fn ratio(self) -> String {
        format!("**{:.2}** ({:.2} to {:.2})", self.median, self.min, self.max)
    }
}

/// Returns the costs of each contestant, run by run. Contestants run in turn; the first round warms up caches and is
/// not counted.
pub(crate) fn in_turn<T>(
    rounds: usize,
    contestants: &mut [T],
    mut run: impl FnMut(&mut T) -> Result<Cost, String>,
) -> Result<Vec<Vec<Cost>>, String> {
    let mut costs: Vec<Vec<Cost>> = contestants.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (contestant, costs) in contestants.iter_mut().zip(&mut costs) {
            let cost = run(contestant)?;
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    Ok(costs)
}

/// Formats the costs as table cells: messages per CPU-second, wall time, and the chosen statistic of peak memory.
pub(crate) fn cells(costs: &[Cost], messages: usize, peak: fn(Spread) -> f64) -> String {
    let rate = Spread::of(costs.iter().map(|cost| messages as f64 / cost.cpu.as_secs_f64()));
    let wall = Spread::of(costs.iter().map(|cost| cost.wall.as_secs_f64()));
    let peaks = Spread::of(costs.iter().map(|cost| cost.peak as f64));
    let [median, min, max] = [rate.median, rate.min, rate.max].map(count);
    format!("{median} ({min} to {max}) | {:.2} | {:.0}", wall.median, peak(peaks) / f64::from(1 << 20))
}

/// Formats the ratio of two contestants' CPU times, from consecutive runs.
pub(crate) fn ratio(one: &[Cost], other: &[Cost]) -> String {
    Spread::of(one.iter().zip(other).map(|(a, b)| a.cpu.as_secs_f64() / b.cpu.as_secs_f64())).ratio()
}

/// The page server, in a process of its own.
pub(crate) struct PageServer {
    child: Child,
    pub(crate) url: String,
}

impl PageServer {
    /// Starts a server whose shards have this many messages of `size` bytes each.
    pub(crate) fn start(size: usize, messages: usize, shards: usize) -> Result<PageServer, String> {
        PageServer::with_arguments(&[size, messages, shards].map(|number| number.to_string()))
    }

    /// Starts a server with one shard of messages aggregated by their producer.
    pub(crate) fn aggregated(size: usize, messages: usize) -> Result<PageServer, String> {
        PageServer::with_arguments(&[size.to_string(), messages.to_string(), "1".to_owned(), "aggregated".to_owned()])
    }

    fn with_arguments(arguments: &[String]) -> Result<PageServer, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("page_server");
        let mut command = Command::new(program);
        command.args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let mut url = String::new();
        if let Some(stdout) = &mut child.stdout {
            BufReader::new(stdout).read_line(&mut url).map_err(|error| error.to_string())?;
        }
        Ok(PageServer { child, url: url.trim().to_owned() })
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts the lines in a file.
pub(crate) fn lines(path: &Path) -> Result<usize, String> {
    let mut file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut buffer = vec![0; 1 << 20];
    let mut lines = 0;
    loop {
        let read = file.read(&mut buffer).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(lines);
        }
        lines += buffer.iter().take(read).filter(|byte| **byte == b'\n').count();
    }
}

/// Returns the CPU time of this thread or, if the system does not report it, elapsed time.
pub(crate) fn thread_time() -> Duration {
    thread_local!(static BEGUN: Instant = Instant::now());
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let time = text.and_then(|text| text.split(' ').next()?.parse().ok()).map(Duration::from_nanos);
    time.unwrap_or_else(|| BEGUN.with(Instant::elapsed))
}

/// Formats a number with thousands separators.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
