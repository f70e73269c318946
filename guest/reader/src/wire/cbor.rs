//! Reads CBOR values and writes the members of a single map.
//!
//! Kinesis has its own dialect: data is a byte string, and a time is an integer of milliseconds under tag 1, not of
//! seconds as in RFC 8949. We also accept times that are untagged or floats, data as base64 text, and text, bytes,
//! arrays and maps of indefinite length. Other tags are ignored. Individual items are decoded by minicbor.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use minicbor::data::{IanaTag, Type};
use minicbor::{Decoder, Encoder, decode};

use super::decode::{DEPTH_MAX, Fault, Rest, SentData, Source, TIME_MAX};
use super::usual;
use crate::pages::page::Layout;

/// Reads one CBOR item.
pub(super) struct Reader<'a> {
    decoder: Decoder<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { decoder: Decoder::new(bytes) }
    }

    /// Returns the type of the next item after skipping its tags.
    fn next_type(&mut self) -> Result<Type, Fault> {
        loop {
            match self.decoder.datatype().map_err(|error| self.fault(error))? {
                Type::Tag => drop(self.decoder.tag().map_err(|error| self.fault(error))?),
                other => return Ok(other),
            }
        }
    }

    #[cold]
    fn fault(&self, error: decode::Error) -> Fault {
        let what = if error.is_end_of_input() { "unexpected end of body" } else { "invalid CBOR item" };
        Fault::at_byte(what, self.decoder.position())
    }

    #[cold]
    fn invalid(&self, what: &str) -> Fault {
        Fault::at_byte(what, self.decoder.position())
    }

    /// Skips an item that consists of a head only, such as a number or null. (minicbor's own `skip` handles every kind
    /// of item and is its largest function.)
    fn skip_head(&mut self) -> Result<(), Fault> {
        let (bytes, at) = (self.decoder.input(), self.decoder.position());
        let size = match bytes.get(at).map(|first| first & 31) {
            Some(24) => 2,
            Some(25) => 3,
            Some(26) => 5,
            Some(27) => 9,
            Some(_) | None => 1,
        };
        if at + size > bytes.len() {
            return Err(self.invalid("unexpected end of body"));
        }
        self.decoder.set_position(at + size);
        Ok(())
    }

    /// Returns whether the array or map continues. If its length is indefinite, a break marks its end.
    fn has_more(&mut self, rest: &mut Rest) -> Result<bool, Fault> {
        match &mut rest.left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.next_type()? == Type::Break => {
                self.decoder.set_position(self.decoder.position() + 1);
                rest.left = Some(0);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn string(&mut self, kind: Type) -> Result<Cow<'a, str>, Fault> {
        if kind == Type::String {
            return self.decoder.str().map(Cow::Borrowed).map_err(|error| self.fault(error));
        }
        let chunks = self.decoder.str_iter().and_then(Iterator::collect::<Result<String, _>>);
        chunks.map(Cow::Owned).map_err(|error| self.fault(error))
    }

    fn bytes(&mut self, kind: Type) -> Result<Cow<'a, [u8]>, Fault> {
        if kind == Type::Bytes {
            return self.decoder.bytes().map(Cow::Borrowed).map_err(|error| self.fault(error));
        }
        let chunks = self.decoder.bytes_iter().and_then(Iterator::collect::<Result<Vec<&[u8]>, _>>);
        chunks.map(|chunks| Cow::Owned(chunks.concat())).map_err(|error| self.fault(error))
    }

    fn skip_value(&mut self, depth: u32) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(self.invalid("nested too deeply"));
        }
        match self.next_type()? {
            Type::Array | Type::ArrayIndef => {
                let mut rest = self.array()?;
                while let Some(rest) = &mut rest
                    && self.has_more(rest)?
                {
                    self.skip_value(depth + 1)?;
                }
                Ok(())
            }
            Type::Map | Type::MapIndef => {
                let mut rest = self.object()?;
                while let Some(rest) = &mut rest
                    && self.has_more(rest)?
                {
                    self.skip_value(depth + 1)?;
                    self.skip_value(depth + 1)?;
                }
                Ok(())
            }
            Type::Break | Type::Unknown(_) => Err(self.invalid("expected a value")),
            kind @ (Type::Bytes | Type::BytesIndef) => self.bytes(kind).map(drop),
            kind @ (Type::String | Type::StringIndef) => self.string(kind).map(drop),
            Type::Bool
            | Type::Null
            | Type::Undefined
            | Type::U8
            | Type::U16
            | Type::U32
            | Type::U64
            | Type::I8
            | Type::I16
            | Type::I32
            | Type::I64
            | Type::Int
            | Type::F16
            | Type::F32
            | Type::F64
            | Type::Simple
            | Type::Tag => self.skip_head(),
        }
    }
}

