//! Real faults: sockets that break, processes that are killed, disks without room, clocks that are wrong, and components
//! that go mad. Each ends in every message there once, or in a clear word and nothing lost.

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
