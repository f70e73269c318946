//! Injects faults around the real program: broken connections, killed processes, full disks, wrong clocks, and
//! sabotaged components. In the end, either every message has arrived once, or there is a clear error and nothing is
//! lost.

mod clock;
mod disk;
mod endless;
mod files;
mod growth;
mod inside;
mod network;
mod sabotage;
mod sandbox;
mod signals;
mod stores;
mod streams;
