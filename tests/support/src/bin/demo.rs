//! Demonstrates the main use: reads a stream of an embedded Kinesis emulator into SQLite, over a reshard, and then
//! reads only what is new.
//!
//! `cargo xtask demo` builds everything that this needs and runs it.

use std::process::{Command, ExitCode};

use test_support::emulator::{Emulator, REGION};

const STREAM: &str = "orders";

#[tokio::main]
async fn main() -> ExitCode {
    let Some(program) = std::env::var_os("KINESIS_READER_BIN") else {
        eprintln!("error: KINESIS_READER_BIN is not set\nhint: run `cargo xtask demo`");
        return ExitCode::from(2);
    };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let database = folder.path().join("orders.db");
    let emulator = Emulator::ferrokinesis().await;
    let read = || {
        let mut command = Command::new(&program);
        command
            .current_dir(folder.path())
            .args(["read", STREAM, "--endpoint-url", &emulator.url, "--region", REGION, "--pace", "off"])
            .args(["--to", "sqlite:orders.db"])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test");
        command
    };

    say("an embedded Kinesis emulator, a stream of 3 shards, 3,000 messages");
    emulator.create(STREAM, 3).await;
    emulator.put(STREAM, 0..3000).await;
    say("a split and a merge between further messages: 5,000 in all");
    let shards = emulator.open_shards(STREAM).await;
    emulator.split(STREAM, &shards[0]).await;
    emulator.put(STREAM, 3000..4000).await;
    emulator.merge(STREAM, &shards[1], &shards[2]).await;
    emulator.put(STREAM, 4000..5000).await;

    say("kinesis-reader read orders --to sqlite:orders.db");
    if !run(read()) {
        return ExitCode::FAILURE;
    }
    say("500 more messages, and the same command again, which reads only these");
    emulator.put(STREAM, 5000..5500).await;
    if !run(read()) {
        return ExitCode::FAILURE;
    }
    say("kinesis-reader show orders.db");
    let mut show = Command::new(&program);
    show.current_dir(folder.path()).args(["show", "orders.db"]);
    if !run(show) {
        return ExitCode::FAILURE;
    }
    say("two queries");
    let counted = query(
        &database,
        "SELECT item, count(*) AS orders, round(sum(price), 2) AS worth FROM orders_flat GROUP BY item ORDER BY worth DESC",
    )
    .and_then(|()| query(&database, "SELECT count(*) AS messages, count(DISTINCT n) AS different FROM orders_flat"));
    match counted {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn say(what: &str) {
    println!("\n# {what}");
}

fn run(mut command: Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

fn query(database: &std::path::Path, sql: &str) -> rusqlite::Result<()> {
    println!("sqlite> {sql};");
    let db = rusqlite::Connection::open(database)?;
    let mut statement = db.prepare(sql)?;
    println!("  {}", statement.column_names().collect::<Vec<_>>().join(" | "));
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut cells = Vec::new();
        for column in 0..columns {
            cells.push(match row.get_ref(column)? {
                rusqlite::types::ValueRef::Null => "-".to_owned(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                rusqlite::types::ValueRef::Real(number) => number.to_string(),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                rusqlite::types::ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()),
            });
        }
        println!("  {}", cells.join(" | "));
    }
    Ok(())
}
