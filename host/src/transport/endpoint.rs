//! Determines where requests go, from region, partition and custom URL.
//!
//! The region is part of the signature, so it is needed even with a custom URL. Suffixes and exceptions follow the AWS
//! endpoint rules for Kinesis, from which the expected URLs in the tests were generated.

use std::fmt;
use std::net::Ipv6Addr;

use http::Uri;

use super::error::Error;

/// The URL that all requests are sent to, and the region that they are signed for.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    region: String,
}

/// The settings that determine the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The region.
    pub region: Option<String>,
    /// A custom URL, in place of AWS's own.
    pub url: Option<String>,
    /// Whether to use a FIPS endpoint.
    pub fips: bool,
    /// Whether to use an endpoint with IPv6.
    pub dual_stack: bool,
}

impl Endpoint {
    /// Determines the endpoint.
    pub fn resolve(known: Known) -> Result<Self, Error> {
        let region = known.region.filter(|region| !region.is_empty()).ok_or(Error::NoRegion)?;
        if !is_host_label(&region) {
            return Err(Error::BadRegion(region));
        }
        let url = match known.url {
            Some(url) => url,
            None => service_url(&region, known.fips, known.dual_stack),
        };
        let uri = parse(&url).map_err(|why| Error::BadEndpoint { url: shown(&url), why })?;
        Ok(Self { uri, region })
    }

    /// The URL, which has a path.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Whether it is one of AWS's own endpoints. A custom URL can be one too, such as that of a VPC endpoint.
    pub fn is_aws(&self) -> bool {
        let host = self.uri.host().unwrap_or_default();
        let of = |suffix: &str| host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
        PARTITIONS.iter().chain([&AWS]).any(|partition| of(partition.suffix) || of(partition.dual_stack_suffix))
    }

    /// Whether it uses TLS.
    pub fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }
}

/// Whether this can be the name of a region. Like the AWS command line, this accepts any label of a host name.
pub fn is_host_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn service_url(region: &str, fips: bool, dual_stack: bool) -> String {
    let partition = PARTITIONS
        .iter()
        .find(|partition| partition.prefixes.iter().any(|prefix| region.starts_with(prefix)))
        .unwrap_or(&AWS);
    let suffix = if dual_stack { partition.dual_stack_suffix } else { partition.suffix };
    // In GovCloud the common endpoint is a FIPS endpoint.
    let fips = fips && (dual_stack || !region.starts_with("us-gov-"));
    let service = if fips { "kinesis-fips" } else { "kinesis" };
    format!("https://{service}.{region}.{suffix}")
}

/// A partition of AWS, which has its own domains.
struct Partition {
    prefixes: &'static [&'static str],
    suffix: &'static str,
    dual_stack_suffix: &'static str,
}

const AWS: Partition = Partition { prefixes: &[], suffix: "amazonaws.com", dual_stack_suffix: "api.aws" };

/// All partitions with other suffixes than [`AWS`].
const PARTITIONS: &[Partition] = &[
    Partition { prefixes: &["cn-"], suffix: "amazonaws.com.cn", dual_stack_suffix: "api.amazonwebservices.com.cn" },
    Partition { prefixes: &["eusc-"], suffix: "amazonaws.eu", dual_stack_suffix: "api.amazonwebservices.eu" },
    Partition { prefixes: &["us-iso-"], suffix: "c2s.ic.gov", dual_stack_suffix: "api.aws.ic.gov" },
    Partition { prefixes: &["us-isob-"], suffix: "sc2s.sgov.gov", dual_stack_suffix: "api.aws.scloud" },
    Partition { prefixes: &["eu-isoe-"], suffix: "cloud.adc-e.uk", dual_stack_suffix: "api.cloud-aws.adc-e.uk" },
    Partition {
        prefixes: &["us-isof-", "eu-isof-"],
        suffix: "csp.hci.ic.gov",
        dual_stack_suffix: "api.aws.hci.ic.gov",
    },
];

fn parse(url: &str) -> Result<Uri, String> {
    let Some((_, rest)) = url.split_once("://") else {
        return Err("it has no scheme: prepend http:// or https://".to_owned());
    };
    if rest.is_empty() || rest.starts_with([':', '/', '?']) {
        return Err("it has no host".to_owned());
    }
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("its scheme is neither http nor https".to_owned());
    }
    let Some(authority) = uri.authority() else {
        return Err("it has no host".to_owned());
    };
    if authority.as_str().contains('@') {
        return Err("it contains a user name: credentials come from the AWS settings".to_owned());
    }
    let host = authority.host();
    if host.strip_prefix('[').is_some_and(|host| host.trim_end_matches(']').parse::<Ipv6Addr>().is_err()) {
        return Err("its host is not an IPv6 address".to_owned());
    }
    if !has_valid_port(&uri) {
        return Err("its port is not a number from 0 to 65535".to_owned());
    }
    if uri.query().is_some() {
        return Err("it has a query".to_owned());
    }
    Ok(uri)
}

