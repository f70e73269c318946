//! Settings for endpoint and credentials.

use std::fmt;
use std::path::PathBuf;

use super::endpoint;

/// Settings for endpoint and credentials.
///
/// Whatever is left out is looked up in the environment and the profile, as the AWS command line does.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The region.
    pub region: Option<String>,
    /// The profile. If it is set, credentials in the environment are ignored.
    pub profile: Option<String>,
    /// A role to assume.
    pub role_arn: Option<String>,
    /// A custom endpoint URL.
    pub endpoint_url: Option<String>,
    /// A file of certificates to trust instead of the system's.
    pub ca_bundle: Option<PathBuf>,
}

impl fmt::Debug for Settings {
    /// Hides passwords in URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, profile, role_arn, endpoint_url, ca_bundle } = self;
        f.debug_struct("Settings")
            .field("region", region)
            .field("profile", profile)
            .field("role_arn", role_arn)
            .field("endpoint_url", &endpoint_url.as_deref().map(endpoint::shown))
            .field("ca_bundle", ca_bundle)
            .finish()
    }
}
