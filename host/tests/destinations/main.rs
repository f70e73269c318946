//! Destinations and states as a driver uses them: what is there after each kind of end, and what
//! is refused.

#![cfg(unix)]

mod common;
mod invalid_records;
mod ndjson;
mod positions;
mod processes;
mod show;
mod sqlite;
mod view;
