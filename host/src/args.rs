//! The flags as typed. What they mean together is decided in [`plan`](crate::plan).

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args as ArgGroup, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::destination::stream_error;
use crate::error::{Error, Exit};
use crate::{recording, run, terminal};

/// Reads Amazon Kinesis streams into SQLite or files, each message exactly once
///
/// A run goes on where the last one stopped: what was read, and how far, is kept together.
#[derive(Debug, Parser)]
#[command(name = "kinesis-reader", version, max_term_width = 100, after_help = FOOT)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// Say more on stderr: -v what happens, -vv each request, -vvv all
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

const FOOT: &str = "\
Examples:
  kinesis-reader read orders
      everything the stream holds into the table `orders` of orders.db; run again for what is new
  kinesis-reader read orders --to ndjson:- --start '1h ago' | jq .
  kinesis-reader read orders --follow
  kinesis-reader show orders.db

Exit codes:
    0  reached its end
    1  failed
    2  asked wrongly: a flag or a setting
    3  reached its end, but records had left the stream unread
  130  interrupted, after what was under way had been made safe";

impl Args {
    /// Parses the command line, which starts with the program's name. Prints help, version or a usage error itself, and
    /// returns how the program ends then.
    pub fn from_command_line(line: impl IntoIterator<Item = OsString>) -> Result<Args, Exit> {
        let line: Vec<OsString> = line.into_iter().collect();
        Args::try_parse_from(&line).map_err(|error| {
            if !error.use_stderr() {
                // Help or version. A closed stdout is no error, a full one is.
                return match error.print() {
                    Ok(()) => Exit::Reached,
                    Err(error) => {
                        let error = Error::Destination(stream_error(error));
                        run::tell(&error);
                        error.exit()
                    }
                };
            }
            complaint(error, &line).lines().for_each(terminal::say);
            Exit::Usage
        })
    }

    /// What to log. Only this program's own events may be shown: those of libraries could hold what is
    /// nobody else's business.
    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::WARN,
            1 => LevelFilter::INFO,
            2 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        }
    }
}

/// The text of a usage error. clap quotes arguments in it, which may hold passwords or escape sequences, so it is made to
/// parse a cleaned command line.
fn complaint(error: clap::Error, line: &[OsString]) -> String {
    // This one quotes no argument.
    if error.kind() == ErrorKind::InvalidUtf8 {
        return error.render().to_string();
    }
    let shown = line.iter().map(|word| {
        let word = word.to_string_lossy();
        match word.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => {
                format!("{}={}", terminal::Given(flag), terminal::Given(value))
            }
            _ => terminal::Given(&word).to_string(),
        }
    });
    match Args::try_parse_from(shown) {
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
    /// Show what a database holds: tables, counts, the newest rows, the checkpoint
    Show(Show),
    /// Play what `read --recording` kept again, without network, and see whether the reader does the same
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
    pub kept: Kept,

    /// Where the first run begins; later runs go on from the checkpoint: trim-horizon (the oldest
    /// record there is), latest, a TIME, or a DURATION ago
    #[arg(long, alias = "from", value_name = "START", default_value = "trim-horizon")]
    pub start: String,

    /// When to stop: caught-up (with what the stream held at the start), a TIME of arrival, or forever
    #[arg(long, value_name = "END", default_value = "caught-up")]
    pub until: String,

    /// Go on reading what arrives, as --until forever
    #[arg(short, long, conflicts_with = "until")]
    pub follow: bool,

    /// Count as caught up when no further behind than this DURATION [default: 0s]
    #[arg(long, value_name = "DURATION")]
    pub behind: Option<String>,

    /// Stop after exactly this many messages; the next run goes on behind them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_messages: Option<u64>,

    /// Records to ask for at a time, up to 10000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub page_records: Option<u32>,

    /// The share of what Kinesis allows to all readers of a shard (5 calls and 2 MiB a second) that
    /// this one may use: a percentage, or off for emulators
    #[arg(long, value_name = "PERCENT|off", default_value = "100%")]
    pub pace: String,

    /// How Kinesis is spoken to
    #[arg(long, value_name = "WIRE", value_enum, default_value_t = Wire::Auto)]
    pub wire: Wire,

    /// How a message's data appears
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Payload::Merged)]
    pub payload: Payload,

    /// Take records that the Kinesis Producer Library aggregated as they are, not apart
    #[arg(long)]
    pub no_deaggregate: bool,

    /// How _kinesis_msg_id is made
    #[arg(long, value_name = "KIND", value_enum, default_value_t = MessageId::Sha256)]
    pub message_id: MessageId,

    /// Write messages that are not as --payload asks to this file too, as lines with the reason
    #[arg(long, alias = "bad-records", value_name = "FILE")]
    pub invalid_records: Option<PathBuf>,

    /// What to do where records have left the stream unread
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnGap::Continue)]
    pub on_gap: OnGap,

    /// What to do where the stream was deleted and made again since the last run
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Recreated::Refuse)]
    pub recreated: Recreated,

    /// Write the outcome to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Keep what the reader is told and what it answers in this file, for `replay` and bug reports.
    /// It holds no credentials, but the stream's name and, unless blanked, the messages
    #[arg(long, alias = "trace", value_name = "FILE")]
    pub recording: Option<PathBuf>,

    /// What a recording keeps of the messages
    #[arg(long, alias = "trace-payload", value_name = "WHAT", value_enum, default_value_t = recording::Payload::Whole, requires = "recording")]
    pub recording_payload: recording::Payload,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub aws: Aws,
}

