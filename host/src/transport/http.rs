//! HTTP/1.1 with persistent connections, by hyper and rustls.
//!
//! Nothing here is specific to Kinesis. Redirects are not followed. A proxy in `HTTPS_PROXY` or `ALL_PROXY` is used for
//! https only, and as a tunnel, so that it does not see requests; `NO_PROXY` is respected. Plain http, which is meant
//! for emulators, does not use a proxy.

use std::error::Error as StdError;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use http::{HeaderMap, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tower_service::Service;

use super::error::Error;
use super::request::Failure;
use crate::terminal::clean;

/// The most memory that is allocated for a body before any of it has arrived, whatever its announced length.
const PREALLOCATED_MAX: usize = 16 << 20;

/// The number of bytes to read of an error's body. The rest is dropped, as the status and the beginning say enough.
const ERROR_SIZE_MAX: usize = 64 << 10;

/// The time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to keep an idle connection. Kinesis closes connections that are idle for longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How much of a body is searched for the name of an error.
const SEARCH_SIZE_MAX: usize = 64 << 10;

/// The size limit for responses that should be small. A shard iterator has at most 512 characters, the summary of a
/// stream a few hundred bytes, credentials a few thousand.
pub(super) const SMALL_RESPONSE_MAX: usize = 64 << 10;

/// A pool of connections.
pub(super) struct Http {
    plain: Client<Route, Full<Bytes>>,
    /// Created when first needed, as reading the system's certificates takes milliseconds.
    secure: OnceLock<Client<HttpsConnector<Route>, Full<Bytes>>>,
    ca_bundle: Option<PathBuf>,
}

impl Http {
    pub(super) fn new(ca_bundle: Option<PathBuf>) -> Self {
        Self { plain: client(Route::new()), secure: OnceLock::new(), ca_bundle }
    }

    /// Reads the trusted certificates, so that problems with them are reported early.
    pub(super) fn trust(&self) -> Result<(), Error> {
        self.secure().map(drop)
    }

    /// Sends a request and reads the whole response, up to `size_max` bytes. Only the beginning of an error is read.
    pub(super) async fn send(
        &self,
        request: http::Request<Full<Bytes>>,
        size_max: usize,
    ) -> Result<RawResponse, Failure> {
        let host = host(request.uri());
        let response = match request.uri().scheme_str() {
            Some("https") => self.secure()?.request(request).await,
            _ => self.plain.request(request).await,
        };
        let (head, mut body) = response.map_err(|error| failure(&error, &host))?.into_parts();

        let is_error = !head.status.is_success();
        let size_max = if is_error { size_max.min(ERROR_SIZE_MAX) } else { size_max };
        let announced = head
            .headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
            .unwrap_or(0);
        if announced > size_max as u64 && !is_error {
            return Err(too_large(&host, size_max));
        }
        let mut bytes = Vec::with_capacity((announced as usize).min(size_max).min(PREALLOCATED_MAX));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failure(&error, &host))?;
            let Some(data) = frame.data_ref() else { continue };
            let room = size_max - bytes.len();
            if data.len() > room {
                if is_error {
                    bytes.extend_from_slice(&data[..room]);
                    break;
                }
                return Err(too_large(&host, size_max));
            }
            bytes.extend_from_slice(data);
        }
        Ok(RawResponse { status: head.status.as_u16(), headers: head.headers, body: bytes })
    }

    fn secure(&self) -> Result<&Client<HttpsConnector<Route>, Full<Bytes>>, Error> {
        if let Some(client) = self.secure.get() {
            return Ok(client);
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the suites of TLS 1.2 and 1.3")
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(Route::new());
        Ok(self.secure.get_or_init(|| client(connector)))
    }

    /// The certificates from the configured bundle, otherwise the system's, otherwise Mozilla's, which are built in for
    /// containers without certificates.
    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca_bundle {
            let bad = |why: String| Error::BadCertificates { path: path.clone(), why };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| bad(messages(&error)))? {
                let certificate = certificate.map_err(|error| bad(messages(&error)))?;
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(bad("it contains no certificate".to_owned()));
            }
            return Ok(roots);
        }
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Ok(roots)
    }
}

/// A complete response.
pub(super) struct RawResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl RawResponse {
    /// The value of a header, if it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The server's time.
    pub(super) fn date(&self) -> Option<SystemTime> {
        let date = aws_smithy_types::DateTime::from_str(self.header("date")?, Format::HttpDate).ok()?;
        SystemTime::try_from(date).ok()
    }
}

/// Whether the beginning of a body contains a name.
pub(super) fn contains(body: &[u8], name: &[u8]) -> bool {
    let body = body.get(..SEARCH_SIZE_MAX).unwrap_or(body);
    body.windows(name.len()).any(|window| window == name)
}

