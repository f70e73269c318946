//! The bounds on one drain, which the caller sets in the query of the URL.

/// The bounds on one drain. It ends at the first one that it reaches.
pub(crate) struct Bounds {
    /// The number of messages.
    pub(crate) messages: u64,
    /// The bytes of lines. With a sink, the drain ends after the batch that reaches them; an answer never exceeds them.
    pub(crate) bytes: u64,
    /// The number of requests to Kinesis.
    pub(crate) requests: u64,
    /// The milliseconds from the start of the request. Writing the checkpoint comes on top.
    pub(crate) time: u64,
    /// The name of the lines that the caller acknowledges.
    pub(crate) ack: Option<String>,
}

/// A parameter that sets a bound.
struct Bound {
    name: &'static str,
    default: u64,
    max: u64,
}

const MESSAGES: Bound = Bound { name: "max-messages", default: 10_000, max: 1_000_000 };
const BYTES: Bound = Bound { name: "max-bytes", default: 16 << 20, max: 256 << 20 };
const REQUESTS: Bound = Bound { name: "max-requests", default: 200, max: 10_000 };
const TIME: Bound = Bound { name: "max-ms", default: 20_000, max: 900_000 };

/// The longest query, in bytes. It is several times as long as all parameters together.
const QUERY_MAX: usize = 1024;

impl Bounds {
    /// Parses the query.
    pub(crate) fn parse(query: &str) -> Result<Bounds, String> {
        let mut values = [None; 4];
        let mut ack = None;
        for (name, value) in parameters(query)? {
            let bound =
                [MESSAGES, BYTES, REQUESTS, TIME].into_iter().zip(&mut values).find(|(bound, _)| bound.name == name);
            let is_repeated = match bound {
                Some((bound, slot)) => slot.replace(bound.parse(value)?).is_some(),
                None if name == "ack" => ack.replace(value).is_some(),
                None => return Err(format!("unknown parameter: {name}")),
            };
            if is_repeated {
                return Err(format!("repeated parameter: {name}"));
            }
        }
        let [messages, bytes, requests, time] = values;
        Ok(Bounds {
            messages: messages.unwrap_or(MESSAGES.default),
            bytes: bytes.unwrap_or(BYTES.default),
            requests: requests.unwrap_or(REQUESTS.default),
            time: time.unwrap_or(TIME.default),
            ack: ack.filter(|ack| !ack.is_empty()).map(str::to_owned),
        })
    }
}

/// Checks that the query is empty, for paths without parameters.
pub(crate) fn check_empty(query: &str) -> Result<(), String> {
    match parameters(query)?.next() {
        None => Ok(()),
        Some((name, _)) => Err(format!("unknown parameter: {name}")),
    }
}

/// Splits a query into names and values. It unescapes nothing, because none of our parameters needs escaping.
fn parameters(query: &str) -> Result<impl Iterator<Item = (&str, &str)>, String> {
    if query.len() > QUERY_MAX {
        return Err(format!("the query is longer than {QUERY_MAX} bytes: {}", query.len()));
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    Ok(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))))
}

impl Bound {
    fn parse(&self, value: &str) -> Result<u64, String> {
        match value.parse() {
            // Integer parsing would also accept a plus sign.
            Ok(n) if value.bytes().all(|b| b.is_ascii_digit()) && (1..=self.max).contains(&n) => Ok(n),
            _ => Err(format!("{} must be a whole number from 1 to {}: {value}", self.name, self.max)),
        }
    }
}
