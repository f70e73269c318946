//! Sends HTTP requests, several at a time, each with its own deadline and a limit on its answer.
//!
//! The timeouts of the runtimes are ten minutes. So each request sets its own in its options, and is dropped at its
//! deadline whatever the host does, even in the middle of a slow answer.

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

/// How much of an answer is read.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// All of it. A longer answer is a failure. Errors are also limited to [`ERROR_MAX`].
    Whole(usize),
    /// Only the status matters. The body of a success is not read, and of other bodies at most this many bytes are.
    Excerpt(usize),
}

/// The longest body of an error, in bytes. Those of AWS have a few hundred.
const ERROR_MAX: usize = 1 << 20;

/// How many bytes of a body are read at a time.
const PIECE: u64 = 256 << 10;

/// A `POST`. Its headers leave out the host, which the runtime takes from the URL.
pub(crate) struct Request<'a> {
    pub(crate) url: &'a Uri,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// On the monotonic clock.
    pub(crate) deadline: u64,
    pub(crate) limit: Limit,
}

pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A retry may succeed.
    Transient(String),
    /// A retry will not succeed.
    Permanent(String),
}

/// A request and its answer, in progress.
pub(crate) struct Exchange {
    state: State,
    deadline: u64,
    limit: Limit,
    /// The body of the request was cut off. An error in the answer may say why, but a success must not be believed.
    cut_off: bool,
}

enum State {
    Awaiting(FutureIncomingResponse),
    Reading { body: Incoming, response: Response },
    Done,
}

/// The result of reading a piece.
enum Read {
    Done(Result<Response, Failure>),
    More {
        body: Incoming,
        response: Response,
        /// No data has arrived yet.
        pending: bool,
    },
}

