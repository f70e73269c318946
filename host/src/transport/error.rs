//! Why requests cannot be sent, and what to do about it.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use super::request::Failure;
use crate::terminal::{Clean, Given};

/// Why requests cannot be sent at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No region is configured.
    NoRegion,
    /// An invalid name of a region.
    BadRegion(String),
    /// An invalid endpoint URL.
    BadEndpoint {
        /// The URL, without passwords.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The profile does not exist.
    UnknownProfile(String),
    /// A file of profiles cannot be read, for this reason.
    BadProfiles(String),
    /// No credentials were found.
    NoCredentials,
    /// Credentials are configured, but cannot be loaded.
    Credentials {
        /// The reason.
        why: String,
        /// Whether retrying may help.
        transient: bool,
    },
    /// The trusted certificates cannot be read.
    BadCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Whether the settings are at fault, so that trying again would not help.
    pub fn is_usage_error(&self) -> bool {
        match self {
            Self::NoRegion | Self::BadRegion(_) | Self::BadEndpoint { .. } => true,
            Self::UnknownProfile(_) | Self::BadProfiles(_) | Self::BadCertificates { .. } => true,
            Self::NoCredentials | Self::Credentials { .. } => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoRegion => "set AWS_REGION, or configure a region in the profile",
            Self::BadRegion(_) => "regions look like us-east-1",
            Self::BadEndpoint { .. } => {
                "endpoints look like https://kinesis.us-east-1.amazonaws.com or http://localhost:4567"
            }
            Self::UnknownProfile(_) => {
                "`aws configure list-profiles` lists the profiles; they are kept in ~/.aws/config and ~/.aws/credentials"
            }
            Self::BadProfiles(_) => {
                "check ~/.aws/config and ~/.aws/credentials, or the files in AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE"
            }
            Self::NoCredentials => {
                "run `aws configure` or `aws sso login`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (an emulator accepts any values)"
            }
            Self::Credentials { .. } => {
                "test the credentials with `aws sts get-caller-identity`; renew those of SSO with `aws sso login`"
            }
            Self::BadCertificates { .. } => "AWS_CA_BUNDLE must name a file with certificates in PEM format",
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = Clean(f);
        match self {
            Self::NoRegion => write!(f, "no region is set"),
            Self::BadRegion(region) => write!(f, "invalid region: {}", Given(region)),
            Self::BadEndpoint { url, why } => write!(f, "invalid endpoint URL: {url} ({why})"),
            Self::UnknownProfile(profile) => write!(f, "no such profile: {}", Given(profile)),
            Self::BadProfiles(why) => write!(f, "cannot read AWS profiles: {why}"),
            Self::NoCredentials => write!(f, "no AWS credentials were found"),
            Self::Credentials { why, .. } => write!(f, "cannot load AWS credentials: {why}"),
            Self::BadCertificates { path, why } => {
                write!(f, "cannot read certificates: {} ({why})", path.display())
            }
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Credentials { transient: true, .. } => Self::Transient(error.to_string()),
            other => Self::Permanent(other.to_string()),
        }
    }
}
