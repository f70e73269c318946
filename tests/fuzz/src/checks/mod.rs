//! What must hold for any bytes from outside, one file for each kind of them.
//!
//! Each has `check`, which panics if it does not hold, and `seeds`: inputs to begin with, from the recorded data. They
//! are used twice: by the fuzz targets, and by `tests/fuzz.rs`, which checks the seeds and what was found before.

pub mod answers;
pub mod checkpoint;
pub mod config;
pub mod driver;
pub mod envelope;
pub mod kpl;
pub mod page;
pub mod parts;
pub mod service;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kinesis_reader_machine::wire::Body;
use serde_json::Value;

/// Bytes that choices are made of. Where they end, each further one is 0.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// Whether all were taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.byte()) % bound
    }

    /// Any number; small ones take few bytes.
    pub fn number(&mut self) -> u64 {
        let width = usize::from(self.byte() % 9);
        self.take(width).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// One of these.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.byte() as usize % of.len()]
    }

    /// A number, or none.
    pub fn perhaps(&mut self) -> Option<u64> {
        if self.byte() & 1 == 1 { Some(self.number()) } else { None }
    }

    /// The next bytes, as many as a byte says.
    pub fn some(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// Every answer that was recorded from an emulator.
pub fn recorded() -> Vec<Body> {
    let files = [
        include_str!("../../../golden/exchanges/errors_kinesis_local.json"),
        include_str!("../../../golden/exchanges/reshard_kinesis_local.json"),
        include_str!("../../../golden/exchanges/reshard_moto.json"),
        include_str!("../../../golden/exchanges/wire_kinesis_local_cbor.json"),
        include_str!("../../../golden/exchanges/wire_kinesis_local_json.json"),
        include_str!("../../../golden/exchanges/wire_moto_json.json"),
    ];
    let exchanges = files.iter().flat_map(|file| serde_json::from_str::<Vec<Value>>(file).expect("valid JSON"));
    let body = |exchange: Value| {
        let response = &exchange["response"];
        match (response["body"].as_str(), response["body_base64"].as_str()) {
            (Some(text), _) => Some(Body::Json(text.to_owned())),
            (None, Some(text)) => Some(Body::Cbor(BASE64_STANDARD.decode(text).expect("base64"))),
            (None, None) => None,
        }
    };
    exchanges.filter_map(body).collect()
}

/// Every payload of which it was recorded what another reader makes of it.
pub fn payloads() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../golden/dlt_messages.ndjson").lines();
    let payload = |line: &str| {
        let case: Value = serde_json::from_str(line).ok()?;
        BASE64_STANDARD.decode(case["data_base64"].as_str()?).ok()
    };
    lines.filter_map(payload).collect()
}
