//! A minimal HTTP server for Kinesis clients: one thread per connection, with keep-alive.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use minicbor::Encoder;
use minicbor::data::IanaTag;

use super::pages::{ITERATOR, Pages, Wire, iterator};

/// The name of the only stream.
pub const STREAM: &str = "orders";

/// A server for one stream of prepared pages.
pub struct Server {
    pages: Pages,
    shards: usize,
}

/// The relevant parts of a request.
struct Request {
    operation: String,
    wire: Wire,
    body: Vec<u8>,
}

impl Server {
    /// Creates a stream with this many shards, all with the same pages.
    pub fn new(pages: Pages, shards: usize) -> Server {
        Server { pages, shards }
    }

    /// Serves all clients, forever.
    pub fn serve(self, listener: &TcpListener) -> io::Result<()> {
        let server = Arc::new(self);
        for socket in listener.incoming() {
            let (server, socket) = (server.clone(), socket?);
            thread::spawn(move || server.converse(socket));
        }
        Ok(())
    }

    /// Serves one client until it disconnects.
    fn converse(&self, mut socket: TcpStream) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let mut from = BufReader::new(socket.try_clone()?);
        let mut number = 0;
        while let Some(request) = read(&mut from)? {
            number += 1;
            let (head, end) = self.parts(&request);
            let kind = match request.wire {
                Wire::Json => "application/x-amz-json-1.1",
                Wire::Cbor => "application/x-amz-cbor-1.1",
            };
            let status = format!(
                "HTTP/1.1 200 OK\r\nx-amzn-RequestId: replay-{number}\r\nDate: Mon, 23 Nov 2026 12:00:00 GMT\r\n\
                 Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                head.len() + end.len()
            );
            write_all(&mut socket, [status.as_bytes(), head, &end])?;
        }
        Ok(())
    }

    /// Returns the complete response to an operation. Without a body, it is for the first page of the first shard.
    pub fn answer(&self, operation: &str, wire: Wire, body: &[u8]) -> Vec<u8> {
        let request = Request { operation: operation.to_owned(), wire, body: body.to_vec() };
        let (head, end) = self.parts(&request);
        [head, &end].concat()
    }

    fn parts(&self, request: &Request) -> (&[u8], Vec<u8>) {
        match (request.operation.as_str(), request.wire) {
            ("GetRecords", wire) => {
                let mut numbers = behind(&request.body, ITERATOR).splitn(3, |byte| *byte == b'-').map(number);
                let (shard, page) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
                (self.pages.head(wire, page).unwrap_or_default(), self.pages.end(wire, shard, page))
            }
            ("GetShardIterator", wire) => {
                let shard = number(behind(&request.body, "shardId-").get(..12).unwrap_or_default());
                let member = ("ShardIterator", iterator(shard, 0));
                (&[], object(wire, &[member]))
            }
            ("ListShards", Wire::Json) => {
                let shards: Vec<String> = (0..self.shards)
                    .map(|shard| {
                        format!(
                            "{{\"ShardId\":\"shardId-{shard:012}\",\"SequenceNumberRange\":{{\"StartingSequenceNumber\":\
                             \"{FIRST}\"}},\"HashKeyRange\":{{\"StartingHashKey\":\"0\",\"EndingHashKey\":\"{}\"}}}}",
                            u128::MAX
                        )
                    })
                    .collect();
                (&[], format!("{{\"Shards\":[{}]}}", shards.join(",")).into_bytes())
            }
            ("ListShards", Wire::Cbor) => {
                let mut bytes = Vec::new();
                let mut encoder = Encoder::new(&mut bytes);
                let _ = encoder.map(1).and_then(|encoder| encoder.str("Shards")?.array(self.shards as u64));
                for shard in 0..self.shards {
                    let _ = encoder.map(2).and_then(|encoder| {
                        encoder.str("ShardId")?.str(&format!("shardId-{shard:012}"))?;
                        encoder.str("SequenceNumberRange")?.map(1)?.str("StartingSequenceNumber")?.str(FIRST)
                    });
                }
                (&[], bytes)
            }
            (_, Wire::Json) => (
                &[],
                format!(
                    "{{\"StreamDescriptionSummary\":{{\"StreamName\":\"{STREAM}\",\"StreamARN\":\"{ARN}\",\
                     \"StreamStatus\":\"ACTIVE\",\"StreamCreationTimestamp\":1763800000.0}}}}"
                )
                .into_bytes(),
            ),
            (_, Wire::Cbor) => {
                let mut bytes = Vec::new();
                let _ = Encoder::new(&mut bytes).map(1).and_then(|encoder| {
                    encoder.str("StreamDescriptionSummary")?.map(4)?;
                    encoder.str("StreamName")?.str(STREAM)?.str("StreamARN")?.str(ARN)?;
                    encoder.str("StreamStatus")?.str("ACTIVE")?;
                    encoder.str("StreamCreationTimestamp")?.tag(IanaTag::Timestamp)?.u64(1_763_800_000_000)
                });
                (&[], bytes)
            }
        }
    }
}

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
const FIRST: &str = "49664908238147816023850000000000000000000000000000000000";

/// Encodes an object whose members are all text.
fn object(wire: Wire, members: &[(&str, String)]) -> Vec<u8> {
    match wire {
        Wire::Json => {
            let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
            format!("{{{}}}", members.join(",")).into_bytes()
        }
        Wire::Cbor => {
            let mut bytes = Vec::new();
            let mut encoder = Encoder::new(&mut bytes);
            let _ = encoder.map(members.len() as u64);
            for (key, value) in members {
                let _ = encoder.str(key).and_then(|encoder| encoder.str(value));
            }
            bytes
        }
    }
}

/// Reads the next request. Returns `None` if the client has disconnected.
fn read(from: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut request = Request { operation: String::new(), wire: Wire::Json, body: Vec::new() };
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "content-type" if value.trim() == "application/x-amz-cbor-1.1" => request.wire = Wire::Cbor,
            "x-amz-target" => value.rsplit('.').next().unwrap_or_default().trim().clone_into(&mut request.operation),
            _ => {}
        }
    }
    request.body.resize(length, 0);
    from.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// Returns what follows the first occurrence of `mark`.
fn behind<'a>(body: &'a [u8], mark: &str) -> &'a [u8] {
    let at = body.windows(mark.len()).position(|window| window == mark.as_bytes());
    at.and_then(|at| body.get(at + mark.len()..)).unwrap_or_default()
}

fn number(digits: &[u8]) -> usize {
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn write_all(socket: &mut TcpStream, parts: [&[u8]; 3]) -> io::Result<()> {
    let mut slices = parts.map(IoSlice::new);
    let mut slices = slices.as_mut_slice();
    while !slices.is_empty() {
        let written = socket.write_vectored(slices)?;
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}
