//! What a drain does that its host sees, counted, and the one at which the process is to die.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A step of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The value of the lease is about to be read.
    Read,
    /// A counter was raised.
    Incremented,
    /// A swap is about to be made.
    Swapping,
    /// A swap was made, or failed.
    Swapped,
    /// A request to Kinesis is about to go out.
    KinesisAsked,
    KinesisAnswered,
    /// A batch is about to go out.
    SinkAsked,
    SinkAnswered,
}

/// An event, and the how many-eth of its kind it is, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point(pub Event, pub usize);

/// What happened, and when.
#[derive(Debug, Default)]
pub struct Events {
    passed: Mutex<Vec<(Event, Instant)>>,
    die: Option<Point>,
}

impl Events {
    pub fn new(die: Option<Point>) -> Events {
        Events { passed: Mutex::default(), die }
    }

    /// Notes an event. At the point of death it does not return.
    pub fn pass(&self, event: Event) {
        let mut passed = self.passed.lock().expect("nobody panics with it");
        passed.push((event, Instant::now()));
        let count = passed.iter().filter(|(one, _)| *one == event).count();
        if self.die == Some(Point(event, count)) {
            kill();
        }
    }

    /// How often this happened.
    pub fn count(&self, event: Event) -> usize {
        self.passed.lock().expect("nobody panics with it").iter().filter(|(one, _)| *one == event).count()
    }

    /// How long after this time it first happened.
    pub fn first_after(&self, event: Event, start: Instant) -> Option<Duration> {
        let passed = self.passed.lock().expect("nobody panics with it");
        passed.iter().find(|(one, at)| *one == event && *at >= start).map(|(_, at)| *at - start)
    }
}

/// Ends this process as `kill -9` does, with nothing put in order.
fn kill() -> ! {
    let own = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-KILL", &own]).status();
    std::process::abort()
}
