//! Which stream: a name, or an ARN that names account and region too.

use super::Error;
use crate::transport::endpoint::is_host_label;

/// Which stream to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A stream of the credentials' account.
    Name(String),
    /// A stream of any account.
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
    /// Reads a name or an ARN.
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

    /// The region of its ARN.
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
        return Err("its partition is none of AWS's");
    }
    if service != "kinesis" {
        return Err("it is of another service");
    }
    if !is_host_label(region) {
        return Err("it names no region");
    }
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its account is not 12 digits");
    }
    let stream = resource.strip_prefix("stream/").ok_or("it is not of a stream")?;
    if stream.contains("/consumer/") {
        return Err("it is of a consumer");
    }
    if !is_stream_name(stream) {
        return Err("its stream has no name");
    }
    Ok(Source::Arn { arn: text.to_owned(), region: region.to_owned(), stream: stream.to_owned() })
}

/// "`[a-zA-Z0-9_.-]+`", 1 to 128 of them.
fn is_stream_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}
