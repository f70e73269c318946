//! What the operator sets: in Spin as variables, elsewhere as environment variables, under one name each.

use aws_credential_types::Credentials;

use crate::aws::Endpoint;
use crate::clock::YEAR_9999;
use crate::reading;

/// The settings, made out and checked.
pub(crate) struct Settings {
    pub(crate) source: reading::Source,
    /// Its name.
    pub(crate) stream: String,
    pub(crate) start: reading::Start,
    /// Without a checkpoint nothing is drained.
    pub(crate) require_checkpoint: bool,
    /// What to do where the stream was deleted and made again.
    pub(crate) recreated: reading::Recreated,
    pub(crate) kinesis: Endpoint,
    pub(crate) credentials: Credentials,
    /// Where batches are posted. None: they are the answer.
    pub(crate) sink: Option<Sink>,
    /// Where batches go that the sink refuses.
    pub(crate) dead_letters: Option<Sink>,
    /// How long the lease is from each write on, in milliseconds.
    pub(crate) lease: u64,
    /// How long a sink may take to answer, in milliseconds.
    pub(crate) sink_timeout: u64,
    /// No pace is kept, which suits emulators.
    pub(crate) unpaced: bool,
    pub(crate) store: StoreSettings,
}

/// Where batches are posted.
pub(crate) struct Sink {
    pub(crate) url: http::Uri,
    /// The `Authorization` header.
    pub(crate) authorization: Option<String>,
}

/// Where lease and checkpoint are.
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

/// A setting at fault, in words.
pub(crate) struct Fault {
    pub(crate) error: String,
    pub(crate) hint: &'static str,
}

/// The longest name of a stream, by `CreateStream`.
const STREAM_LENGTH_MAX: usize = 128;

/// What a caller must show. It is looked for before all else, so that nobody else is told of the rest.
pub(crate) fn token() -> Result<String, Fault> {
    need("DRAIN_TOKEN", "a secret that callers show as `Authorization: Bearer …`")
}

