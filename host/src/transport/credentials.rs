//! Finds the credentials to sign with, and the endpoint that the environment or the profile configures.
//!
//! aws-config looks for both in the same places as every AWS tool: environment, profile (keys, SSO, a process, a role),
//! web identity, container, instance. Its requests go through our own HTTP client, so that there is only one TLS stack.
//! If [`Settings`] name a profile, keys in the environment are ignored, as by the AWS command line. The instance
//! metadata service is asked for credentials but not for the region, which would cost time on every machine that is not
//! an instance.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_config::BehaviorVersion;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::client::error::ImdsError;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use aws_types::origin::Origin;
use aws_types::os_shim_internal::{Env, Fs};
use aws_types::region::Region;
use aws_types::service_config::ServiceConfigKey;
use bytes::Bytes;
use http_body_util::Full;
use tokio::sync::Mutex;

use super::endpoint::{Endpoint, Known};
use super::error::Error;
use super::http::{Http, SMALL_RESPONSE_MAX, causes, messages};
use super::request::Failure;
use super::settings::Settings;

/// The credential cache, which keeps credentials until shortly before they expire. There is one fetch at a time, and
/// all requests that need credentials wait for it.
pub(super) struct Credentials {
    provider: SharedCredentialsProvider,
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    credentials: aws_credential_types::Credentials,
    fetched: Instant,
}

/// Instances and containers provide new credentials this long before the old ones expire.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// If credentials are about to expire when they are fetched, the next fetch is not before this time has passed.
const RENEW_PAUSE: Duration = Duration::from_secs(30);

impl Credentials {
    pub(super) fn new(provider: impl ProvideCredentials + 'static) -> Self {
        Self { provider: SharedCredentialsProvider::new(provider), cached: Mutex::new(None) }
    }

    /// Credentials to sign with.
    pub(super) async fn current(&self) -> Result<aws_credential_types::Credentials, Error> {
        let mut cached = self.cached.lock().await;
        let Some(old) = cached.as_mut() else {
            return self.fetch(&mut cached).await;
        };
        let left = match old.credentials.expiry() {
            Some(expiry) => expiry.duration_since(SystemTime::now()).unwrap_or_default(),
            None => Duration::MAX,
        };
        if left > RENEW_BEFORE || (!left.is_zero() && old.fetched.elapsed() < RENEW_PAUSE) {
            return Ok(old.credentials.clone());
        }
        let still_valid = old.credentials.clone();
        old.fetched = Instant::now();
        match self.fetch(&mut cached).await {
            Err(_) if !left.is_zero() => Ok(still_valid),
            result => result,
        }
    }

    /// Returns other credentials than these, which the service has refused. `None` if there are no others.
    pub(super) async fn replace(
        &self,
        refused: &aws_credential_types::Credentials,
    ) -> Result<Option<aws_credential_types::Credentials>, Error> {
        let mut cached = self.cached.lock().await;
        if let Some(cached) = cached.as_ref().filter(|cached| !is_same(&cached.credentials, refused)) {
            return Ok(Some(cached.credentials.clone()));
        }
        let fetched = self.fetch(&mut cached).await?;
        Ok((!is_same(&fetched, refused)).then_some(fetched))
    }

    async fn fetch(&self, cached: &mut Option<Cached>) -> Result<aws_credential_types::Credentials, Error> {
        let credentials = self.provider.provide_credentials().await.map_err(|error| {
            // The message of the outermost error says only that there is an error.
            let why = describe(error.source().unwrap_or(&error));
            match error {
                CredentialsError::CredentialsNotLoaded(_) => Error::NoCredentials,
                _ if is_no_instance(&error) => Error::NoCredentials,
                CredentialsError::InvalidConfiguration(_) => Error::Credentials { why, transient: false },
                _ => Error::Credentials { why, transient: true },
            }
        })?;
        *cached = Some(Cached { credentials: credentials.clone(), fetched: Instant::now() });
        Ok(credentials)
    }
}