/// Whether the port of a URL without a user name is a number, or is left out. `Uri` accepts any text as a port, and then
/// behaves as if there was none.
fn has_valid_port(uri: &Uri) -> bool {
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    authority == uri.host().unwrap_or_default() || uri.port_u16().is_some()
}

/// Formats an invalid URL without anything that is, or might be, a password. `tests/golden/endpoints.json` has examples,
/// with which all packages are tested.
pub(super) fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_at(scheme_length(url));
    let (rest, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    if find_at(query).is_some() {
        return format!("{scheme}***");
    }
    let (user, rest) = match find_at(rest) {
        Some(end) => ("***@", &rest[end..]),
        None => ("", rest),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '\\']).unwrap_or(rest.len()));
    let host = shown_authority(authority, path);
    // What looks like a path may be the rest of a password.
    let path = if host.ends_with("***") { "" } else { path };
    let query = query.chars().next().map(|mark| format!("{mark}***")).unwrap_or_default();
    format!("{scheme}{user}{host}{path}{query}")
}

/// The length of the scheme and the slashes after it, which may be too few or of the wrong kind.
fn scheme_length(url: &str) -> usize {
    let Some((name, rest)) = url.split_once(':') else { return 0 };
    let slashes = rest.len() - rest.trim_start_matches(['/', '\\']).len();
    let is_http = ["http", "https"].iter().any(|scheme| name.eq_ignore_ascii_case(scheme));
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    let is_scheme = slashes > 0 && (is_http || is_name && rest.starts_with("//"));
    if is_scheme { name.len() + 1 + slashes } else { 0 }
}

/// The end of the last `@`, in any spelling that may have been meant as one.
fn find_at(text: &str) -> Option<usize> {
    ["@", "%40", "\u{ff20}", "\u{fe6b}"].iter().filter_map(|at| text.rfind(at).map(|start| start + at.len())).max()
}