impl Settings {
    pub(crate) fn find() -> Result<Settings, Fault> {
        let stream = need("KINESIS_STREAM", "the name or the ARN of the stream")?;
        let name = stream.rsplit('/').next().unwrap_or_default();
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > STREAM_LENGTH_MAX || !name.bytes().all(fits) {
            return Err(fault("KINESIS_STREAM", &stream, "the name or the ARN of a stream"));
        }
        let arn = stream.starts_with("arn:").then(|| stream.split(':').nth(3)).flatten();
        let region = match setting("AWS_REGION")?.or_else(|| arn.map(Into::into)) {
            Some(region) => region,
            None => need("AWS_REGION", "the region of the stream, as in eu-west-1")?,
        };
        let credentials = Credentials::new(
            need("AWS_ACCESS_KEY_ID", "credentials that may read the stream")?,
            need("AWS_SECRET_ACCESS_KEY", "credentials that may read the stream")?,
            setting("AWS_SESSION_TOKEN")?,
            None,
            "settings",
        );
        let seconds = |name, default: u64, most: u64| match setting(name)? {
            None => Ok(default * 1000),
            Some(text) => match text.parse() {
                Ok(n) if (1..=most).contains(&n) => Ok(n * 1000),
                _ => Err(fault(name, &text, "a whole number of seconds, at most an hour")),
            },
        };
        Ok(Settings {
            kinesis: Endpoint::find("KINESIS_ENDPOINT_URL", "kinesis", &region, setting("KINESIS_ENDPOINT_URL")?)?,
            start: start(setting("KINESIS_START")?)?,
            require_checkpoint: choice("REQUIRE_CHECKPOINT", [("false", false), ("true", true)])?,
            recreated: choice(
                "KINESIS_RECREATED",
                [("refuse", reading::Recreated::Refuse), ("follow", reading::Recreated::Follow)],
            )?,
            sink: sink("SINK_URL", "SINK_AUTHORIZATION")?,
            dead_letters: sink("DEAD_LETTER_URL", "DEAD_LETTER_AUTHORIZATION")?,
            lease: seconds("LEASE_SECONDS", 60, 3600)?,
            sink_timeout: seconds("SINK_TIMEOUT_SECONDS", 20, 3600)?,
            unpaced: choice("KINESIS_PACE", [("on", false), ("off", true)])?,
            store: StoreSettings {
                key: format!("kinesis-reader/{name}"),
                #[cfg(feature = "keyvalue")]
                label: setting("KEY_VALUE_STORE")?.unwrap_or_else(|| "default".into()),
                #[cfg(feature = "dynamodb")]
                table: setting("LEASE_TABLE")?.unwrap_or_else(|| "kinesis-reader".into()),
                #[cfg(feature = "dynamodb")]
                endpoint: Endpoint::find("DYNAMODB_ENDPOINT_URL", "dynamodb", &region, setting("DYNAMODB_ENDPOINT_URL")?)?,
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

/// Which setting is wrong, what it is, and what it should be.
pub(crate) fn fault(name: &str, value: &str, hint: &'static str) -> Fault {
    Fault { error: format!("{name} is not set right: {value}"), hint }
}

fn need(name: &str, hint: &'static str) -> Result<String, Fault> {
    setting(name)?.ok_or_else(|| Fault { error: format!("{name} is not set"), hint })
}

/// A setting: Spin's variable of this name in small letters, or the environment's. What is empty is not set.
fn setting(name: &str) -> Result<Option<String>, Fault> {
    #[cfg(feature = "keyvalue")]
    match crate::wasi::config::store::get(&name.to_ascii_lowercase()) {
        Ok(Some(value)) if !value.is_empty() => return Ok(Some(value)),
        Ok(Some(_) | None) => {}
        Err(_) => {
            let error = format!("the variable {} cannot be read", name.to_ascii_lowercase());
            return Err(Fault { error, hint: "see the host's log" });
        }
    }
    Ok(std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// One of two words. The first is the default.
fn choice<T: Copy>(name: &str, words: [(&'static str, T); 2]) -> Result<T, Fault> {
    let text = setting(name)?;
    let chosen = words.iter().find(|(word, _)| text.as_deref().is_none_or(|text| text == *word));
    match (chosen, text) {
        (Some((_, value)), _) => Ok(*value),
        (None, text) => {
            let error = format!("{name} is neither {} nor {}: {}", words[0].0, words[1].0, text.unwrap_or_default());
            Err(Fault { error, hint: "leave it out for the first of the two" })
        }
    }
}

fn start(text: Option<String>) -> Result<reading::Start, Fault> {
    match text.as_deref() {
        None | Some("trim-horizon") => Ok(reading::Start::TrimHorizon),
        Some("latest") => Ok(reading::Start::Latest),
        Some(time) => match time.parse::<u64>() {
            Ok(time) if time <= YEAR_9999 => Ok(reading::Start::AtTimestamp(time)),
            Ok(_) => Err(fault("KINESIS_START", time, "milliseconds since 1970, and no time after the year 9999")),
            Err(_) => Err(fault("KINESIS_START", time, "trim-horizon, latest, or milliseconds since 1970")),
        },
    }
}

fn sink(url: &str, authorization: &'static str) -> Result<Option<Sink>, Fault> {
    let Some(text) = setting(url)? else { return Ok(None) };
    let authorization = match setting(authorization)? {
        // Not the value: it is a secret.
        Some(text) if !text.bytes().all(|b| matches!(b, b' '..=b'~')) => {
            let error = format!("{authorization} holds what no header can hold");
            return Err(Fault { error, hint: "one line of ASCII, as in `Bearer …`; a line break at its end?" });
        }
        text => text,
    };
    match text.parse::<http::Uri>() {
        Ok(url) if is_http(&url) => Ok(Some(Sink { url, authorization })),
        // Not the value: a URL may hold a secret.
        _ => Err(Fault {
            error: format!("{url} is not a URL"),
            hint: "http://HOST/PATH or https://HOST/PATH, without a user or a password: those go into the header",
        }),
    }
}

/// Whether requests can go there. A user and a password in a URL are not sent by any host, and are shown by some.
pub(crate) fn is_http(url: &http::Uri) -> bool {
    matches!(url.scheme_str(), Some("http" | "https"))
        && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
}
