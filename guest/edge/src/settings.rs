//! The operator's settings. Each has one name, under which it is a variable in Spin and an environment variable
//! elsewhere.

use aws_credential_types::Credentials;

use crate::aws::Endpoint;
use crate::bindings::reading;
use crate::clock::YEAR_9999;
use crate::fetch::is_http;
use crate::setting_error::{SettingError, invalid};

/// The settings, parsed and checked.
pub(crate) struct Settings {
    pub(crate) source: reading::Source,
    /// The name of the stream.
    pub(crate) stream: String,
    pub(crate) start: reading::Start,
    /// Refuse to drain without a checkpoint.
    pub(crate) require_checkpoint: bool,
    pub(crate) recreated: reading::Recreated,
    pub(crate) kinesis: Endpoint,
    pub(crate) credentials: Credentials,
    /// Where to post batches. If it is absent, their lines are the answer.
    pub(crate) sink: Option<Sink>,
    /// Where to post batches that the sink refuses.
    pub(crate) dead_letters: Option<Sink>,
    /// How long the lease is held after each write, in milliseconds.
    pub(crate) lease_duration: u64,
    /// How long a sink may take to answer, in milliseconds.
    pub(crate) sink_timeout: u64,
    /// Read as fast as possible, which suits emulators.
    pub(crate) unpaced: bool,
    pub(crate) store: StoreSettings,
}

/// An address to post batches to.
pub(crate) struct Sink {
    pub(crate) url: http::Uri,
    /// The value of the `Authorization` header.
    pub(crate) authorization: Option<String>,
}

/// Where the lease and the checkpoint are kept.
pub(crate) struct StoreSettings {
    pub(crate) key: String,
    /// The label of the key-value store.
    #[cfg(feature = "keyvalue")]
    pub(crate) label: String,
    #[cfg(feature = "dynamodb")]
    pub(crate) table: String,
    #[cfg(feature = "dynamodb")]
    pub(crate) endpoint: Endpoint,
}

/// The longest stream name that `CreateStream` allows.
const STREAM_LENGTH_MAX: usize = 128;

/// The token that callers must send. It is checked before the other settings, so that only authorized callers see
/// errors in those.
pub(crate) fn token() -> Result<String, SettingError> {
    required("DRAIN_TOKEN", "set it to a secret, which callers send as `Authorization: Bearer …`")
}

impl Settings {
    pub(crate) fn load() -> Result<Settings, SettingError> {
        let stream = required("KINESIS_STREAM", "set it to the name or ARN of the stream")?;
        let name = stream.rsplit('/').next().unwrap_or_default();
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > STREAM_LENGTH_MAX || !name.bytes().all(is_allowed) {
            return Err(invalid("KINESIS_STREAM", &stream, "set it to the name or ARN of a stream"));
        }
        let arn = stream.starts_with("arn:").then(|| stream.split(':').nth(3)).flatten();
        let region = match setting("AWS_REGION")?.or_else(|| arn.map(Into::into)) {
            Some(region) => region,
            None => required("AWS_REGION", "set it to the region of the stream, as in eu-west-1")?,
        };
        let credentials = Credentials::new(
            required("AWS_ACCESS_KEY_ID", "set it to credentials that may read the stream")?,
            required("AWS_SECRET_ACCESS_KEY", "set it to credentials that may read the stream")?,
            setting("AWS_SESSION_TOKEN")?,
            None,
            "settings",
        );
        let seconds = |name, default: u64, max: u64| match setting(name)? {
            None => Ok(default * 1000),
            Some(text) => match text.parse() {
                Ok(n) if (1..=max).contains(&n) => Ok(n * 1000),
                _ => Err(invalid(name, &text, "set it to a whole number of seconds, from 1 to 3600")),
            },
        };
        Ok(Settings {
            kinesis: Endpoint::new("KINESIS_ENDPOINT_URL", "kinesis", &region, setting("KINESIS_ENDPOINT_URL")?)?,
            start: start(setting("KINESIS_START")?)?,
            require_checkpoint: choice("REQUIRE_CHECKPOINT", [("false", false), ("true", true)])?,
            recreated: choice(
                "KINESIS_RECREATED",
                [("refuse", reading::Recreated::Refuse), ("follow", reading::Recreated::Follow)],
            )?,
            sink: sink("SINK_URL", "SINK_AUTHORIZATION")?,
            dead_letters: sink("DEAD_LETTER_URL", "DEAD_LETTER_AUTHORIZATION")?,
            lease_duration: seconds("LEASE_SECONDS", 60, 3600)?,
            sink_timeout: seconds("SINK_TIMEOUT_SECONDS", 20, 3600)?,
            unpaced: choice("KINESIS_PACE", [("on", false), ("off", true)])?,
            store: StoreSettings {
                key: format!("kinesis-reader/{name}"),
                #[cfg(feature = "keyvalue")]
                label: setting("KEY_VALUE_STORE")?.unwrap_or_else(|| "default".into()),
                #[cfg(feature = "dynamodb")]
                table: setting("LEASE_TABLE")?.unwrap_or_else(|| "kinesis-reader".into()),
                #[cfg(feature = "dynamodb")]
                endpoint: Endpoint::new(
                    "DYNAMODB_ENDPOINT_URL",
                    "dynamodb",
                    &region,
                    setting("DYNAMODB_ENDPOINT_URL")?,
                )?,
            },
            stream: name.to_owned(),
            source: match arn {
                Some(_) => reading::Source::Arn(stream),
                None => reading::Source::Name(stream),
            },
            credentials,
        })
    }
}

