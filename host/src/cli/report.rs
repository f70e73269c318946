//! Reports to the operator: progress on a terminal, warnings, the summary, and the outcome as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{Error, Exit};
use crate::bindings::wit;
use crate::drive::{Log, Observer, Progress, Summary};
use crate::files::{Draft, Outlet, Rights};
use crate::terminal::{self, clean};
use crate::words::Timestamp;

/// Reports on stderr what happens, and collects what the JSON report needs.
pub struct Console {
    bar: Option<ProgressBar>,
    started: Instant,
    /// Gaps so far.
    gaps: Vec<wit::Gap>,
}

impl Console {
    /// Starts the clock, and shows a progress bar if stderr is a terminal.
    pub fn new(stream: &str) -> Console {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let template = "{spinner} {prefix} [{bar:20}] {pos}/{len} shards  {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_prefix(clean(stream));
            bar
        });
        Console { bar, started: Instant::now(), gaps: Vec::new() }
    }

    /// The exit code for an outcome.
    pub fn exit(&self, outcome: &wit::Outcome) -> Exit {
        match outcome {
            wit::Outcome::Failed(_) => Exit::Failed,
            wit::Outcome::Stopped => Exit::Interrupted,
            wit::Outcome::Reached | wit::Outcome::Exhausted | wit::Outcome::Limited => {
                if self.gaps.is_empty() {
                    Exit::Reached
                } else {
                    Exit::Gap
                }
            }
        }
    }

    /// Prints the summary of a run.
    pub fn sum_up(&self, stream: &str, to: &str, invalid_records: Option<&Path>, summary: &Summary) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let Summary { outcome, totals, written, shards } = summary;
        let why = match outcome {
            wit::Outcome::Reached => "caught up",
            wit::Outcome::Exhausted => "every shard is closed and read to its end",
            wit::Outcome::Limited => "reached --max-messages",
            wit::Outcome::Stopped => "interrupted",
            wit::Outcome::Failed(_) => "failed",
        };
        let gaps = match self.gaps.len() {
            0 => String::new(),
            1 => ", with a gap".to_owned(),
            gaps => format!(", with {gaps} gaps"),
        };
        terminal::say(format_args!(
            "read {} messages ({}) of {stream} from {} {} into {to} in {:.1} s: {why}{gaps}",
            HumanCount(totals.messages),
            HumanBytes(totals.bytes),
            shards.len(),
            if shards.len() == 1 { "shard" } else { "shards" },
            self.started.elapsed().as_secs_f64(),
        ));
        if totals.dropped > 0 {
            self.warn(format_args!(
                "{} messages in aggregated records were skipped because their keys belong to other shards",
                HumanCount(totals.dropped)
            ));
        }
        if written.invalid > 0 {
            let count = HumanCount(written.invalid);
            match invalid_records {
                Some(path) => {
                    self.warn(format_args!("{count} messages did not match --payload: see {}", path.display()))
                }
                None => self
                    .warn(format_args!("{count} messages did not match --payload and were written as text or base64")),
            }
        }
    }

    /// The outcome, as `--report` writes it.
    pub fn outcome(&self, stream: &str, result: &Result<Summary, Error>) -> Value {
        let gaps: Vec<Value> = self.gaps.iter().map(gap_value).collect();
        let duration_ms = self.started.elapsed().as_millis() as u64;
        match result {
            Ok(summary) => {
                let Summary { outcome, totals, written, shards } = summary;
                let mut states = BTreeMap::<String, u32>::new();
                for shard in shards {
                    *states.entry(shard.state.to_string()).or_default() += 1;
                }
                json!({
                    "stream": stream,
                    "outcome": match outcome {
                        wit::Outcome::Reached => "reached",
                        wit::Outcome::Exhausted => "exhausted",
                        wit::Outcome::Limited => "limited",
                        wit::Outcome::Stopped => "stopped",
                        wit::Outcome::Failed(_) => "failed",
                    },
                    "error": match outcome {
                        wit::Outcome::Failed(error) => Some(error.to_string()),
                        wit::Outcome::Reached
                        | wit::Outcome::Exhausted
                        | wit::Outcome::Limited
                        | wit::Outcome::Stopped => None,
                    },
                    "messages": totals.messages,
                    "new": written.new,
                    "bytes": totals.bytes,
                    "dropped": totals.dropped,
                    "invalid": written.invalid,
                    "requests": totals.requests,
                    "throttled": totals.throttled,
                    "retried": totals.retried,
                    "pages": totals.pages,
                    "empty_pages": totals.empty_pages,
                    "gaps": gaps,
                    "shards": {"known": shards.len(), "states": states},
                    "duration_ms": duration_ms,
                })
            }
            Err(error) => json!({
                "stream": stream,
                "outcome": "failed",
                "error": error.to_string(),
                "gaps": gaps,
                "duration_ms": duration_ms,
            }),
        }
    }

    /// Prints a warning.
    pub fn warn(&self, words: fmt::Arguments<'_>) {
        self.say(format_args!("warning: {words}"));
    }

    fn say(&self, words: fmt::Arguments<'_>) {
        match &self.bar {
            Some(bar) => bar.suspend(|| terminal::say(words)),
            None => terminal::say(words),
        }
    }
}

