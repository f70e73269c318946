//! Reads a stream of one shard into SQLite, compared to a bare loop that inserts the same rows.
//!
//! The loop has all rows in memory before it starts and is charged for inserts and commits only. It uses the same
//! table, transaction size and durability.

use std::process::{Command, ExitCode};

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::Setting;
use super::cost::{Cost, PageServer, Spread, count, thread_time};
use super::lines::program;

/// Messages per run by size.
const MESSAGES: [(usize, usize); 2] = [(500, 200_000), (2000, 100_000)];

/// Bytes of payload per transaction, as in the program.
const TRANSACTION: usize = 32 << 20;

pub(crate) fn bench(setting: &Setting) -> Result<(), String> {
    println!("#### Into SQLite\n");
    println!(
        "| payload, bytes | program, rows per CPU-second | bare inserts, rows per CPU-second | program / inserts |"
    );
    println!("|---|---|---|---|");
    for (size, messages) in MESSAGES {
        let server = PageServer::start(size, messages, 1)?;
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..setting.rounds {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let [from, to] = ["ours.db", "bare.db"].map(|name| folder.path().join(name));
            let mut command = program(setting, folder.path(), &server.url);
            command.arg("--to").arg(format!("sqlite:{}", from.display()));
            ours.push(messages as f64 / Cost::of(&mut command)?.cpu.as_secs_f64());
            let itself = std::env::current_exe().map_err(|error| error.to_string())?;
            let output = Command::new(itself).arg("--insert").args([&from, &to]).output().map_err(|e| e.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout);
            let seconds: f64 = text.trim().parse().map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
            bare.push(messages as f64 / seconds);
        }
        let ratio = Spread::of(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare));
        let [ours, bare] = [ours, bare].map(|rates| count(Spread::of(rates.into_iter()).median));
        println!("| {size} | {ours} | {bare} | {} |", ratio.ratio());
    }
    println!();
    Ok(())
}

/// Copies the rows of one database to another and prints the CPU time of the inserts in seconds.
pub(crate) fn insert(from: &str, to: &str) -> ExitCode {
    match copy(from, to) {
        Ok(seconds) => {
            println!("{seconds}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn copy(from: &str, to: &str) -> rusqlite::Result<f64> {
    let db = Connection::open(from)?;
    let table: String = db.query_row(
        "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1",
        [bench::page_server::STREAM],
        |row| row.get(0),
    )?;
    let mut select = db.prepare(&format!("SELECT * FROM {} ORDER BY rowid", bench::page_server::STREAM))?;
    let columns = select.column_count();
    let rows: Vec<Vec<Value>> = select
        .query_map([], |row| (0..columns).map(|column| row.get(column)).collect())?
        .collect::<rusqlite::Result<_>>()?;

    let db = Connection::open(to)?;
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.execute_batch(&table)?;
    let begun = thread_time();
    let placeholders = vec!["?"; columns].join(", ");
    let mut insert = db.prepare(&format!("INSERT INTO {} VALUES ({placeholders})", bench::page_server::STREAM))?;
    let mut bytes = 0;
    db.execute_batch("BEGIN")?;
    for row in &rows {
        insert.execute(params_from_iter(row))?;
        bytes += match row.last() {
            Some(Value::Text(text)) => text.len(),
            Some(Value::Blob(bytes)) => bytes.len(),
            Some(Value::Null | Value::Integer(_) | Value::Real(_)) | None => 0,
        };
        if bytes >= TRANSACTION {
            db.execute_batch("COMMIT; BEGIN")?;
            bytes = 0;
        }
    }
    db.execute_batch("COMMIT")?;
    Ok((thread_time() - begun).as_secs_f64())
}
