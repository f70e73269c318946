//! Destinations and states as a driver uses them: what they contain after a commit, a failure or a crash, and what they
//! refuse.

#![cfg(unix)]

mod common;
mod invalid_records;
mod ndjson;
mod positions;
mod processes;
mod show;
mod sqlite;
mod view;
