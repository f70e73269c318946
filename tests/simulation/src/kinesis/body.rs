//! Reads and writes bodies as the service does, in JSON or CBOR.
//!
//! Members are written one by one, so that each value has exactly the form that a service gives it. The code shares
//! nothing with the reader, so that a bug there is not repeated here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinesis_reader_machine::wire::Body;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Value};

use super::quirks::TimeFormat;

/// Writes an answer.
pub(super) struct Writer {
    out: Vec<u8>,
    cbor: bool,
    /// Whether the next member or element needs a comma before it.
    more: bool,
    times: TimeFormat,
    explicit_nulls: bool,
}

impl Writer {
    pub(super) fn new(cbor: bool, times: TimeFormat, explicit_nulls: bool) -> Writer {
        Writer { out: Vec::with_capacity(256), cbor, more: false, times, explicit_nulls }
    }

    pub(super) fn finish(self) -> Body {
        match self.cbor {
            true => Body::Cbor(self.out),
            false => Body::Json(String::from_utf8(self.out).expect("JSON is UTF-8")),
        }
    }

    /// Writes an object, whose members `write` adds.
    pub(super) fn object(&mut self, write: impl FnOnce(&mut Writer)) {
        self.nest(b'{', 0xbf, b'}', write);
    }

    /// Writes a member that is an array, with an element for each item.
    pub(super) fn array<T>(&mut self, name: &str, items: &[T], write: impl Fn(&mut Writer, &T)) {
        self.name(name);
        self.nest(b'[', 0x9f, b']', |writer| {
            for item in items {
                writer.separate();
                write(writer, item);
                writer.more = true;
            }
        });
        self.more = true;
    }

    /// Writes a member that is an object.
    pub(super) fn member(&mut self, name: &str, write: impl FnOnce(&mut Writer)) {
        self.name(name);
        self.object(write);
        self.more = true;
    }

    /// Writes a member that is text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.string(text);
    }

    /// Writes a member that is text. If there is none, leaves the member out or writes null.
    pub(super) fn optional_text(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None if self.explicit_nulls => {
                self.name(name);
                self.put(b"null", |cbor| cbor.null().map(drop));
            }
            None => {}
        }
    }

    /// Writes a member that is an integer.
    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        self.put(number.to_string().as_bytes(), |cbor| cbor.u64(number).map(drop));
    }

    /// Writes a member that is a time: in JSON, seconds since the epoch; in CBOR, milliseconds with tag 1.
    pub(super) fn time(&mut self, name: &str, ms: u64) {
        self.name(name);
        let text = match self.times {
            TimeFormat::Plain => format!("{}.{:03}", ms / 1000, ms % 1000),
            TimeFormat::Scientific => format!("{:E}", ms as f64 / 1000.0),
            // What comes out if the seconds pass through a 64-bit float.
            TimeFormat::Fine if ms.is_multiple_of(2) => format!("{}.{:03}0002", ms / 1000, ms % 1000),
            TimeFormat::Fine => format!("{}.{:03}9998", (ms - 1) / 1000, (ms - 1) % 1000),
        };
        self.put(text.as_bytes(), |cbor| cbor.tag(minicbor::data::IanaTag::Timestamp)?.u64(ms).map(drop));
    }

    /// Writes a member that is binary data: in JSON, as base64.
    pub(super) fn data(&mut self, name: &str, data: &[u8]) {
        self.name(name);
        if self.cbor {
            return self.put(&[], |cbor| cbor.bytes(data).map(drop));
        }
        self.out.push(b'"');
        let begin = self.out.len();
        self.out.resize(begin + data.len().div_ceil(3) * 4, 0);
        let written = STANDARD.encode_slice(data, &mut self.out[begin..]).expect("the slice is large enough");
        self.out.truncate(begin + written);
        self.out.push(b'"');
    }

    /// Writes an element that is text.
    pub(super) fn string(&mut self, text: &str) {
        if self.cbor {
            return self.put(&[], |cbor| cbor.str(text).map(drop));
        }
        if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.out.push(b'"');
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(b'"');
        } else {
            self.out.extend_from_slice(Value::from(text).to_string().as_bytes());
        }
    }

    fn nest(&mut self, open: u8, open_cbor: u8, close: u8, write: impl FnOnce(&mut Writer)) {
        self.out.push(if self.cbor { open_cbor } else { open });
        self.more = false;
        write(self);
        self.out.push(if self.cbor { 0xff } else { close });
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.string(name);
        if !self.cbor {
            self.out.push(b':');
        }
        self.more = true;
    }

    fn separate(&mut self) {
        if self.more && !self.cbor {
            self.out.push(b',');
        }
    }

    fn put(
        &mut self,
        json: &[u8],
        cbor: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<std::convert::Infallible>>,
    ) {
        if self.cbor {
            cbor(&mut Encoder::new(&mut self.out)).expect("writing to a Vec cannot fail");
        } else {
            self.out.extend_from_slice(json);
        }
    }
}

/// Parses a request. TimeFormat become seconds since the epoch in either encoding.
pub(super) fn parse(body: &Body) -> Result<Value, String> {
    match body {
        Body::Json(text) => serde_json::from_str(text).map_err(|error| format!("{error}: {text}")),
        Body::Cbor(bytes) => {
            let mut decoder = Decoder::new(bytes);
            let value = value(&mut decoder).map_err(|error| error.to_string())?;
            if decoder.position() < bytes.len() { Err("more than one value".to_owned()) } else { Ok(value) }
        }
    }
}

fn value(decoder: &mut Decoder<'_>) -> Result<Value, minicbor::decode::Error> {
    Ok(match decoder.datatype()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => decoder.u64()?.into(),
        Type::String => decoder.str()?.into(),
        Type::Tag if decoder.tag()? == minicbor::data::IanaTag::Timestamp.tag() => {
            Value::from(decoder.u64()? as f64 / 1000.0)
        }
        Type::Map | Type::MapIndef => {
            let mut members = Map::new();
            let mut left = decoder.map()?;
            while left != Some(0) && !(left.is_none() && decoder.datatype()? == Type::Break) {
                members.insert(decoder.str()?.to_owned(), value(decoder)?);
                left = left.map(|left| left - 1);
            }
            if left.is_none() {
                decoder.skip()?;
            }
            Value::Object(members)
        }
        other => return Err(minicbor::decode::Error::message(format!("unexpected type: {other}"))),
    })
}