const READ_FOOT: &str = "\
TIME is RFC 3339 (2025-11-23T12:00:00Z), a date (2025-11-23, from 00:00 UTC) or Unix seconds.
DURATION is 90s, 15m, 1h30m, 2d or PT1H; as a START it means that long ago, as does `1h ago`.

Messages and checkpoint go into SQLite in one transaction, and a file is cut to what its checkpoint
holds: each message is there exactly once. On stdout it is there at least once.

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
    pub kept: Kept,

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
A recording that a crash has torn can be played up to there.

Exit codes: 0 the same, 1 not the same (the first difference is printed), 2 not a recording";

/// Where messages and checkpoint are.
#[derive(Debug, Default, ArgGroup)]
pub struct Kept {
    /// Where messages go: sqlite:PATH, ndjson:PATH, or ndjson:- for stdout [default: sqlite:STREAM.db]
    #[arg(long, value_name = "DESTINATION")]
    pub to: Option<String>,

    /// Where the checkpoint is kept: file:PATH [default: in the database, or beside the file as
    /// PATH.state; for stdout nowhere]
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
}

/// How to reach AWS.
#[derive(Debug, Default, ArgGroup)]
#[command(next_help_heading = "AWS, found as the AWS command line finds it where left out")]
pub struct Aws {
    /// The region [default: that of the ARN, AWS_REGION, AWS_DEFAULT_REGION, the profile's]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,

    /// The profile to take credentials and settings from
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,

    /// A role to assume
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,

    /// The URL of another Kinesis, as of an emulator or a VPC endpoint
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
}

/// How a message's data appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// The members of a JSON object beside the envelope
    Merged,
    /// A JSON value under `data`
    Json,
    /// UTF-8 text under `data`
    Text,
    /// Any bytes as base64 under `data_base64`
    Base64,
}

/// What follows from a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnGap {
    /// Say which, read on from what is left, and exit with 3
    #[value(alias = "tell")]
    Continue,
    /// Exit with 1 and stay before it, so that the next run finds it again
    Fail,
}

/// What to do with a stream that was made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Recreated {
    /// Read nothing and exit with 2
    Refuse,
    /// Read the new stream from its oldest record; what was left of the old one is a gap
    Follow,
}

/// How a message's identifier is made. Both are equal each time a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MessageId {
    /// SHA-256 over shard, sequence number and subsequence
    Sha256,
    /// As dlt's Kinesis source makes it, so that rows of both meet
    Dlt,
}

/// How Kinesis is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Wire {
    /// As CBOR at AWS's own endpoints, as AWS's SDK for Java does, and as JSON elsewhere: not all emulators take CBOR
    Auto,
    /// As JSON
    Json,
    /// As CBOR, which is smaller and cheaper to read
    Cbor,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_fit_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_stream_alone_is_enough() {
        let Command::Read(read) = parse("read orders").unwrap().command else { panic!("not a read") };
        assert_eq!(
            (read.stream.as_str(), read.start.as_str(), read.until.as_str()),
            ("orders", "trim-horizon", "caught-up")
        );
        assert_eq!((read.pace.as_str(), read.payload, read.message_id), ("100%", Payload::Merged, MessageId::Sha256));
        assert_eq!(read.wire, Wire::Auto);
        assert!(read.kept.to.is_none() && read.behind.is_none() && !read.follow);
    }

    #[test]
    fn asking_wrongly_is_told_with_what_there_is() {
        for (line, kind, told) in [
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
            assert!(error.to_string().contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn verbosity_counts() {
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
    fn a_complaint_repeats_nothing_that_should_not_be_shown() {
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
            let error = Args::try_parse_from(&line).expect_err("it is no command line");
            let text = complaint(error, &line);
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