/// If the host is missing, user name and password look like host and port.
fn shown_authority(authority: &str, path: &str) -> String {
    let end = if authority.starts_with('[') { authority.find(']').map_or(0, |end| end + 1) } else { 0 };
    let (address, rest) = authority.split_at(end);
    if authority.starts_with('[') {
        let is_address =
            address.len() > 2 && address.bytes().all(|byte| byte.is_ascii_hexdigit() || b"[]:.".contains(&byte));
        let is_port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_number);
        return match (is_address, is_port) {
            (true, true) => authority.to_owned(),
            (true, false) => format!("{address}***"),
            (false, _) => "***".to_owned(),
        };
    }
    let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
    match port {
        _ if host.contains('%') => "***".to_owned(),
        Some("") if path.is_empty() => authority.to_owned(),
        Some(port) if !is_number(port) => format!("{host}:***"),
        _ => authority.to_owned(),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.uri, self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn aws_endpoints_by_partition() {
        // Region; plain, dual-stack, FIPS, FIPS and dual-stack. Made with the endpoint rules of botocore 1.44.5.
        for (region, plain, dual, fips, both) in [
            (
                "us-east-1",
                "kinesis.us-east-1.amazonaws.com",
                "kinesis.us-east-1.api.aws",
                "kinesis-fips.us-east-1.amazonaws.com",
                "kinesis-fips.us-east-1.api.aws",
            ),
            (
                "ap-southeast-7",
                "kinesis.ap-southeast-7.amazonaws.com",
                "kinesis.ap-southeast-7.api.aws",
                "kinesis-fips.ap-southeast-7.amazonaws.com",
                "kinesis-fips.ap-southeast-7.api.aws",
            ),
            (
                "cn-north-1",
                "kinesis.cn-north-1.amazonaws.com.cn",
                "kinesis.cn-north-1.api.amazonwebservices.com.cn",
                "kinesis-fips.cn-north-1.amazonaws.com.cn",
                "kinesis-fips.cn-north-1.api.amazonwebservices.com.cn",
            ),
            (
                "us-gov-west-1",
                "kinesis.us-gov-west-1.amazonaws.com",
                "kinesis.us-gov-west-1.api.aws",
                "kinesis.us-gov-west-1.amazonaws.com",
                "kinesis-fips.us-gov-west-1.api.aws",
            ),
            (
                "us-iso-east-1",
                "kinesis.us-iso-east-1.c2s.ic.gov",
                "kinesis.us-iso-east-1.api.aws.ic.gov",
                "kinesis-fips.us-iso-east-1.c2s.ic.gov",
                "kinesis-fips.us-iso-east-1.api.aws.ic.gov",
            ),
            (
                "us-isob-west-1",
                "kinesis.us-isob-west-1.sc2s.sgov.gov",
                "kinesis.us-isob-west-1.api.aws.scloud",
                "kinesis-fips.us-isob-west-1.sc2s.sgov.gov",
                "kinesis-fips.us-isob-west-1.api.aws.scloud",
            ),
            (
                "eu-isoe-west-1",
                "kinesis.eu-isoe-west-1.cloud.adc-e.uk",
                "kinesis.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
                "kinesis-fips.eu-isoe-west-1.cloud.adc-e.uk",
                "kinesis-fips.eu-isoe-west-1.api.cloud-aws.adc-e.uk",
            ),
            (
                "us-isof-south-1",
                "kinesis.us-isof-south-1.csp.hci.ic.gov",
                "kinesis.us-isof-south-1.api.aws.hci.ic.gov",
                "kinesis-fips.us-isof-south-1.csp.hci.ic.gov",
                "kinesis-fips.us-isof-south-1.api.aws.hci.ic.gov",
            ),
            (
                "eusc-de-east-1",
                "kinesis.eusc-de-east-1.amazonaws.eu",
                "kinesis.eusc-de-east-1.api.amazonwebservices.eu",
                "kinesis-fips.eusc-de-east-1.amazonaws.eu",
                "kinesis-fips.eusc-de-east-1.api.amazonwebservices.eu",
            ),
            (
                "xx-nowhere-9",
                "kinesis.xx-nowhere-9.amazonaws.com",
                "kinesis.xx-nowhere-9.api.aws",
                "kinesis-fips.xx-nowhere-9.amazonaws.com",
                "kinesis-fips.xx-nowhere-9.api.aws",
            ),
        ] {
            for (fips, dual_stack, host) in
                [(false, false, plain), (false, true, dual), (true, false, fips), (true, true, both)]
            {
                let endpoint =
                    Endpoint::resolve(Known { region: Some(region.to_owned()), url: None, fips, dual_stack });
                assert_eq!(
                    endpoint.unwrap().to_string(),
                    format!("https://{host}/"),
                    "{region} fips={fips} dual={dual_stack}"
                );
            }
        }
    }

    #[test]
    fn a_custom_url_is_used_unchanged() {
        for (url, shown) in [
            ("http://localhost:4567", "http://localhost:4567/"),
            ("http://127.0.0.1:4568/", "http://127.0.0.1:4568/"),
            ("http://[::1]:4568", "http://[::1]:4568/"),
            (
                "https://vpce-1.kinesis.us-east-1.vpce.amazonaws.com",
                "https://vpce-1.kinesis.us-east-1.vpce.amazonaws.com/",
            ),
            ("http://gateway/kinesis/", "http://gateway/kinesis/"),
        ] {
            let endpoint = at(url).unwrap();
            assert_eq!((endpoint.to_string().as_str(), endpoint.region()), (shown, "us-east-1"));
            assert_eq!(endpoint.is_secure(), url.starts_with("https"));
        }
    }

    #[test]
    fn an_invalid_endpoint_url_is_an_error_with_a_reason() {
        for (url, why) in [
            ("localhost:4567", "no scheme"),
            ("", "no scheme"),
            ("ftp://host", "neither http nor https"),
            ("http://", "no host"),
            ("http://:80", "no host"),
            ("http://host:port", "port"),
            ("http://host:99999", "port"),
            ("http://host/?a=b", "query"),
            ("http://a b", "invalid"),
        ] {
            let error = at(url).unwrap_err();
            assert!(error.to_string().contains(why), "{url}: {error}");
            assert!(error.is_usage_error() && error.hint().is_some());
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        let error = at("http://user:marked@host:80/").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid endpoint URL: http://***@host:80/ (it contains a user name: credentials come from the AWS settings)"
        );
        assert!(!format!("{error:?}").contains("marked"));
    }

    #[test]
    fn endpoints_of_aws_are_recognized_by_their_host_names() {
        for (url, is_aws) in [
            ("https://kinesis.eu-west-1.amazonaws.com", true),
            ("https://kinesis-fips.us-east-1.api.aws", true),
            ("https://kinesis.cn-north-1.amazonaws.com.cn/", true),
            ("https://vpce-1-2.kinesis.us-east-1.vpce.amazonaws.com:443", true),
            ("http://localhost:4567", false),
            ("https://amazonaws.com", false),
            ("https://notamazonaws.com", false),
            ("https://amazonaws.com.example.org", false),
        ] {
            assert_eq!(at(url).unwrap().is_aws(), is_aws, "{url}");
        }
        let resolved = Endpoint::resolve(Known { region: Some("eu-west-1".to_owned()), ..Known::default() });
        assert!(resolved.unwrap().is_aws());
    }

    #[test]
    fn the_region_is_required_and_checked() {
        let with = |region: Option<&str>| {
            Endpoint::resolve(Known {
                region: region.map(str::to_owned),
                url: Some("http://localhost:1".to_owned()),
                ..Known::default()
            })
        };
        assert_eq!(with(None), Err(Error::NoRegion));
        assert_eq!(with(Some("")), Err(Error::NoRegion));
        for bad in ["us east", "us-east-1.evil.com", "-x", "x-", "a/b", &"x".repeat(64)] {
            assert_eq!(with(Some(bad)), Err(Error::BadRegion(bad.to_owned())));
        }
    }

    fn at(url: &str) -> Result<Endpoint, Error> {
        Endpoint::resolve(Known { region: Some("us-east-1".to_owned()), url: Some(url.to_owned()), ..Known::default() })
    }
}
