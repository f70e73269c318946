//! The stream to read: a name, or an ARN, which also names account and region.

use super::error::Error;
use crate::transport::endpoint::is_host_label;

/// Which stream to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A stream in the account of the credentials.
    Name(String),
    /// A stream in any account.
    Arn {
        /// The whole ARN.
        arn: String,
        /// The region in it.
        region: String,
        /// The stream's name in it.
        stream: String,
    },
}

impl Source {
    /// Parses a name or an ARN.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.starts_with("arn:") {
            return parse_arn(text).map_err(|why| Error::BadArn { arn: text.to_owned(), why });
        }
        if !is_stream_name(text) {
            return Err(Error::BadStream(text.to_owned()));
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        match self {
            Self::Name(stream) | Self::Arn { stream, .. } => stream,
        }
    }

    /// The region, if it is an ARN.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::Name(_) => None,
            Self::Arn { region, .. } => Some(region),
        }
    }
}

fn parse_arn(text: &str) -> Result<Source, &'static str> {
    let mut parts = text.splitn(6, ':').skip(1);
    let mut part = || parts.next().ok_or("it has fewer than six parts");
    let (partition, service, region, account, resource) = (part()?, part()?, part()?, part()?, part()?);
    if !(partition.starts_with("aws") && is_host_label(partition)) {
        return Err("it has an unknown partition");
    }
    if service != "kinesis" {
        return Err("it belongs to another service");
    }
    if !is_host_label(region) {
        return Err("it has no region");
    }
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its account does not have 12 digits");
    }
    let stream = resource.strip_prefix("stream/").ok_or("it is not the ARN of a stream")?;
    if stream.contains("/consumer/") {
        return Err("it is the ARN of a consumer");
    }
    if !is_stream_name(stream) {
        return Err("its stream name is invalid");
    }
    Ok(Source::Arn { arn: text.to_owned(), region: region.to_owned(), stream: stream.to_owned() })
}

/// Whether it matches `[a-zA-Z0-9_.-]+` and has 1 to 128 characters.
fn is_stream_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}