// The fields are dropped in this order, and the stream must be dropped before the body that it belongs to.
struct Incoming {
    stream: InputStream,
    _body: IncomingBody,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The `Date` header, in milliseconds since the Unix epoch.
    pub(crate) fn date(&self) -> Option<u64> {
        let date = httpdate::parse_http_date(self.header("date")?).ok()?;
        u64::try_from(date.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Failure {
    pub(crate) fn message(&self) -> &str {
        match self {
            Failure::Transient(why) | Failure::Permanent(why) => why,
        }
    }
}

impl Exchange {
    /// Sends a request with its body in pieces.
    pub(crate) fn start(request: Request<'_>, pieces: impl Iterator<Item = Vec<u8>>) -> Result<Exchange, Failure> {
        let Request { url, headers, deadline, limit } = request;
        let fields = Fields::new();
        for (name, value) in headers {
            let refused = |_| Failure::Permanent(format!("the host does not accept the header: {name}"));
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
        let body = body.map_err(|()| Failure::Permanent("the host does not accept the request".to_owned()))?;

        let options = RequestOptions::new();
        let timeout = deadline.saturating_sub(clock::now()).max(1).saturating_mul(NANOS);
        // A host may not support these. We check the deadline ourselves too.
        let _ = options.set_connect_timeout(Some(timeout));
        let _ = options.set_first_byte_timeout(Some(timeout));
        let _ = options.set_between_bytes_timeout(Some(timeout));
        let answer = outgoing_handler::handle(outgoing, Some(options)).map_err(to_failure)?;
        let written = match body.write() {
            Ok(stream) => write(&stream, pieces, deadline).is_ok(),
            Err(()) => false,
        };
        // A finished body looks complete to its receiver; a dropped one is cut off.
        let complete = written && OutgoingBody::finish(body, None).is_ok();
        Ok(Exchange { state: State::Awaiting(answer), deadline, limit, cut_off: !complete })
    }

    /// The deadline of the request, on the monotonic clock.
    pub(crate) fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Waits for the answer.
    #[cfg(feature = "dynamodb")]
    pub(crate) fn wait(mut self) -> Result<Response, Failure> {
        loop {
            if let Some(result) = self.advance() {
                return result;
            }
            wait(std::iter::once(&self), self.deadline);
        }
    }

    /// Advances as far as possible without waiting. Returns the result once.
    pub(crate) fn advance(&mut self) -> Option<Result<Response, Failure>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Awaiting(future) => match future.get() {
                    None if clock::now() >= self.deadline => return Some(Err(timed_out())),
                    None => {
                        self.state = State::Awaiting(future);
                        return None;
                    }
                    Some(Err(())) => return Some(Err(timed_out())),
                    Some(Ok(Err(error))) => return Some(Err(to_failure(error))),
                    Some(Ok(Ok(incoming))) => {
                        let response = Response {
                            status: incoming.status(),
                            headers: incoming.headers().entries(),
                            body: Vec::new(),
                        };
                        if self.cut_off && response.is_success() {
                            let why = "the request was cut off but answered as if it were complete";
                            return Some(Err(Failure::Transient(why.to_owned())));
                        }
                        if matches!(self.limit, Limit::Excerpt(_)) && response.is_success() {
                            return Some(Ok(response));
                        }
                        let Ok(body) = incoming.consume() else { return Some(Ok(response)) };
                        let Ok(stream) = body.stream() else { return Some(Ok(response)) };
                        self.state = State::Reading { body: Incoming { stream, _body: body }, response };
                    }
                },
                State::Reading { body, response } => match self.read(body, response) {
                    Read::Done(result) => return Some(result),
                    Read::More { body, response, pending } => {
                        self.state = State::Reading { body, response };
                        if pending {
                            return None;
                        }
                    }
                },
                State::Done => return None,
            }
        }
    }

    /// Reads one piece of the answer.
    fn read(&self, body: Incoming, mut response: Response) -> Read {
        // If an excerpt is enough, what has arrived so far will do.
        let incomplete = |response, failure: Failure| match self.limit {
            Limit::Excerpt(_) => Read::Done(Ok(response)),
            Limit::Whole(_) => Read::Done(Err(failure)),
        };
        let piece = match body.stream.read(PIECE) {
            Ok(piece) => piece,
            Err(StreamError::Closed) => return Read::Done(Ok(response)),
            Err(StreamError::LastOperationFailed(error)) => {
                let why = format!("the answer was cut off: {}", error.to_debug_string());
                return incomplete(response, Failure::Transient(why));
            }
        };
        let max = match self.limit {
            Limit::Whole(max) if response.status == 200 => max,
            Limit::Whole(max) => max.min(ERROR_MAX),
            Limit::Excerpt(max) => max,
        };
        let room = max - response.body.len();
        response.body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            // The answer may have come from something other than Kinesis, so a retry may get a shorter one.
            return incomplete(response, Failure::Transient(format!("the answer is longer than {max} bytes")));
        }
        if clock::now() >= self.deadline {
            return incomplete(response, timed_out());
        }
        Read::More { body, response, pending: piece.is_empty() }
    }

    fn subscribe(&self) -> Option<Pollable> {
        match &self.state {
            State::Awaiting(future) => Some(future.subscribe()),
            State::Reading { body, .. } => Some(body.stream.subscribe()),
            State::Done => None,
        }
    }
}

/// Waits until one of these exchanges can advance, or until this time.
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
            let (next, later) = rest.split_at(room.min(rest.len()));
            stream.write(next)?;
            rest = later;
        }
    }
    stream.flush()
}

fn timed_out() -> Failure {
    Failure::Transient("no answer in time".to_owned())
}

fn to_failure(error: ErrorCode) -> Failure {
    match error {
        ErrorCode::HttpRequestDenied
        | ErrorCode::DestinationIpProhibited
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestMethodInvalid => Failure::Permanent(format!(
            "the host does not allow requests to this address: {error:?} (hint: check its allowed outbound hosts)"
        )),
        other => Failure::Transient(format!("{other:?}")),
    }
}

/// Whether we can send requests to this URL. It must not contain a user name or password: no host sends them, and some
/// show them.
pub(crate) fn is_http(url: &http::Uri) -> bool {
    matches!(url.scheme_str(), Some("http" | "https"))
        && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
}