/// Describes why there are no credentials. The output of a process or the response of a service can contain credentials
/// even if it failed, so whatever looks like credentials is left out.
fn describe(error: &(dyn StdError + 'static)) -> String {
    for cause in causes(error) {
        if let Some(ImdsError::ErrorResponse(context)) = cause.downcast_ref() {
            return format!(
                "the instance metadata service answered with status {}",
                context.response().status().as_u16()
            );
        }
    }
    let text = messages(error);
    let (what, details) = match text.split_once("external process exited with code ") {
        Some((_, rest)) => {
            let (status, stderr) = rest.split_once(". Stderr:").unwrap_or((rest, ""));
            (format!("the credential process failed: {status}"), stderr.trim_start())
        }
        None => (String::new(), text.as_str()),
    };
    let details = if names_a_secret(details) {
        "its output is not shown because it may contain credentials".to_owned()
    } else {
        without_keys(details)
    };
    [what, details].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

/// Whether a text contains the name of a credential, as JSON, profiles and environments have it.
fn names_a_secret(text: &str) -> bool {
    let letters: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    let letters = letters.to_ascii_lowercase();
    ["secretaccesskey", "secretkey", "sessiontoken", "securitytoken", "privatekey", "password"]
        .iter()
        .any(|name| letters.contains(name))
}

/// Hides what looks like a key: a secret access key is 40 characters of base64, a session token is longer.
fn without_keys(text: &str) -> String {
    const KEY_LENGTH: usize = 40;
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let is_key = |run: &str| {
        run.len() >= KEY_LENGTH
            && run.bytes().any(|byte| byte.is_ascii_digit())
            && run.bytes().any(|byte| byte.is_ascii_uppercase())
            && run.bytes().any(|byte| byte.is_ascii_lowercase())
    };
    let runs = text.split_inclusive(|c| !is_of_key(c)).map(|piece| {
        let run = piece.trim_end_matches(|c| !is_of_key(c));
        if is_key(run) { format!("***{}", &piece[run.len()..]) } else { piece.to_owned() }
    });
    runs.collect()
}

/// Whether the instance metadata service, which is asked last, did not even return a token. Then this machine is not an
/// instance, or the service is blocked.
fn is_no_instance(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| matches!(cause.downcast_ref(), Some(ImdsError::FailedToLoadToken(_))))
}

fn is_same(a: &aws_credential_types::Credentials, b: &aws_credential_types::Credentials) -> bool {
    a.access_key_id() == b.access_key_id()
        && a.secret_access_key() == b.secret_access_key()
        && a.session_token() == b.session_token()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Finds endpoint and credentials. Credentials are not fetched yet, and nothing is sent.
pub(super) async fn find(settings: &Settings, http: &Arc<Http>) -> Result<(Endpoint, Credentials), Error> {
    check_profile(settings.profile.as_deref()).await?;
    let base = ProviderConfig::default()
        .with_http_client(SharedHttp(http.clone()))
        .with_behavior_version(Some(BehaviorVersion::latest()));
    let region = region(settings, &base).await;

    let mut loader =
        aws_config::defaults(BehaviorVersion::latest()).http_client(SharedHttp(http.clone())).region(region.clone());
    if let Some(profile) = &settings.profile {
        let config = base.with_region(region);
        loader = loader.profile_name(profile).credentials_provider(named_profile(profile, &config));
    }
    let config = loader.load().await;
    let endpoint = Endpoint::resolve(Known {
        region: config.region().map(|region| region.as_ref().to_owned()),
        url: settings.endpoint_url.clone().or_else(|| configured_url(&config)),
        fips: config.use_fips().unwrap_or_default(),
        dual_stack: config.use_dual_stack().unwrap_or_default(),
    })?;

    let provider = config.credentials_provider().ok_or(Error::NoCredentials)?;
    let provider = match &settings.role_arn {
        None => provider,
        Some(role) => {
            let role = AssumeRoleProvider::builder(role)
                .session_name("kinesis-reader")
                .configure(&config)
                .build_from_provider(provider);
            SharedCredentialsProvider::new(role.await)
        }
    };
    Ok((endpoint, Credentials::new(provider)))
}

/// Fails if the profile that was chosen, by name or by `AWS_PROFILE`, does not exist.
async fn check_profile(name: Option<&str>) -> Result<(), Error> {
    let files = Default::default();
    let profiles = aws_config::profile::load(&Fs::real(), &Env::real(), &files, None)
        .await
        .map_err(|error| Error::BadProfiles(messages(&error)))?;
    let name = name.unwrap_or(profiles.selected_profile());
    if name == "default" || profiles.get_profile(name).is_some() {
        return Ok(());
    }
    Err(Error::UnknownProfile(name.to_owned()))
}

async fn region(settings: &Settings, base: &ProviderConfig) -> Option<Region> {
    if let Some(region) = &settings.region {
        return Some(Region::new(region.clone()));
    }
    let mut profile = ProfileFileRegionProvider::builder().configure(base);
    if let Some(name) = &settings.profile {
        profile = profile.profile_name(name);
    }
    RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new()).or_else(profile.build()).region().await
}

/// The default chain without the environment, as a profile that is chosen by name takes precedence over it.
fn named_profile(name: &str, config: &ProviderConfig) -> CredentialsProviderChain {
    let profile = ProfileFileCredentialsProvider::builder().profile_name(name).configure(config);
    CredentialsProviderChain::first_try("Profile", profile.build())
        .or_else("EcsContainer", EcsCredentialsProvider::builder().configure(config).build())
        .or_else("Ec2InstanceMetadata", ImdsCredentialsProvider::builder().configure(config).build())
}

/// The custom endpoint URL that is configured. AWS's order of precedence is: the environment variable for Kinesis, the
/// one for all services, the profile's section for Kinesis, the profile.
fn configured_url(config: &SdkConfig) -> Option<String> {
    let service = |profile_key| {
        let key = ServiceConfigKey::builder()
            .service_id("kinesis")
            .env("AWS_ENDPOINT_URL")
            .profile(profile_key)
            .build()
            .ok()?;
        config.service_config()?.load_config(key)
    };
    let general = || config.endpoint_url().map(str::to_owned);
    let in_environment = config.get_origin("endpoint_url") == Origin::shared_environment_variable();
    // A file cannot contain a key with an empty name, so this looks only at the environment.
    let service_in_environment = service("");
    match service_in_environment {
        Some(url) => Some(url),
        None if in_environment => general(),
        None => service("endpoint_url").or_else(general),
    }
}

/// Our HTTP client, for aws-config's requests to STS, SSO, the container agent and the instance metadata service.
#[derive(Clone)]
struct SharedHttp(Arc<Http>);

impl HttpClient for SharedHttp {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let connect = settings.connect_timeout().unwrap_or(Duration::from_secs(10));
        let read = settings.read_timeout().unwrap_or(Duration::from_secs(30));
        SharedHttpConnector::new(Connector { http: self.0.clone(), timeout: connect + read })
    }
}

