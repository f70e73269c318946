//! The flags as typed. [`plan`](super::plan) decides what they mean together.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args as ArgGroup, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::terminal;

/// Reads Amazon Kinesis streams into SQLite or files, each message exactly once
///
/// A run continues where the last one stopped, as messages and checkpoint are kept together.
#[derive(Debug, Parser)]
#[command(name = "kinesis-reader", version, max_term_width = 100, after_help = FOOT)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Log more to stderr: -v events, -vv each request, -vvv everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

const FOOT: &str = "\
Examples:
  kinesis-reader read orders
      everything in the stream into the table `orders` of orders.db; run it again for what is new
  kinesis-reader read orders --to ndjson:- --start '1h ago' | jq .
  kinesis-reader read orders --follow
  kinesis-reader show orders.db

Exit codes:
    0  reached its end
    1  failed
    2  usage error: an invalid flag, setting or saved state
    3  reached its end, but records had left the stream unread
  130  interrupted, after everything in flight was committed";

impl Args {
    /// The level up to which this program's own events are logged.
    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }
}

/// The text of a usage error. clap quotes arguments in it, which may contain passwords or escape sequences, so the text
/// is taken from parsing a cleaned command line.
pub(super) fn usage_error(error: clap::Error, line: &[OsString]) -> String {
    // This error quotes no argument.
    if error.kind() == ErrorKind::InvalidUtf8 {
        return error.render().to_string();
    }
    let cleaned = line.iter().map(|word| {
        let word = word.to_string_lossy();
        match word.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => {
                format!("{}={}", terminal::Given(flag), terminal::Given(value))
            }
            _ => terminal::Given(&word).to_string(),
        }
    });
    match Args::try_parse_from(cleaned) {
        Err(same) if same.kind() == error.kind() => same.render().to_string(),
        _ => "error: invalid command line".to_owned(),
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read a stream into a database, a file or stdout
    Read(Box<Read>),
    /// List the shards of a stream: lineage, open or closed, position in the checkpoint, lag
    Shards(Box<Shards>),
    /// Show the contents of a database: tables, row counts, the newest rows, the checkpoint
    Show(Show),
    /// Replay a recording made by `read --recording`, without network, and compare what the reader does
    Replay(Replay),
}

/// The flags of `read`.
#[derive(Debug, ArgGroup)]
#[command(after_help = READ_FOOT)]
pub struct Read {
    /// The stream's name or ARN
    #[arg(value_name = "STREAM|ARN")]
    pub stream: String,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub storage: Storage,

    /// Where the first run begins: trim-horizon (the oldest record), latest, a TIME, or a DURATION
    /// ago; later runs continue from the checkpoint
    #[arg(long, alias = "from", value_name = "START", default_value = "trim-horizon")]
    pub start: String,

    /// When to stop: caught-up (with what was in the stream at the start), a TIME of arrival, or forever
    #[arg(long, value_name = "END", default_value = "caught-up")]
    pub until: String,

    /// Keep reading new records, like --until forever
    #[arg(short, long, conflicts_with = "until")]
    pub follow: bool,

    /// Count as caught up within this DURATION of the tip [default: 0s]
    #[arg(long, value_name = "DURATION")]
    pub behind: Option<String>,

    /// Stop after exactly this many messages; the next run continues after them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_messages: Option<u64>,

    /// The number of records to request at a time, up to 10000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub page_records: Option<u32>,

    /// The share of Kinesis's limits on reading a shard (5 calls and 2 MiB a second, for all readers
    /// together) to use: a percentage, or off for emulators
    #[arg(long, value_name = "PERCENT|off", default_value = "80%")]
    pub pace: String,

    /// How often to look for new records in a shard that was read to its tip [default: 1s]
    #[arg(long, value_name = "DURATION")]
    pub idle_interval: Option<String>,

    /// Wire encoding
    #[arg(long, value_name = "WIRE", value_enum, default_value_t = Wire::Auto)]
    pub wire: Wire,

