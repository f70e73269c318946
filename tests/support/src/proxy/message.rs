//! Just enough HTTP for the proxy, over plain TCP: heads as text, and bodies with a `Content-Length`.

use std::io;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request or an answer.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The first line and the headers, without the empty line after them.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Creates an answer like Kinesis's.
    pub(super) fn answer(status: &str, body: &Value) -> Message {
        Message::of(status, "application/x-amz-json-1.1", body.to_string())
    }

    /// Creates an error like Kinesis's.
    pub(super) fn rejection(status: &str, name: &str, message: &str) -> Message {
        Message::answer(status, &serde_json::json!({"__type": name, "message": message}))
    }

    /// Creates an HTML page, which is not from Kinesis.
    pub(super) fn html(status: &str) -> Message {
        Message::of(status, "text/html", format!("<html><body><h1>{status}</h1></body></html>\n"))
    }

    fn of(status: &str, kind: &str, body: String) -> Message {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nx-amzn-RequestId: of-the-proxy\r\nContent-Length: {}",
            body.len()
        );
        Message { head, body: body.into_bytes() }
    }

    /// Returns the value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Sets a header, replacing those with the same name.
    pub(super) fn set_header(&mut self, name: &str, value: &str) {
        let is_other = |line: &&str| line.split_once(':').is_none_or(|(key, _)| !key.eq_ignore_ascii_case(name));
        let others: Vec<&str> = self.head.lines().filter(is_other).collect();
        self.head = format!("{}\r\n{name}: {value}", others.join("\r\n"));
    }

    /// Returns the operation of a request.
    pub(super) fn operation(&self) -> &str {
        self.header("x-amz-target").and_then(|target| target.rsplit('.').next()).unwrap_or_default()
    }

    /// Whether an answer has status 200.
    pub(super) fn is_ok(&self) -> bool {
        self.head.starts_with("HTTP/1.1 200 ")
    }

    /// Parses the body as JSON. Returns null if it is not JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Encodes head and body.
    pub(super) fn bytes(&self) -> Vec<u8> {
        [self.head.as_bytes(), b"\r\n\r\n", &self.body].concat()
    }

    /// Encodes head and body with another `Content-Length`.
    pub(super) fn bytes_with_length(&self, length: usize) -> Vec<u8> {
        let mut other = self.clone();
        other.set_header("Content-Length", &length.to_string());
        other.bytes()
    }
}

/// One end of a connection.
pub(super) struct Wire {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(super) fn new(socket: TcpStream) -> Wire {
        let _ = socket.set_nodelay(true);
        Wire { socket, buffer: Vec::new() }
    }

    /// Reads the next message, or returns `None` if the connection was closed.
    pub(super) async fn read(&mut self) -> io::Result<Option<Message>> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Resets the connection.
    pub(super) fn reset(self) -> io::Result<()> {
        self.socket.set_zero_linger()
    }

    /// Takes a complete message from the buffer.
    fn take(&mut self) -> io::Result<Option<Message>> {
        let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let head = String::from_utf8(self.buffer[..end].to_vec()).map_err(io::Error::other)?;
        let message = Message { head, body: Vec::new() };
        let length = message.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let whole = end + 4 + length;
        if self.buffer.len() < whole {
            return Ok(None);
        }
        let body = self.buffer[end + 4..whole].to_vec();
        self.buffer.drain(..whole);
        Ok(Some(Message { body, ..message }))
    }
}
