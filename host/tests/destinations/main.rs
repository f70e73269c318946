//! Destinations and states as a driver uses them: what is there after each kind of end, and what
//! is refused.

#![cfg(unix)]

mod bad_records;
mod common;
mod ndjson;
mod places;
mod processes;
mod show;
mod sqlite;
mod view;