    /// The form of a message's data
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Payload::Merged)]
    pub payload: Payload,

    /// Deliver aggregated records of the Kinesis Producer Library as they are, not split into messages
    #[arg(long)]
    pub no_deaggregate: bool,

    /// How _kinesis_msg_id is made
    #[arg(long, value_name = "KIND", value_enum, default_value_t = MessageId::Sha256)]
    pub message_id: MessageId,

    /// Write messages whose data did not match --payload to this file too, each with the reason
    #[arg(long, alias = "bad-records", value_name = "FILE")]
    pub invalid_records: Option<PathBuf>,

    /// What to do if records left the stream unread
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnGap::Continue)]
    pub on_gap: OnGap,

    /// What to do if the stream was deleted and recreated since the last run
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Recreated::Refuse)]
    pub recreated: Recreated,

    /// Write the outcome to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Record the reader's inputs and outputs in this file, for `replay` and bug reports. A recording
    /// contains no credentials, but the stream's name and, unless redacted, the messages
    #[arg(long, alias = "trace", value_name = "FILE")]
    pub recording: Option<PathBuf>,

    /// What a recording contains of the messages
    #[arg(long, alias = "trace-payload", value_name = "WHAT", value_enum, default_value_t = RecordingPayload::Whole, requires = "recording")]
    pub recording_payload: RecordingPayload,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub aws: Aws,
}

const READ_FOOT: &str = "\
TIME is RFC 3339 (2025-11-23T12:00:00Z), a date (2025-11-23, from 00:00 UTC) or Unix seconds.
DURATION is 90s, 15m, 1h30m, 2d or PT1H; as a START it means that long ago, like `1h ago`.

SQLite commits messages and checkpoint in one transaction, and a file is truncated to what its
checkpoint covers, so each message is there exactly once. On stdout, messages may be repeated after
a crash.

Examples:
  kinesis-reader read orders
  kinesis-reader read orders --to ndjson:orders.ndjson --start 2025-11-23 --until 2025-11-24
  kinesis-reader read orders --to ndjson:- --state file:orders.state --follow
  kinesis-reader read arn:aws:kinesis:eu-central-1:123456789012:stream/orders --profile prod
  kinesis-reader read orders --endpoint-url http://localhost:4567 --pace off";

/// The flags of `shards`.
#[derive(Debug, ArgGroup)]
pub struct Shards {
    /// The stream's name or ARN
    #[arg(value_name = "STREAM|ARN")]
    pub stream: String,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub storage: Storage,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub aws: Aws,
}

/// The flags of `show`.
#[derive(Debug, ArgGroup)]
pub struct Show {
    /// The database that `read` wrote
    #[arg(value_name = "DATABASE")]
    pub database: PathBuf,
}

/// The flags of `replay`.
#[derive(Debug, ArgGroup)]
#[command(after_help = REPLAY_FOOT)]
pub struct Replay {
    /// The file that `read --recording` wrote
    #[arg(value_name = "FILE")]
    pub recording: PathBuf,

    /// Print only the last line
    #[arg(short, long)]
    pub quiet: bool,
}

const REPLAY_FOOT: &str = "\
A recording that was torn by a crash can be replayed up to that point.

Exit codes: 0 the same, 1 not the same (the first difference is printed), 2 not a recording";

/// The destination and the state.
#[derive(Debug, Default, ArgGroup)]
pub struct Storage {
    /// Where messages go: sqlite:PATH, ndjson:PATH, or ndjson:- for stdout [default: sqlite:STREAM.db]
    #[arg(long, value_name = "DESTINATION")]
    pub to: Option<String>,

    /// Where the checkpoint is kept: file:PATH [default: in the database, or in PATH.state beside the
    /// file; nowhere for stdout]
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
}

/// The stream's endpoint, and the credentials for it.
#[derive(Debug, Default, ArgGroup)]
#[command(next_help_heading = "AWS (defaults as for the AWS command line)")]
pub struct Aws {
    /// The region [default: from the ARN, AWS_REGION, AWS_DEFAULT_REGION or the profile]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,

    /// The profile to take credentials and settings from
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,

    /// The role to assume
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,

    /// Custom endpoint URL, such as that of an emulator or a VPC endpoint
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
}

/// The form of a message's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// The members of a JSON object, beside the envelope
    Merged,
    /// A JSON value under `data`
    Json,
    /// UTF-8 text under `data`
    Text,
    /// Any bytes as base64 under `data_base64`
    Base64,
}

/// What to do about a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnGap {
    /// Warn, read on from what is left, and exit with 3
    #[value(alias = "tell")]
    Continue,
    /// Stop before it and exit with 1; the next run finds it again
    Fail,
}

/// What to do about a recreated stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Recreated {
    /// Read nothing and exit with 2
    Refuse,
    /// Read the new stream from its oldest record; what was left of the old one counts as a gap
    Follow,
}

/// How a message's identifier is made. Either is the same each time a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MessageId {
    /// SHA-256 of shard, sequence number and subsequence number
    Sha256,
    /// As dlt's Kinesis source makes it, so that rows from both sources match
    Dlt,
}

/// What a recording contains of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RecordingPayload {
    /// Everything
    Whole,
    /// No data and no partition keys: both are overwritten in the same length
    None,
}

