//! The smallest host: drives the machine natively and prints each message as a line of JSON.
//!
//! ```sh
//! cargo xtask emulator 4567                                    # in another terminal, or any other emulator
//! cargo run -p kinesis-reader-machine --example drive -- http://127.0.0.1:4567 orders orders.checkpoint
//! ```
//!
//! It shows the loop and nothing else: one request at a time, over plain HTTP and without a signature, which emulators
//! do not ask for. A real host sends what is out side by side, and signs it.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, io, thread};

use kinesis_reader_machine::wire::Body;
use kinesis_reader_machine::{Action, Config, Failure, Instant, Outcome, Reader, Request, Response, Source, Timestamp};

/// Lines to ask for at a time, in bytes: a page of small messages may be many times as long.
const PIECE: u32 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, stream, kept] = arguments.as_slice() else {
        return Err("usage: drive URL STREAM CHECKPOINT".into());
    };
    let saved = match fs::read_to_string(kept) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };

    let begun = std::time::Instant::now();
    let now = || Instant(begun.elapsed().as_millis() as u64);
    let present = Timestamp(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64);
    // Any number will do: readers that are throttled together come back apart if it differs.
    let seed = present.0;
    let mut reader = Reader::open(Config::new(Source::Name(stream.clone())), saved.as_deref(), seed, now(), present)?;
    let mut out = io::stdout().lock();
    loop {
        match reader.poll_action() {
            Action::Send(request) => match post(url, &request) {
                Ok(response) => reader.handle_response(request.id, response, now())?,
                Err(error) => reader.handle_failure(request.id, Failure::Transient(error.to_string()), now())?,
            },
            Action::Deliver(batch) => {
                let mut told = 0;
                while told < batch.count() {
                    let lines = batch.lines(told, PIECE);
                    out.write_all(lines.text.as_bytes())?;
                    told += lines.count;
                }
                // The messages are safe first, then the checkpoint, then the next page: a crash may repeat messages, and
                // loses none.
                out.flush()?;
                reader.handle_delivered(batch.id(), now())?;
                keep(kept, &reader.checkpoint())?;
            }
            Action::Notice(notice) => eprintln!("{notice:?}"),
            Action::Wait(wait) => {
                if let Some(until) = wait.until {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "with nothing out, time is all there is to wait for"
                    )]
                    thread::sleep(Duration::from_millis(until.0.saturating_sub(now().0)));
                }
                reader.handle_timeout(now());
            }
            Action::Finish(Outcome::Failed(error)) => return Err(format!("{error:?}").into()),
            Action::Finish(_) => return Ok(keep(kept, &reader.checkpoint())?),
        }
    }
}

/// Beside and renamed, so that it is whole whatever happens.
fn keep(path: &str, checkpoint: &str) -> io::Result<()> {
    let beside = format!("{path}.new");
    fs::write(&beside, checkpoint)?;
    fs::rename(beside, path)
}

/// Posts a request, and takes the answer whole: with HTTP/1.0 it ends with the connection.
fn post(url: &str, request: &Request) -> Result<Response, Box<dyn Error>> {
    let host = url.strip_prefix("http://").ok_or("only http:// here")?.trim_end_matches('/');
    let Body::Json(body) = &request.body else { return Err("only JSON was asked for".into()) };
    let mut socket = TcpStream::connect(host)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        socket,
        "POST / HTTP/1.0\r\nHost: {host}\r\nX-Amz-Target: {}\r\nContent-Type: application/x-amz-json-1.1\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=none/20260101/us-east-1/kinesis/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature=none\r\nX-Amz-Date: 20260101T000000Z\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        request.operation.target(),
        body.len(),
    )?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("half an answer")?;
    let head = std::str::from_utf8(&answer[..end])?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    let body = String::from_utf8(answer.split_off(end + 4))?;
    Ok(Response { status, body: Body::Json(body), aws_request_id: None, date: None, signed: None })
}