impl fmt::Debug for SharedHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedHttp")
    }
}

struct Connector {
    http: Arc<Http>,
    timeout: Duration,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (http, timeout) = (self.http.clone(), self.timeout);
        HttpConnectorFuture::new(async move {
            let request = to_http(request)?;
            match tokio::time::timeout(timeout, http.send(request, SMALL_RESPONSE_MAX)).await {
                Err(elapsed) => Err(ConnectorError::timeout(elapsed.into())),
                Ok(Err(Failure::Transient(why))) => Err(ConnectorError::io(why.into())),
                Ok(Err(Failure::Permanent(why))) => Err(ConnectorError::other(why.into(), None)),
                Ok(Ok(raw)) => {
                    let status = raw.status.try_into().map_err(user)?;
                    let mut response = HttpResponse::new(status, SdkBody::from(raw.body));
                    for (name, value) in &raw.headers {
                        if let Ok(value) = value.to_str() {
                            response
                                .headers_mut()
                                .try_append(name.as_str().to_owned(), value.to_owned())
                                .map_err(user)?;
                        }
                    }
                    Ok(response)
                }
            }
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

fn to_http(request: HttpRequest) -> Result<http::Request<Full<Bytes>>, ConnectorError> {
    let body = request.body().bytes().ok_or_else(|| user("a streaming body"))?;
    let mut builder = http::Request::builder().method(request.method()).uri(request.uri());
    for (name, value) in request.headers() {
        builder = builder.header(name, value);
    }
    builder.body(Full::new(Bytes::copy_from_slice(body))).map_err(user)
}

fn user(error: impl Into<Box<dyn StdError + Send + Sync>>) -> ConnectorError {
    ConnectorError::user(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(text: &str) -> String {
        describe(&std::io::Error::other(text))
    }

    #[test]
    fn the_output_of_a_process_is_shown_without_credentials() {
        let failed = |stderr: &str| {
            description(&format!(
                "Error retrieving credentials: external process exited with code exit status: 3. Stderr: {stderr}"
            ))
        };
        assert_eq!(
            failed("the token is expired:\nrun `sso login`\n"),
            "the credential process failed: exit status: 3: the token is expired: run `sso login`"
        );
        assert_eq!(failed(""), "the credential process failed: exit status: 3");
        for secret in [
            r#"{"SecretAccessKey":"marked"}"#,
            r#"{"secret-access-key" : "marked"}"#,
            "aws_secret_access_key = marked",
            "export AWS_SESSION_TOKEN=marked",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "key 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' refused",
            "password: marked",
        ] {
            let text = failed(secret);
            assert!(!text.contains("marked") && !text.contains("wJalr"), "{text}");
            assert!(text.starts_with("the credential process failed: exit status: 3: "), "{text}");
        }
    }

    #[test]
    fn text_without_credentials_is_shown_unchanged() {
        for text in [
            "User: arn:aws:sts::123456789012:assumed-role/Developer/someone@example.com is not authorized",
            "no such file: /home/someone/.aws/sso/cache/2ed7a1b9c3d4e5f60718293a4b5c6d7e8f901234.json",
            "request 2f4b1c9e-8d7a-4c3b-9e2f-1a0b9c8d7e6f was refused",
        ] {
            assert_eq!(description(text), text);
        }
    }
}