/// Wire encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    /// CBOR at AWS's own endpoints, like the AWS SDK for Java, and JSON elsewhere, as not all emulators accept CBOR
    Auto,
    /// JSON
    Json,
    /// CBOR, which is smaller and faster to parse
    Cbor,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_stream_alone_is_enough() {
        let Command::Read(read) = parse("read orders").unwrap().command else { panic!("not a read") };
        assert_eq!(
            (read.stream.as_str(), read.start.as_str(), read.until.as_str()),
            ("orders", "trim-horizon", "caught-up")
        );
        assert_eq!((read.pace.as_str(), read.payload, read.message_id), ("80%", Payload::Merged, MessageId::Sha256));
        assert_eq!(read.wire, Wire::Auto);
        assert!(read.storage.to.is_none() && read.behind.is_none() && !read.follow);
    }

    #[test]
    fn usage_errors_name_the_alternatives() {
        for (line, kind, expected) in [
            ("read", ErrorKind::MissingRequiredArgument, "STREAM"),
            ("read orders --paylod json", ErrorKind::UnknownArgument, "--payload"),
            ("read orders --payload xml", ErrorKind::InvalidValue, "merged, json, text, base64"),
            ("read orders --message-id md5", ErrorKind::InvalidValue, "sha256, dlt"),
            ("read orders --on-gap stop", ErrorKind::InvalidValue, "continue, fail"),
            ("read orders --recreated no", ErrorKind::InvalidValue, "refuse, follow"),
            ("read orders --page-records 10001", ErrorKind::ValueValidation, "1..=10000"),
            ("read orders --max-messages 0", ErrorKind::ValueValidation, "0"),
            ("read orders --follow --until caught-up", ErrorKind::ArgumentConflict, "--until"),
            ("raed orders", ErrorKind::InvalidSubcommand, "read"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line}");
            assert!(error.to_string().contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn each_v_raises_the_log_level() {
        for (line, level) in [
            ("show a.db", LevelFilter::WARN),
            ("show a.db -v", LevelFilter::INFO),
            ("-vv show a.db", LevelFilter::DEBUG),
            ("show -vvvv a.db", LevelFilter::TRACE),
        ] {
            assert_eq!(parse(line).unwrap().log_level(), level, "{line}");
        }
    }

    #[test]
    fn the_help_names_every_exit_code_and_flag() {
        let help = Args::command().render_long_help().to_string();
        for code in ["0", "1", "2", "3", "130"] {
            assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{code}  "))), "{code}: {help}");
        }
        let read = Args::command().find_subcommand_mut("read").unwrap().render_long_help().to_string();
        for flag in [
            "--to",
            "--state",
            "--start",
            "--until",
            "--follow",
            "--behind",
            "--max-messages",
            "--page-records",
            "--pace",
            "--idle-interval",
            "--wire",
            "--payload",
            "--no-deaggregate",
            "--message-id",
            "--region",
            "--profile",
            "--role-arn",
            "--endpoint-url",
            "--invalid-records",
            "--on-gap",
            "--recreated",
            "--report",
            "--recording",
            "--recording-payload",
        ] {
            assert!(read.contains(flag), "{flag}");
        }
    }

    #[test]
    fn usage_errors_show_no_password_and_no_escape_sequence() {
        for words in [
            &["read", "orders", "http://user:SECRET@host"][..],
            &["read", "orders", "--wire", "http://user:SECRET@host"],
            &["read", "orders", "--wire=user:SECRET@host"],
            &["read", "orders", "--wire=http://user:SE CRET@host"],
            &["read", "orders", "--endpont-url=http://user:SECRET@host"],
            &["read", "orders", "--page-records", "user:SECRET@host"],
            &["user:SECRET@host"],
            &["read", "orders", "-x=user:SECRET@host"],
            &["read", "orders", "--wire", "\u{1b}[2J\nerror: SECRET"],
            &["read", "orders", "--\u{202e}=x"],
            &["\u{9b}31m\r\n"],
        ] {
            let line: Vec<OsString> =
                std::iter::once("kinesis-reader").chain(words.iter().copied()).map(Into::into).collect();
            let error = Args::try_parse_from(&line).expect_err("the command line is invalid");
            let text = usage_error(error, &line);
            assert!(!text.contains("SECRET@") && !text.contains("CRET@"), "{text}");
            assert!(
                text.lines().all(|line| terminal::clean(line) == line && !line.starts_with("error: SECRET")),
                "{text}"
            );
            assert!(text.starts_with("error: ") && text.contains("--help"), "{text}");
        }
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("kinesis-reader").chain(line.split(' ')))
    }
}
