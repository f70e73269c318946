//! Requests to others, several at a time, each with a deadline of its own.
//!
//! The runtimes' own timeouts are ten minutes, so each request has the time it is given as its options, and is dropped
//! at its deadline whatever the host does, also amid an answer that trickles. Of each answer no more is read than its
//! [`Limit`].

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

/// How much is read of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    /// All of it, which must be at most this many bytes; with an error, [`ERROR_MAX`].
    Whole(usize),
    /// The status is all that counts. Of a success nothing is read, of anything else this many bytes or what there is.
    Excerpt(usize),
}

/// The longest answer that tells of an error, in bytes. Those of AWS have a few hundred.
const ERROR_MAX: usize = 1 << 20;

/// How much is asked of a body at a time.
const PIECE: u64 = 256 << 10;

/// A `POST`. The host is not among the headers: the runtime takes it from the URL.
pub(crate) struct Request<'a> {
    pub(crate) url: &'a Uri,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// By when it must be over, on the monotonic clock.
    pub(crate) deadline: u64,
    pub(crate) limit: Limit,
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
    limit: Limit,
    /// The body of the request did not go out whole. Where it was cut off there may be an answer that says why, and one
    /// that tells of success is of something else than was to be sent.
    cut: bool,
}

enum State {
    Awaiting(FutureIncomingResponse),
    Reading { body: Incoming, response: Response },
    Done,
}

/// What came of reading a piece.
enum Read {
    Over(Result<Response, Failure>),
    /// `waits`: nothing is there yet.
    More {
        body: Incoming,
        response: Response,
        waits: bool,
    },
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
    pub(crate) fn why(&self) -> &str {
        match self {
            Failure::Transient(why) | Failure::Permanent(why) => why,
        }
    }
}

impl Exchange {
    /// Sends a request, and its body piece by piece.
    pub(crate) fn start(request: Request<'_>, pieces: impl Iterator<Item = Vec<u8>>) -> Result<Exchange, Failure> {
        let Request { url, headers, deadline, limit } = request;
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
        let written = match body.write() {
            Ok(stream) => write(&stream, pieces, deadline).is_ok(),
            Err(()) => false,
        };
        // A body that is finished looks whole to who receives it; one that is dropped breaks off.
        let whole = written && OutgoingBody::finish(body, None).is_ok();
        Ok(Exchange { state: State::Awaiting(answer), deadline, limit, cut: !whole })
    }

    /// By when it is over, on the monotonic clock.
    pub(crate) fn deadline(&self) -> u64 {
        self.deadline
    }

    /// Waits for its end.
    #[cfg(feature = "dynamodb")]
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
                        if self.cut && response.is_success() {
                            let why = "the request broke off, and was answered as if it were whole";
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
                    Read::Over(result) => return Some(result),
                    Read::More { body, response, waits } => {
                        self.state = State::Reading { body, response };
                        if waits {
                            return None;
                        }
                    }
                },
                State::Done => return None,
            }
        }
    }

    /// Reads one piece of an answer.
    fn read(&self, body: Incoming, mut response: Response) -> Read {
        // An answer of which an excerpt is enough is good as far as it came.
        let broke_off = |response, why: Failure| match self.limit {
            Limit::Excerpt(_) => Read::Over(Ok(response)),
            Limit::Whole(_) => Read::Over(Err(why)),
        };
        let piece = match body.stream.read(PIECE) {
            Ok(piece) => piece,
            Err(StreamError::Closed) => return Read::Over(Ok(response)),
            Err(StreamError::LastOperationFailed(error)) => {
                let why = format!("the answer broke off: {}", error.to_debug_string());
                return broke_off(response, Failure::Transient(why));
            }
        };
        let most = match self.limit {
            Limit::Whole(most) if response.status == 200 => most,
            Limit::Whole(most) => most.min(ERROR_MAX),
            Limit::Excerpt(most) => most,
        };
        let room = most - response.body.len();
        response.body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            // Another may be shorter: one that is not Kinesis's was perhaps put in its place.
            return broke_off(response, Failure::Transient(format!("the answer is longer than {most} bytes")));
        }
        if clock::now() >= self.deadline {
            return broke_off(response, late());
        }
        Read::More { body, response, waits: piece.is_empty() }
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
