//! `kinesis-reader read`: reads a stream into a destination.

use super::error::{Error, Exit};
use super::files::{Files, Purpose};
use super::plan::{self, Plan, StateAt};
use super::report::{self, Console};
use super::{setup, stdout};
use crate::bindings::wit;
use crate::destination::{Destination, NdjsonFile, NdjsonStream, Sqlite, WithInvalidRecords, WithState};
use crate::drive::{self, Clock, Summary};
use crate::recording::{self, Recorder};
use crate::state::{FileState, MemoryState, State};
use crate::transport::endpoint::Endpoint;

/// Reads a stream.
pub(super) fn read(plan: &Plan) -> Result<Exit, Error> {
    check_files(plan)?;
    let mut console = Console::new(plan.source.stream());
    let result = setup::runtime()?.block_on(read_stream(plan, &mut console));
    let reported = match &plan.report {
        Some(path) => report::write(path, &console.outcome(plan.source.stream(), &result)),
        None => Ok(()),
    };
    if let (Err(_), Err(error)) = (&result, &reported) {
        console.warn(format_args!("{error}"));
    }
    let summary = result?;
    reported?;
    console.sum_up(plan.source.stream(), &describe(&plan.destination), plan.invalid_records.as_deref(), &summary);
    summary.ok()?;
    Ok(console.exit(&summary.outcome))
}

/// Fails if a file has two purposes, or if a report or recording cannot be written, before anything is done.
fn check_files(plan: &Plan) -> Result<(), Error> {
    let mut files = Files::default();
    match &plan.destination {
        plan::Destination::Sqlite(path) => files.database("--to", path, plan.source.stream()),
        plan::Destination::Ndjson(path) => files.written(Purpose::Flag("--to"), path),
        plan::Destination::Stdout => {}
    }
    if let StateAt::File(path) = &plan.state {
        files.state("--state", path);
    }
    for (flag, path) in [
        ("--invalid-records", plan.invalid_records.as_ref()),
        ("--report", plan.report.as_ref()),
        ("--recording", plan.recording.as_ref().map(|(path, _)| path)),
    ] {
        if let Some(path) = path {
            files.written(Purpose::Flag(flag), path);
        }
    }
    for (variable, path) in &plan.settings_files {
        files.read(Purpose::Variable(variable), path);
    }
    let [out, err] = stdout::files();
    if let (plan::Destination::Stdout, Some(out)) = (&plan.destination, &out) {
        files.open(Purpose::Stdout, out);
    }
    if let Some(err) = &err {
        files.open(Purpose::Stderr, err);
    }
    files.check()?;
    if let Some(path) = &plan.report {
        report::check(path)?;
    }
    if let Some((path, _)) = &plan.recording {
        recording::check(path).map_err(|error| Error::Recording { path: path.clone(), error })?;
    }
    Ok(())
}

async fn read_stream(plan: &Plan, console: &mut Console) -> Result<Summary, Error> {
    let mut destination = open(plan)?;
    let saved = destination.checkpoint()?;
    let clock = Clock::start();
    let mut loaded = setup::load()?;
    let transport = setup::connect(&plan.aws).await?;
    let wire = wire(plan.wire, transport.endpoint());
    let config = config(plan, wire, loaded.defaults(&setup::source(&plan.source))?);
    if let Some((path, payload)) = &plan.recording {
        let recorder = Recorder::create(path, *payload);
        loaded.record(recorder.map_err(|error| Error::Recording { path: path.clone(), error })?);
    }
    let reader = loaded.open(&config, saved.as_deref(), drive::seed(), clock.now(), drive::present())?;
    let interrupt = setup::interrupted().map_err(Error::System)?;
    let summary = drive::drive(reader, transport.clone(), destination.as_mut(), console, clock, interrupt).await?;
    match &summary.outcome {
        wit::Outcome::Failed(error) => Error::unreached(error, &transport).map_or(Ok(summary), Err),
        wit::Outcome::Reached | wit::Outcome::Exhausted | wit::Outcome::Limited | wit::Outcome::Stopped => Ok(summary),
    }
}

