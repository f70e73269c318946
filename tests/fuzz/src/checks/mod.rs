//! Checks that must hold for any bytes from outside, in one file per kind of input.
//!
//! Each file has `check`, which panics if the check fails, and `seeds`, which returns initial inputs from the golden
//! data. They are used by the fuzz targets and by `tests/fuzz.rs`, which checks the seeds and earlier findings.

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

/// The fuzzer's bytes, from which choices are made. After their end, all bytes are 0.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    /// Whether all bytes are used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the next byte.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Returns a number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.byte()) % bound
    }

    /// Returns any number. Small numbers take few bytes.
    pub fn number(&mut self) -> u64 {
        let width = usize::from(self.byte() % 9);
        self.take(width).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Returns one of these items.
    pub fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.byte() as usize % of.len()]
    }

    /// Returns a number or `None`.
    pub fn optional_number(&mut self) -> Option<u64> {
        if self.byte() & 1 == 1 { Some(self.number()) } else { None }
    }

    /// Returns up to 255 bytes, with a length that is given by a byte.
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

/// Returns every answer that was recorded from an emulator.
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

/// Returns every payload in the golden data from dlt.
pub fn payloads() -> Vec<Vec<u8>> {
    let lines = include_str!("../../../golden/dlt_messages.ndjson").lines();
    let payload = |line: &str| {
        let case: Value = serde_json::from_str(line).ok()?;
        BASE64_STANDARD.decode(case["data_base64"].as_str()?).ok()
    };
    lines.filter_map(payload).collect()
}
