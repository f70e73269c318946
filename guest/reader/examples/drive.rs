//! The smallest host: drives the machine natively and prints each message as a line of JSON.
//!
//! ```sh
//! cargo xtask emulator 4567                                    # in another terminal, or any other emulator
//! cargo run -p kinesis-reader-machine --example drive -- http://127.0.0.1:4567 orders orders.checkpoint
//! ```
//!
//! This shows only the loop: it sends one request at a time, over plain HTTP and without a valid signature, which
//! emulators do not require. A real host sends requests concurrently and signs them.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, io, thread};

use kinesis_reader_machine::wire::Body;
use kinesis_reader_machine::{Action, Config, Failure, Instant, Outcome, Reader, Request, Response, Source, Timestamp};

/// The size of the lines to request at a time, in bytes. The lines of a whole page of small messages may be much
/// larger.
const CHUNK_SIZE: u32 = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, stream, checkpoint_path] = arguments.as_slice() else {
        return Err("usage: drive URL STREAM CHECKPOINT".into());
    };
    let saved = match fs::read_to_string(checkpoint_path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };

    let opened = std::time::Instant::now();
    let now = || Instant(opened.elapsed().as_millis() as u64);
    let present = Timestamp(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64);
    // Any number will do, but with different seeds, readers that fail together do not all retry at the same time.
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
                let mut written = 0;
                while written < batch.count() {
                    let lines = batch.lines(written, CHUNK_SIZE);
                    out.write_all(lines.text.as_bytes())?;
                    written += lines.count;
                }
                // First the messages, then the checkpoint: a crash in between repeats messages, but loses none.
                out.flush()?;
                reader.handle_delivered(batch.id(), now())?;
                save(checkpoint_path, &reader.checkpoint())?;
            }
            Action::Notice(notice) => eprintln!("{notice:?}"),
            Action::Wait(wait) => {
                if let Some(until) = wait.until {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "no request is in flight, so there is only time to wait for"
                    )]
                    thread::sleep(Duration::from_millis(until.0.saturating_sub(now().0)));
                }
                reader.handle_timeout(now());
            }
            Action::Finish(Outcome::Failed(error)) => return Err(format!("{error:?}").into()),
            Action::Finish(_) => return Ok(save(checkpoint_path, &reader.checkpoint())?),
        }
    }
}

/// Writes a temporary file and renames it, so that the file is never half-written.
fn save(path: &str, checkpoint: &str) -> io::Result<()> {
    let temporary = format!("{path}.new");
    fs::write(&temporary, checkpoint)?;
    fs::rename(temporary, path)
}

/// Posts a request and reads the whole answer, which in HTTP/1.0 ends with the connection.
fn post(url: &str, request: &Request) -> Result<Response, Box<dyn Error>> {
    let host = url.strip_prefix("http://").ok_or("the URL must start with http://")?.trim_end_matches('/');
    let Body::Json(body) = &request.body else { return Err("the request is not JSON".into()) };
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
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or("truncated answer")?;
    let head = std::str::from_utf8(&answer[..end])?;
    let status = head.split(' ').nth(1).ok_or("missing status")?.parse()?;
    let body = String::from_utf8(answer.split_off(end + 4))?;
    Ok(Response { status, body: Body::Json(body), aws_request_id: None, date: None, signed: None })
}