fn open(plan: &Plan) -> Result<Box<dyn Destination>, Error> {
    let stream = plan.source.stream();
    let state = || -> Result<Option<Box<dyn State>>, Error> {
        match &plan.state {
            StateAt::File(path) => Ok(Some(Box::new(FileState::open(path)?))),
            StateAt::Destination | StateAt::Nowhere => Ok(None),
        }
    };
    let destination: Box<dyn Destination> = match &plan.destination {
        plan::Destination::Sqlite(path) => {
            let sqlite = Sqlite::open(path, stream)?;
            match state()? {
                Some(state) => Box::new(WithState::new(sqlite, state)),
                None => Box::new(sqlite),
            }
        }
        plan::Destination::Ndjson(path) => {
            let state = state()?.unwrap_or_else(|| Box::new(MemoryState::new(None)));
            Box::new(NdjsonFile::open(path, state)?)
        }
        plan::Destination::Stdout => Box::new(NdjsonStream::new(setup::stdout()?, state()?)),
    };
    Ok(match &plan.invalid_records {
        Some(path) => Box::new(WithInvalidRecords::open(path, destination)?),
        None => destination,
    })
}

/// The wire encoding for this endpoint.
fn wire(requested: plan::Wire, endpoint: &Endpoint) -> wit::Wire {
    match requested {
        plan::Wire::Auto if endpoint.is_aws() => wit::Wire::Cbor,
        plan::Wire::Auto | plan::Wire::Json => wit::Wire::Json,
        plan::Wire::Cbor => wit::Wire::Cbor,
    }
}

fn config(plan: &Plan, wire: wit::Wire, defaults: wit::Config) -> wit::Config {
    wit::Config {
        start: match plan.start {
            plan::Start::TrimHorizon => wit::Start::TrimHorizon,
            plan::Start::Latest(_) => wit::Start::Latest,
            plan::Start::At(time) => wit::Start::AtTimestamp(time),
        },
        until: match plan.until {
            plan::Until::CaughtUp(lag) => wit::Until::CaughtUp(lag.as_millis() as u64),
            plan::Until::Time(time) => wit::Until::Time(time),
            plan::Until::Stopped => wit::Until::Stopped,
        },
        wire,
        payload: match plan.payload {
            plan::Payload::Merged => wit::Payload::Merged,
            plan::Payload::Json => wit::Payload::Json,
            plan::Payload::Text => wit::Payload::Text,
            plan::Payload::Base64 => wit::Payload::Base64,
        },
        message_id: match plan.message_id {
            plan::MessageId::Sha256 => wit::MessageId::Sha256,
            plan::MessageId::Dlt => wit::MessageId::Dlt,
        },
        deaggregate: plan.deaggregate,
        on_gap: match plan.on_gap {
            plan::OnGap::Continue => wit::OnGap::Continue,
            plan::OnGap::Fail => wit::OnGap::Fail,
        },
        recreated: match plan.recreated {
            plan::Recreated::Refuse => wit::Recreated::Refuse,
            plan::Recreated::Follow => wit::Recreated::Follow,
        },
        limits: wit::Limits {
            max_messages: plan.limits.max_messages,
            page_records: plan.limits.page_records.unwrap_or(defaults.limits.page_records),
            pace: plan.limits.pace,
            idle_interval: plan
                .limits
                .idle_interval
                .map_or(defaults.limits.idle_interval, |time| time.as_millis() as u64),
            ..defaults.limits
        },
        ..defaults
    }
}

fn describe(destination: &plan::Destination) -> String {
    match destination {
        plan::Destination::Sqlite(path) | plan::Destination::Ndjson(path) => path.display().to_string(),
        plan::Destination::Stdout => "stdout".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::transport::endpoint::Known;

    use super::*;

    #[test]
    fn auto_means_cbor_at_aws_and_json_elsewhere() {
        let known = |url: Option<&str>| Known { url: url.map(str::to_owned), ..Known::default() };
        let at = |url| Endpoint::resolve(Known { region: Some("eu-west-1".to_owned()), ..known(url) }).unwrap();
        let (aws, other) = (at(None), at(Some("http://localhost:4567")));
        for (requested, expected) in [
            (plan::Wire::Auto, [wit::Wire::Cbor, wit::Wire::Json]),
            (plan::Wire::Json, [wit::Wire::Json, wit::Wire::Json]),
            (plan::Wire::Cbor, [wit::Wire::Cbor, wit::Wire::Cbor]),
        ] {
            assert_eq!([&aws, &other].map(|endpoint| wire(requested, endpoint)), expected, "{requested:?}");
        }
    }
}