/// The messages of an error and its causes, each once, on one line.
pub(super) fn messages(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let message = cause.to_string();
        if !text.contains(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An error and its causes.
pub(super) fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // The source of an io::Error is that of the error it wraps, not the wrapped error itself.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

fn client<C>(connector: C) -> Client<C, Full<Bytes>>
where
    C: hyper_util::client::legacy::connect::Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build(connector)
}

/// Host and port of a URL, without user name and password, which the URLs of STS and other services may contain.
fn host(uri: &Uri) -> String {
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

fn too_large(host: &str, size_max: usize) -> Failure {
    match size_max >> 20 {
        // It is not from Kinesis, so a retry may help.
        0 => Failure::Transient(format!("the response is larger than {} KiB: {host}", size_max >> 10)),
        // The same page would be as large again.
        mib => Failure::Permanent(format!("the response is larger than {mib} MiB: {host}")),
    }
}

/// Explains in plain words why there is no response. The innermost cause is what actually went wrong.
fn failure(error: &(dyn StdError + 'static), host: &str) -> Failure {
    let innermost = clean(causes(error).last().unwrap_or(error).to_string());
    for cause in causes(error) {
        let io = cause.downcast_ref::<std::io::Error>();
        match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                return Failure::Permanent(format!("the certificate is from an unknown issuer: {host}"));
            }
            Some(rustls::Error::InvalidCertificate(why)) => {
                // The message may list thousands of names.
                let why = clean(why.to_string());
                return Failure::Permanent(format!("invalid certificate: {host} ({why})"));
            }
            Some(rustls::Error::InvalidMessage(_)) => {
                return Failure::Permanent(format!("the server does not speak TLS: {host}"));
            }
            _ => {}
        }
        match io.map(std::io::Error::kind) {
            Some(ErrorKind::ConnectionRefused) => {
                return Failure::Transient(format!("connection refused: {host}"));
            }
            Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted) => {
                return Failure::Transient(format!("connection reset: {host}"));
            }
            Some(ErrorKind::TimedOut) => {
                return Failure::Transient(format!("connecting timed out: {host}"));
            }
            Some(ErrorKind::UnexpectedEof) => {
                return Failure::Transient(format!("the response ended early: {host}"));
            }
            _ => {}
        }
        if cause.to_string() == "dns error" {
            return Failure::Transient(format!("host not found: {host} ({innermost})"));
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            if error.is_incomplete_message() {
                return Failure::Transient(format!("the response ended early: {host}"));
            }
            if error.is_body_write_aborted() || error.is_closed() || error.is_canceled() {
                return Failure::Transient(format!("connection closed: {host}"));
            }
            if error.is_parse() {
                return Failure::Transient(format!("the response is not HTTP: {host} ({innermost})"));
            }
        }
    }
    Failure::Transient(format!("no response from: {host} ({innermost})"))
}

/// Connects to a host, directly or, for https, through the proxy that the environment configures.
#[derive(Clone)]
struct Route {
    direct: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Route {
    fn new() -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        direct.set_connect_timeout(Some(CONNECT_TIMEOUT));
        direct.set_keepalive(Some(Duration::from_secs(30)));
        Self { direct, proxies: Arc::new(Matcher::from_env()) }
    }
}

impl Service<Uri> for Route {
    type Response = <HttpConnector as Service<Uri>>::Response;
    type Error = Box<dyn StdError + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let proxy = match uri.scheme_str() {
            Some("https") => self.proxies.intercept(&uri),
            _ => None,
        };
        let Some(proxy) = proxy else {
            let connecting = self.direct.call(uri);
            return Box::pin(async move { connecting.await.map_err(Into::into) });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        Box::pin(async move { tunnel.call(uri).await.map_err(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_parsed() {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Sun, 23 Nov 2025 12:34:56 GMT".parse().unwrap());
        let mut response = RawResponse { status: 200, headers, body: Vec::new() };
        assert_eq!(response.date(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_901_296)));

        response.headers.insert("date", "tomorrow".parse().unwrap());
        assert_eq!(response.date(), None);
    }

    #[test]
    fn each_message_of_a_cause_appears_once() {
        let inner = std::io::Error::other("the disk is full");
        let outer = std::io::Error::other(inner);
        assert_eq!(messages(&outer), "the disk is full");
    }

    #[test]
    fn a_bundle_without_certificates_is_an_error() {
        let path = std::env::temp_dir().join(format!("kinesis-reader-{}-empty.pem", std::process::id()));
        for (text, why) in
            [("", "it contains no certificate"), ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "")]
        {
            std::fs::write(&path, text).unwrap();
            let error = Http::new(Some(path.clone())).trust().unwrap_err();
            assert!(
                matches!(&error, Error::BadCertificates { path: at, why: text } if *at == path && text.contains(why)),
                "{error:?}"
            );
        }
        std::fs::remove_file(&path).unwrap();
        let error = Http::new(Some(path.clone())).trust().unwrap_err();
        assert!(matches!(error, Error::BadCertificates { .. }), "{error:?}");
        assert!(Http::new(None).trust().is_ok());
    }
}