impl<'a> Source<'a> for Reader<'a> {
    fn object(&mut self) -> Result<Option<Rest>, Fault> {
        match self.next_type()? {
            Type::Map | Type::MapIndef => {
                let left = self.decoder.map().map_err(|error| self.fault(error))?;
                Ok(Some(Rest { first: true, left }))
            }
            Type::Null | Type::Undefined => self.skip_head().map(|()| None),
            _ => Err(self.invalid("expected a map")),
        }
    }

    fn member(&mut self, rest: &mut Rest) -> Result<Option<Cow<'a, str>>, Fault> {
        if !self.has_more(rest)? {
            return Ok(None);
        }
        match self.text()? {
            Some(key) => Ok(Some(key)),
            None => Err(self.invalid("expected a text key")),
        }
    }

    fn array(&mut self) -> Result<Option<Rest>, Fault> {
        match self.next_type()? {
            Type::Array | Type::ArrayIndef => {
                let left = self.decoder.array().map_err(|error| self.fault(error))?;
                Ok(Some(Rest { first: true, left }))
            }
            Type::Null | Type::Undefined => self.skip_head().map(|()| None),
            _ => Err(self.invalid("expected an array")),
        }
    }

    fn element(&mut self, rest: &mut Rest) -> Result<bool, Fault> {
        self.has_more(rest)
    }

    fn text(&mut self) -> Result<Option<Cow<'a, str>>, Fault> {
        match self.next_type()? {
            kind @ (Type::String | Type::StringIndef) => self.string(kind).map(Some),
            Type::Null | Type::Undefined => self.skip_head().map(|()| None),
            _ => Err(self.invalid("expected text")),
        }
    }

    fn data(&mut self) -> Result<Option<SentData<'a>>, Fault> {
        match self.next_type()? {
            kind @ (Type::Bytes | Type::BytesIndef) => self.bytes(kind).map(|bytes| Some(SentData::Raw(bytes))),
            kind @ (Type::String | Type::StringIndef) => self.string(kind).map(|text| Some(SentData::Base64(text))),
            Type::Null | Type::Undefined => self.skip_head().map(|()| None),
            _ => Err(self.invalid("expected bytes")),
        }
    }

    fn time(&mut self) -> Result<Option<u64>, Fault> {
        match self.count()? {
            Some(time_ms) if time_ms > TIME_MAX => Err(self.invalid("time out of range")),
            time_ms => Ok(time_ms),
        }
    }

    fn count(&mut self) -> Result<Option<u64>, Fault> {
        match self.next_type()? {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => {
                self.decoder.u64().map(Some).map_err(|error| self.fault(error))
            }
            // All of these are negative.
            Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => self.skip_head().map(|()| Some(0)),
            Type::F32 | Type::F64 => {
                let value = self.decoder.f64().map_err(|error| self.fault(error))?;
                // The cast saturates: negative values become 0.
                if value.is_nan() { Err(self.invalid("not a number")) } else { Ok(Some((value + 0.5) as u64)) }
            }
            Type::Null | Type::Undefined => self.skip_head().map(|()| None),
            _ => Err(self.invalid("expected a number")),
        }
    }

    fn usual_record(&mut self, layout: &mut Layout) -> bool {
        let end = usual::cbor(self.decoder.input(), self.decoder.position(), layout);
        self.decoder.set_position(end.unwrap_or(self.decoder.position()));
        end.is_some()
    }

    fn skip(&mut self) -> Result<(), Fault> {
        self.skip_value(0)
    }

    fn end(&mut self) -> Result<(), Fault> {
        if self.decoder.position() == self.decoder.input().len() {
            Ok(())
        } else {
            Err(self.invalid("more than one CBOR item"))
        }
    }
}

