//! Records the steps of a drain that its host can see, and kills the process at one of them.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A step of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The value is about to be read.
    Read,
    /// A counter was incremented.
    Incremented,
    /// A swap is about to be made.
    Swapping,
    /// A swap succeeded or failed.
    Swapped,
    /// A request to Kinesis is about to be sent.
    KinesisAsked,
    KinesisAnswered,
    /// A batch is about to be sent.
    SinkAsked,
    SinkAnswered,
}

/// The n-th event of a kind, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point(pub Event, pub usize);

/// The events so far, and when they happened.
#[derive(Debug, Default)]
pub struct Events {
    recorded: Mutex<Vec<(Event, Instant)>>,
    die_at: Option<Point>,
}

impl Events {
    pub fn new(die_at: Option<Point>) -> Events {
        Events { recorded: Mutex::default(), die_at }
    }

    /// Records an event. If it is the one to die at, this kills the process.
    pub fn record(&self, event: Event) {
        let mut recorded = self.recorded.lock().expect("no panic while locked");
        recorded.push((event, Instant::now()));
        let count = recorded.iter().filter(|(other, _)| *other == event).count();
        if self.die_at == Some(Point(event, count)) {
            kill();
        }
    }

    /// Returns how often an event happened.
    pub fn count(&self, event: Event) -> usize {
        self.recorded.lock().expect("no panic while locked").iter().filter(|(other, _)| *other == event).count()
    }

    /// Returns how long after `start` an event first happened.
    pub fn first_after(&self, event: Event, start: Instant) -> Option<Duration> {
        let recorded = self.recorded.lock().expect("no panic while locked");
        recorded.iter().find(|(other, at)| *other == event && *at >= start).map(|(_, at)| *at - start)
    }
}

/// Kills this process as `kill -9` does, without any cleanup.
fn kill() -> ! {
    let own = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-KILL", &own]).status();
    std::process::abort()
}