fn gap_value(gap: &wit::Gap) -> Value {
    let mut value = json!({"shard": clean(&gap.shard), "after": gap.after.as_ref().map(clean)});
    if let Some(ahead) = gap.ahead {
        value["ahead"] = Timestamp(ahead).to_string().into();
    }
    value
}

/// Checks that the report can be written to `path`, without writing anything.
pub fn check(path: &Path) -> Result<(), Error> {
    outlet(path).map(drop).map_err(|error| Error::Report { path: path.to_owned(), error })
}

/// Writes the outcome to a file, replacing an earlier report.
pub fn write(path: &Path, outcome: &Value) -> Result<(), Error> {
    let text = format!("{outcome:#}\n");
    let written = outlet(path).and_then(|outlet| match outlet {
        Outlet::Stream(mut file) => file.write_all(text.as_bytes()),
        Outlet::File { path, old } => {
            let mut draft = Draft::of_shared(&path, old.as_ref().map_or(Rights::Usual, Rights::Of))?;
            draft.write(text.as_bytes())?;
            draft.persist().map(drop)
        }
    });
    written.map_err(|error| Error::Report { path: path.to_owned(), error })
}

/// What distinguishes a report from other files.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "stream")]
    _stream: String,
    #[serde(rename = "outcome")]
    _outcome: String,
}

/// The largest file that can be a report. A report is about a page of text, plus its gaps.
const LENGTH_MAX: u64 = 64 << 20;

fn outlet(path: &Path) -> io::Result<Outlet> {
    Outlet::examine(path, LENGTH_MAX, |text| serde_json::from_slice::<Head>(text).is_ok())
}

impl Observer for Console {
    fn notice(&mut self, notice: &wit::Notice) {
        match notice {
            wit::Notice::Gap(gap) => {
                self.warn(format_args!("{gap}"));
                self.gaps.push(gap.clone());
            }
            wit::Notice::Retry(_) | wit::Notice::Shard(_) => Log.notice(notice),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let Some(bar) = &self.bar else { return };
        let is_done =
            |shard: &&wit::ShardStatus| matches!(shard.state, wit::ShardState::CaughtUp | wit::ShardState::Drained);
        bar.set_length(progress.shards.len() as u64);
        bar.set_position(progress.shards.iter().filter(is_done).count() as u64);
        let messages = progress.written.messages;
        let rate = messages as f64 / self.started.elapsed().as_secs_f64().max(0.001);
        let behind = progress.shards.iter().filter_map(|shard| shard.behind).max();
        let lag = match behind {
            Some(0) | None => String::new(),
            Some(behind) => format!("  {} behind", HumanDuration(Duration::from_millis(behind))),
        };
        bar.set_message(format!("{} messages  {}/s{lag}", HumanCount(messages), HumanCount(rate as u64)));
    }

    fn wants_progress(&self) -> bool {
        self.bar.is_some()
    }
}
