//! Requests to others, several at a time, each with a deadline of its own.
//!
//! The runtimes' own timeouts are ten minutes, so each request has the time it is given as its options, and is dropped
//! at its deadline whatever the host does.

use http::Uri;
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::clock::{self, NANOS};

/// The greatest body that is taken: a page of Kinesis is up to 10 MiB, and a third more as base64.
const BODY_MAX: usize = 32 << 20;

/// How much is asked of a body at a time.
const PIECE: u64 = 256 << 10;

/// A `POST`. The host is not among the headers: the runtime takes it from the URL.
pub(crate) struct Request<'a> {
    pub(crate) url: &'a Uri,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// By when it must be over, on the monotonic clock.
    pub(crate) deadline: u64,
}

/// What was answered.
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// Why nothing was answered.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Another try may go better.
    Transient(String),
    /// It may not.
    Permanent(String),
}

/// A request on its way.
pub(crate) struct Exchange {
    state: State,
    deadline: u64,
}

enum State {
    Awaiting(FutureIncomingResponse),
    Reading { body: Incoming, response: Response },
    Done,
}

// The child before its parent: in this order they are dropped, and in no other may they be.
struct Incoming {
    stream: InputStream,
    _body: IncomingBody,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

impl Failure {
    pub(crate) fn why(&self) -> &str {
        match self {
            Failure::Transient(why) | Failure::Permanent(why) => why,
        }
    }
}

impl Exchange {
    /// Sends a request, and its body piece by piece.
    pub(crate) fn start(request: Request<'_>, pieces: impl Iterator<Item = Vec<u8>>) -> Result<Exchange, Failure> {
        let Request { url, headers, deadline } = request;
        let fields = Fields::new();
        for (name, value) in headers {
            let refused = |_| Failure::Permanent(format!("the header {name} holds what no header can hold"));
            fields.append(&name, &value).map_err(refused)?;
        }
        let outgoing = OutgoingRequest::new(fields);
        let scheme = if url.scheme_str() == Some("http") { Scheme::Http } else { Scheme::Https };
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let set = outgoing
            .set_method(&Method::Post)
            .and_then(|()| outgoing.set_scheme(Some(&scheme)))
            .and_then(|()| outgoing.set_authority(url.authority().map(|authority| authority.as_str())))
            .and_then(|()| outgoing.set_path_with_query(Some(path)));
        let body = set.and_then(|()| outgoing.body());
        let body = body.map_err(|()| Failure::Permanent("the host takes no such request".to_owned()))?;

        let options = RequestOptions::new();
        let left = deadline.saturating_sub(clock::now()).max(1).saturating_mul(NANOS);
        // A host may not know them; the deadline holds all the same.
        let _ = options.set_connect_timeout(Some(left));
        let _ = options.set_first_byte_timeout(Some(left));
        let _ = options.set_between_bytes_timeout(Some(left));
        let answer = outgoing_handler::handle(outgoing, Some(options)).map_err(failure)?;
        if let Ok(stream) = body.write() {
            // Where it is cut off there may be an answer that says why.
            let _ = write(&stream, pieces, deadline);
        }
        let _ = OutgoingBody::finish(body, None);
        Ok(Exchange { state: State::Awaiting(answer), deadline })
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Result<Response, Failure> {
        loop {
            if let Some(result) = self.advance() {
                return result;
            }
            wait(std::iter::once(&self), self.deadline);
        }
    }

    /// Goes as far as it can without waiting. An answer is given once.
    pub(crate) fn advance(&mut self) -> Option<Result<Response, Failure>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Awaiting(future) => match future.get() {
                    None if clock::now() >= self.deadline => return Some(Err(late())),
                    None => {
                        self.state = State::Awaiting(future);
                        return None;
                    }
                    Some(Err(())) => return Some(Err(late())),
                    Some(Ok(Err(error))) => return Some(Err(failure(error))),
                    Some(Ok(Ok(incoming))) => {
                        let response = Response {
                            status: incoming.status(),
                            headers: incoming.headers().entries(),
                            body: Vec::new(),
                        };
                        let Ok(body) = incoming.consume() else { return Some(Ok(response)) };
                        let Ok(stream) = body.stream() else { return Some(Ok(response)) };
                        self.state = State::Reading { body: Incoming { stream, _body: body }, response };
                    }
                },
                State::Reading { body, mut response } => match body.stream.read(PIECE) {
                    Ok(piece) if piece.is_empty() => {
                        if clock::now() >= self.deadline {
                            return Some(Err(late()));
                        }
                        self.state = State::Reading { body, response };
                        return None;
                    }
                    Ok(piece) if response.body.len() + piece.len() > BODY_MAX => {
                        return Some(Err(Failure::Permanent(format!("the answer is longer than {BODY_MAX} bytes"))));
                    }
                    Ok(piece) => {
                        response.body.extend_from_slice(&piece);
                        self.state = State::Reading { body, response };
                    }
                    Err(StreamError::Closed) => return Some(Ok(response)),
                    Err(StreamError::LastOperationFailed(error)) => {
                        return Some(Err(Failure::Transient(format!(
                            "the answer broke off: {}",
                            error.to_debug_string()
                        ))));
                    }
                },
                State::Done => return None,
            }
        }
    }

    fn subscribe(&self) -> Option<Pollable> {
        match &self.state {
            State::Awaiting(future) => Some(future.subscribe()),
            State::Reading { body, .. } => Some(body.stream.subscribe()),
            State::Done => None,
        }
    }
}

/// Waits until one of these can go on, or until this time.
pub(crate) fn wait<'a>(exchanges: impl Iterator<Item = &'a Exchange> + Clone, until: u64) {
    let until = exchanges.clone().map(|exchange| exchange.deadline).fold(until, u64::min);
    let timer = monotonic_clock::subscribe_instant(until.saturating_mul(NANOS));
    let waiting: Vec<Pollable> = exchanges.filter_map(Exchange::subscribe).collect();
    let all: Vec<&Pollable> = waiting.iter().chain([&timer]).collect();
    poll(&all);
}

fn write(stream: &OutputStream, pieces: impl Iterator<Item = Vec<u8>>, deadline: u64) -> Result<(), StreamError> {
    let timer = monotonic_clock::subscribe_instant(deadline.saturating_mul(NANOS));
    for piece in pieces {
        let mut rest = piece.as_slice();
        while !rest.is_empty() {
            let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
            if room == 0 {
                if clock::now() >= deadline {
                    return Err(StreamError::Closed);
                }
                poll(&[&stream.subscribe(), &timer]);
                continue;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            stream.write(now)?;
            rest = later;
        }
    }
    stream.flush()
}

fn late() -> Failure {
    Failure::Transient("no answer in time".to_owned())
}

fn failure(error: ErrorCode) -> Failure {
    match error {
        ErrorCode::HttpRequestDenied
        | ErrorCode::DestinationIpProhibited
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestMethodInvalid => Failure::Permanent(format!(
            "the host does not let us send there ({error:?}): is it among the allowed outbound hosts?"
        )),
        other => Failure::Transient(format!("{other:?}")),
    }
}
