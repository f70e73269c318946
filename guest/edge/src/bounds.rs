//! What the caller asks: bounds on one drain, as the query of its URL.

/// Bounds on one drain. It ends at the first that is reached.
pub(crate) struct Bounds {
    /// Exactly so many messages at most.
    pub(crate) messages: u64,
    /// Bytes of lines. A push ends after the batch with which they are reached, an answer has no more.
    pub(crate) bytes: u64,
    /// Requests to Kinesis.
    pub(crate) requests: u64,
    /// Milliseconds from the call on. To keep the checkpoint comes after.
    pub(crate) time: u64,
    /// The lines that the caller has made safe, by the name they came with.
    pub(crate) ack: Option<String>,
}

/// A bound as the caller names it, its default and the most it may be.
struct Bound {
    name: &'static str,
    default: u64,
    most: u64,
}

const MESSAGES: Bound = Bound { name: "max-messages", default: 10_000, most: 1_000_000 };
const BYTES: Bound = Bound { name: "max-bytes", default: 16 << 20, most: 256 << 20 };
const REQUESTS: Bound = Bound { name: "max-requests", default: 200, most: 10_000 };
const TIME: Bound = Bound { name: "max-ms", default: 20_000, most: 900_000 };

/// The longest query, in bytes: several times what all parameters together take.
const QUERY_MAX: usize = 1024;

impl Bounds {
    /// Reads the query, or says what is wrong with it.
    pub(crate) fn parse(query: &str) -> Result<Bounds, String> {
        let mut given = [None; 4];
        let mut ack = None;
        for (name, value) in parameters(query)? {
            let known =
                [MESSAGES, BYTES, REQUESTS, TIME].into_iter().zip(&mut given).find(|(bound, _)| bound.name == name);
            let twice = match known {
                Some((bound, given)) => given.replace(bound.read(value)?).is_some(),
                None if name == "ack" => ack.replace(value).is_some(),
                None => return Err(format!("no such parameter: {name}")),
            };
            if twice {
                return Err(format!("a parameter that is given twice: {name}"));
            }
        }
        let [messages, bytes, requests, time] = given;
        Ok(Bounds {
            messages: messages.unwrap_or(MESSAGES.default),
            bytes: bytes.unwrap_or(BYTES.default),
            requests: requests.unwrap_or(REQUESTS.default),
            time: time.unwrap_or(TIME.default),
            ack: ack.filter(|ack| !ack.is_empty()).map(str::to_owned),
        })
    }
}

/// Looks that the query is empty, where no parameter is known.
pub(crate) fn none(query: &str) -> Result<(), String> {
    match parameters(query)?.next() {
        None => Ok(()),
        Some((name, _)) => Err(format!("no such parameter: {name}")),
    }
}

/// The names and values in a query. None of ours needs to be escaped, so nothing is unescaped.
fn parameters(query: &str) -> Result<impl Iterator<Item = (&str, &str)>, String> {
    if query.len() > QUERY_MAX {
        return Err(format!("a query of {} bytes, and it may have {QUERY_MAX}", query.len()));
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    Ok(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))))
}

impl Bound {
    fn read(&self, value: &str) -> Result<u64, String> {
        // `parse` would take a sign as well.
        match value.parse() {
            Ok(n) if value.bytes().all(|b| b.is_ascii_digit()) && (1..=self.most).contains(&n) => Ok(n),
            _ => Err(format!("{} is a whole number from 1 to {}: {value}", self.name, self.most)),
        }
    }
}
