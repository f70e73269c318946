//! What the caller asks: bounds on one drain, as the query of its URL.

/// Bounds on one drain. It ends at the first that is reached.
pub(crate) struct Bounds {
    /// Exactly so many messages at most.
    pub(crate) messages: u64,
    /// Ends after the batch with which so many bytes are reached.
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

impl Bounds {
    /// Reads the query. What is wrong is told in words.
    pub(crate) fn parse(query: &str) -> Result<Bounds, String> {
        let mut bounds = Bounds {
            messages: MESSAGES.default,
            bytes: BYTES.default,
            requests: REQUESTS.default,
            time: TIME.default,
            ack: None,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "max-messages" => bounds.messages = MESSAGES.read(value)?,
                "max-bytes" => bounds.bytes = BYTES.read(value)?,
                "max-requests" => bounds.requests = REQUESTS.read(value)?,
                "max-ms" => bounds.time = TIME.read(value)?,
                "ack" => bounds.ack = Some(value.to_owned()).filter(|ack| !ack.is_empty()),
                other => return Err(format!("no such parameter: {other}")),
            }
        }
        Ok(bounds)
    }
}

impl Bound {
    fn read(&self, value: &str) -> Result<u64, String> {
        match value.parse() {
            Ok(n) if (1..=self.most).contains(&n) => Ok(n),
            _ => Err(format!("{} is a whole number from 1 to {}: {value}", self.name, self.most)),
        }
    }
}