fn required(name: &str, hint: &'static str) -> Result<String, SettingError> {
    setting(name)?.ok_or_else(|| SettingError { error: format!("{name} is not set"), hint })
}

/// Returns a setting: Spin's variable of this name in lower case, else the environment variable. An empty one counts as
/// not set.
fn setting(name: &str) -> Result<Option<String>, SettingError> {
    #[cfg(feature = "keyvalue")]
    match crate::bindings::wasi::config::store::get(&name.to_ascii_lowercase()) {
        Ok(Some(value)) if !value.is_empty() => return Ok(Some(value)),
        Ok(Some(_) | None) => {}
        Err(_) => {
            let error = format!("cannot read the variable: {}", name.to_ascii_lowercase());
            return Err(SettingError { error, hint: "check the host's log" });
        }
    }
    Ok(std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// A setting with two values, of which the first is the default.
fn choice<T: Copy>(name: &str, words: [(&'static str, T); 2]) -> Result<T, SettingError> {
    let text = setting(name)?;
    let chosen = words.iter().find(|(word, _)| text.as_deref().is_none_or(|text| text == *word));
    match (chosen, text) {
        (Some((_, value)), _) => Ok(*value),
        (None, text) => {
            let error = format!("{name} must be {} or {}: {}", words[0].0, words[1].0, text.unwrap_or_default());
            Err(SettingError { error, hint: "unset it to get the first of the two" })
        }
    }
}

fn start(text: Option<String>) -> Result<reading::Start, SettingError> {
    match text.as_deref() {
        None | Some("trim-horizon") => Ok(reading::Start::TrimHorizon),
        Some("latest") => Ok(reading::Start::Latest),
        Some(time) => match time.parse::<u64>() {
            Ok(time) if time <= YEAR_9999 => Ok(reading::Start::AtTimestamp(time)),
            Ok(_) => Err(invalid("KINESIS_START", time, "use milliseconds since 1970, up to the year 9999")),
            Err(_) => Err(invalid("KINESIS_START", time, "use trim-horizon, latest or milliseconds since 1970")),
        },
    }
}

fn sink(url: &str, authorization: &'static str) -> Result<Option<Sink>, SettingError> {
    let Some(text) = setting(url)? else { return Ok(None) };
    let authorization = match setting(authorization)? {
        // The message leaves out the value, which is a secret.
        Some(text) if !text.bytes().all(|b| matches!(b, b' '..=b'~')) => {
            let error = format!("{authorization} contains characters that are not allowed in a header");
            let hint = "set it to one line of ASCII, as in `Bearer …`, without a line break at the end";
            return Err(SettingError { error, hint });
        }
        text => text,
    };
    match text.parse::<http::Uri>() {
        Ok(url) if is_http(&url) => Ok(Some(Sink { url, authorization })),
        // The message leaves out the value, because a URL may contain a secret.
        _ => Err(SettingError {
            error: format!("{url} is not a valid URL"),
            hint: "use http://HOST/PATH or https://HOST/PATH; a user name and password belong in the header",
        }),
    }
}