/// Writes a single CBOR map.
#[derive(Default)]
pub(super) struct Writer {
    members: Vec<u8>,
    count: u64,
}

impl Writer {
    pub(super) fn finish(self) -> Vec<u8> {
        let mut map = Vec::with_capacity(self.members.len() + 1);
        infallible(Encoder::new(&mut map).map(self.count));
        map.extend(self.members);
        map
    }

    fn member(&mut self, key: &str) -> Encoder<&mut Vec<u8>> {
        self.count += 1;
        let mut encoder = Encoder::new(&mut self.members);
        infallible(encoder.str(key));
        encoder
    }
}

impl super::request::Write for Writer {
    fn text(&mut self, key: &str, value: &str) {
        infallible(self.member(key).str(value));
    }

    fn count(&mut self, key: &str, value: u32) {
        infallible(self.member(key).u32(value));
    }

    fn time(&mut self, key: &str, value_ms: u64) {
        infallible(self.member(key).tag(IanaTag::Timestamp).and_then(|encoder| encoder.u64(value_ms)));
    }
}

/// For writes to a `Vec`, which cannot fail.
fn infallible<T, E>(_: Result<T, E>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form() {
        for (bytes, time) in [
            (&b"\xc1\x1b\x00\x00\x01\xa2\x08\xf3\x0c\xdb"[..], Some(1_795_446_475_995)),
            (b"\x1b\x00\x00\x01\xa2\x08\xf3\x0c\xdb", Some(1_795_446_475_995)),
            (b"\xc1\xfb\x42\x7a\x20\x8f\x30\xcd\xb0\x00", Some(1_795_446_475_995)),
            (b"\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00", Some(2)),
            (b"\xfa\x3f\x80\x00\x00", Some(1)),
            (b"\x20", Some(0)),
            (b"\xc1\x20", Some(0)),
            (b"\xf6", None),
            (b"\xf7", None),
            (b"\xc1\xf6", None),
        ] {
            assert_eq!(Reader::new(bytes).time().unwrap(), time, "{bytes:x?}");
        }
        for bytes in [
            &b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff"[..],
            b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00",
            b"\xc1",
            b"",
            b"\x61\x31",
        ] {
            assert!(Reader::new(bytes).time().is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn skipping_stops_at_the_end_of_the_item() {
        for bytes in [
            &b"\x01"[..],
            b"\x38\xff",
            b"\xf4",
            b"\xf9\x3c\x00",
            b"\xf8\xff",
            b"\x9f\x01\x82\x02\x03\x9f\xff\xff",
            b"\xbf\x61a\xa1\x01\x9f\xff\xff",
            b"\x5f\x41a\x42bc\xff",
            b"\x7f\x61a\x62bc\xff",
            b"\xd9\xd9\xf7\xc1\x80",
        ] {
            let mut reader = Reader::new(bytes);
            assert!(reader.skip().is_ok() && reader.end().is_ok(), "{bytes:x?}");
        }
        for bytes in [
            &b"\xff"[..],
            b"\x82\x01",
            b"\x9f",
            b"\xbf\x01\xff",
            b"\x61\xff",
            b"\x1c",
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(Reader::new(bytes).skip().is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        for opening in [b"\x81", b"\x9f", b"\xd8"] {
            assert!(Reader::new(&opening.repeat(1_000_000)).skip().is_err());
        }
    }
}
