use clap::Parser;

use super::*;

/// 2025-11-23T12:00:00Z
const NOW: u64 = 1_763_899_200_000;
const HOUR: u64 = 3_600_000;

#[test]
fn a_stream_is_all_that_a_plan_needs() {
    assert_eq!(
        read("orders"),
        Plan {
            source: Source::Name("orders".to_owned()),
            start: Start::TrimHorizon,
            until: Until::CaughtUp(Duration::ZERO),
            limits: Limits { pace: Some(80), ..Limits::default() },
            wire: Wire::Auto,
            payload: Payload::Merged,
            deaggregate: true,
            invalid_records: None,
            on_gap: OnGap::Continue,
            recreated: Recreated::Refuse,
            message_id: MessageId::Sha256,
            destination: Destination::Sqlite("orders.db".into()),
            state: StateAt::Destination,
            aws: Settings::default(),
            report: None,
            recording: None,
            settings_files: Vec::new(),
        }
    );
}

#[test]
fn every_flag_is_in_the_plan() {
    let plan = read(
        "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b_c-d --to ndjson:out/x --state file:y --start LATEST --follow \
         --max-messages 7 --page-records 10000 --pace 50% --idle-interval 1500ms --wire cbor --payload base64 --no-deaggregate --invalid-records b --on-gap fail --recreated follow \
         --message-id dlt --profile p --region cn-north-1 \
         --role-arn arn:aws-cn:iam::123456789012:role/r --endpoint-url http://h:1 --report r.json",
    );
    assert_eq!((plan.source.stream(), plan.source.region()), ("a.b_c-d", Some("cn-north-1")));
    assert_eq!((plan.start, plan.until, plan.wire), (Start::Latest(NOW), Until::Stopped, Wire::Cbor));
    assert_eq!(
        plan.limits,
        Limits {
            max_messages: Some(7),
            page_records: Some(10_000),
            pace: Some(50),
            idle_interval: Some(Duration::from_millis(1500)),
        }
    );
    assert_eq!((plan.payload, plan.deaggregate, plan.message_id), (Payload::Base64, false, MessageId::Dlt));
    assert_eq!(plan.invalid_records, Some("b".into()));
    assert_eq!((plan.on_gap, plan.recreated), (OnGap::Fail, Recreated::Follow));
    assert_eq!(plan.destination, Destination::Ndjson("out/x".into()));
    assert_eq!(plan.state, StateAt::File("y".into()));
    assert_eq!(
        plan.aws,
        Settings {
            region: Some("cn-north-1".to_owned()),
            profile: Some("p".to_owned()),
            role_arn: Some("arn:aws-cn:iam::123456789012:role/r".to_owned()),
            endpoint_url: Some("http://h:1".to_owned()),
            ca_bundle: None,
        }
    );
    assert_eq!(plan.report, Some("r.json".into()));
}

#[test]
fn every_form_of_a_start_is_understood() {
    for (text, start) in [
        ("trim-horizon", Start::TrimHorizon),
        ("TRIM_HORIZON", Start::TrimHorizon),
        ("latest", Start::Latest(NOW)),
        ("2025-11-23T11:00:00Z", Start::At(NOW - HOUR)),
        ("2025-11-23T12:00:00.000+01:00", Start::At(NOW - HOUR)),
        ("2025-11-23 11:00:00.5Z", Start::At(NOW - HOUR + 500)),
        ("2025-11-23T11Z", Start::At(NOW - HOUR)),
        ("2025-11-23", Start::At(NOW - 12 * HOUR)),
        ("1763895600", Start::At(NOW - HOUR)),
        ("1763895600.0429", Start::At(NOW - HOUR + 42)),
        ("0", Start::At(0)),
        ("1h", Start::At(NOW - HOUR)),
        ("1h ago", Start::At(NOW - HOUR)),
        ("1h-ago", Start::At(NOW - HOUR)),
        ("1 hour ago", Start::At(NOW - HOUR)),
        ("PT1H", Start::At(NOW - HOUR)),
        ("P1DT1H", Start::At(NOW - 25 * HOUR)),
        ("1h30m", Start::At(NOW - HOUR * 3 / 2)),
        ("90s", Start::At(NOW - 90_000)),
        ("15m", Start::At(NOW - HOUR / 4)),
        ("2d", Start::At(NOW - 48 * HOUR)),
        ("1w", Start::At(NOW - 7 * 24 * HOUR)),
        ("250ms", Start::At(NOW - 250)),
    ] {
        assert_eq!(plan(&["orders", "--start", text]).map(|plan| plan.start), Ok(start), "{text}");
    }
}

#[test]
fn every_form_of_an_end_is_understood() {
    for (flags, until) in [
        (&["--until", "caught-up"][..], Until::CaughtUp(Duration::ZERO)),
        (&["--behind", "1m30s"], Until::CaughtUp(Duration::from_secs(90))),
        (&["--behind", "0"], Until::CaughtUp(Duration::ZERO)),
        (&["--until", "forever"], Until::Stopped),
        (&["-f"], Until::Stopped),
        (&["--until", "2025-11-23T11:00:00Z"], Until::Time(NOW - HOUR)),
        (&["--until", "2025-12-01"], Until::Time(NOW + 7 * 24 * HOUR + 12 * HOUR)),
        (&["--until", "1h ago", "--start", "2h"], Until::Time(NOW - HOUR)),
    ] {
        let line = [&["orders"], flags].concat();
        assert_eq!(plan(&line).map(|plan| plan.until), Ok(until), "{flags:?}");
    }
}

#[test]
fn a_destination_determines_the_default_state() {
    let sqlite = |path: &str| Destination::Sqlite(path.into());
    let ndjson = |path: &str| Destination::Ndjson(path.into());
    let file = |path: &str| StateAt::File(path.into());
    for (flags, destination, state) in [
        ("--to sqlite:", sqlite("orders.db"), StateAt::Destination),
        ("--to sqlite:/data/a:b.db", sqlite("/data/a:b.db"), StateAt::Destination),
        ("--to sqlite:x --state file:s", sqlite("x"), file("s")),
        ("--to ndjson", ndjson("orders.ndjson"), file("orders.ndjson.state")),
        ("--to ndjson:d/x.jsonl", ndjson("d/x.jsonl"), file("d/x.jsonl.state")),
        ("--to ndjson:-", Destination::Stdout, StateAt::Nowhere),
        ("--to ndjson:- --state file:s", Destination::Stdout, file("s")),
    ] {
        let plan = read(&format!("orders {flags}"));
        assert_eq!((plan.destination, plan.state), (destination, state), "{flags}");
    }
}

#[test]
fn a_pace_is_a_percentage_or_off() {
    for (text, pace) in [("100%", Some(100)), ("50%", Some(50)), ("1", Some(1)), ("off", None)] {
        assert_eq!(read(&format!("orders --pace {text}")).limits.pace, pace, "{text}");
    }
}

#[test]
fn every_usage_error_has_a_hint() {
    for (line, words, hint) in [
        (&["or/ders"][..], "invalid stream name: or/ders", "1 to 128"),
        (&[""], "invalid stream name: ", "1 to 128"),
        (&["arn:aws:s3:::bucket"], "it belongs to another service", "stream/orders"),
        (&["arn:aws:kinesis:us-east-1:1:stream/x"], "does not have 12 digits", "stream/orders"),
        (&["arn:aws:kinesis::123456789012:stream/x"], "has no region", "stream/orders"),
        (&["arn:aws:kinesis:us-east-1:123456789012:stream/"], "stream name is invalid", "stream/orders"),
        (&["arn:aws:kinesis:us-east-1:123456789012:stream/x/consumer/c:1"], "of a consumer", "stream/orders"),
        (&["arn:aws:kinesis"], "fewer than six parts", "stream/orders"),
        (
            &["x", "--start", "yesterday"],
            "invalid time for --start: yesterday (it is neither a time nor a duration)",
            "trim-horizon, latest",
        ),
        (&["x", "--start", ""], "invalid time for --start: ", "trim-horizon, latest"),
        (&["x", "--start", "ago"], "invalid time for --start: ago", "trim-horizon, latest"),
        (&["x", "--start=-1h"], "it is negative", "trim-horizon"),
        (&["x", "--start", "1mo"], "vary in length", "trim-horizon"),
        (&["x", "--start", "99999h ago ago"], "invalid time for --start", "trim-horizon"),
        (&["x", "--start", "700000h"], "before 1970", "trim-horizon"),
        (&["x", "--start", "1969-12-31"], "before 1970", "trim-horizon"),
        (&["x", "--start", "2025-11-23T11:00:00"], "append Z", "trim-horizon"),
        (&["x", "--start", "1763895600000"], "milliseconds?", "trim-horizon"),
        (&["x", "--start", "2025-11-24"], "--start is in the future: 2025-11-24", "latest"),
        (&["x", "--until", "soon"], "invalid time for --until: soon", "caught-up, forever"),
        (&["x", "--until", "10m"], "invalid time for --until: 10m", "`1h ago`"),
        (&["x", "--start", "1h", "--until", "2h ago"], "--until is not after --start: 2h ago (--start is 1h)", "later"),
        (&["x", "--start", "latest", "--until", "2025-11-23"], "--until is not after --start", "later"),
        (&["x", "--start", "1h", "--until", "1h ago"], "--until is not after --start", "later"),
        (&["x", "--behind", "5"], "invalid duration for --behind: 5 (it has no unit)", "90s"),
        (&["x", "--behind", "1s", "--follow"], "--behind has no effect with this end: forever", "caught-up"),
        (&["x", "--idle-interval", "2"], "invalid duration for --idle-interval: 2 (it has no unit)", "90s"),
        (&["x", "--pace", "0%"], "invalid pace: 0%", "off"),
        (&["x", "--pace", "101%"], "invalid pace: 101%", "off"),
        (&["x", "--pace", "fast"], "invalid pace: fast", "off"),
        (&["x", "--to", "postgres:x"], "invalid destination for --to: postgres:x", "sqlite:PATH, ndjson:PATH"),
        (&["x", "--to", "out.db"], "invalid destination for --to: out.db", "write sqlite:out.db"),
        (&["x", "--to", "out.jsonl"], "invalid destination for --to: out.jsonl", "write ndjson:out.jsonl"),
        (&["x", "--to", "sqlite:-"], "invalid destination for --to: sqlite:-", "ndjson:-"),
        (&["x", "--state", "s.json"], "invalid location for --state: s.json", "file:PATH"),
        (&["x", "--state", "file:"], "invalid location for --state: file:", "file:PATH"),
        (
            &["arn:aws:kinesis:us-east-1:123456789012:stream/x", "--region", "us-east-2"],
            "--region differs from the ARN's: us-east-2 (the ARN's is us-east-1)",
            "leave out",
        ),
        (&["x", "--role-arn", "reader"], "invalid role ARN: reader", "role/reader"),
    ] {
        let error = plan(line).expect_err(&line.join(" "));
        assert!(error.to_string().contains(words), "{line:?}: {error}");
        assert!(error.hint().is_some_and(|text| text.contains(hint)), "{line:?}: {:?}", error.hint());
        assert!(error.is_usage_error());
    }
}

#[test]
fn shards_and_show_have_plans_too() {
    let Job::Shards(shards) = job(&["shards", "arn:aws:kinesis:us-east-1:123456789012:stream/x"]).unwrap() else {
        panic!("not shards")
    };
    assert_eq!(shards.destination, Destination::Sqlite("x.db".into()));
    assert_eq!(shards.aws.region.as_deref(), Some("us-east-1"));

    for path in ["a.db", "sqlite:a.db"] {
        assert_eq!(job(&["show", path]), Ok(Job::Show(ShowPlan { database: "a.db".into() })));
    }
}

fn read(line: &str) -> Plan {
    plan(&line.split_whitespace().collect::<Vec<_>>()).unwrap()
}

fn plan(line: &[&str]) -> Result<Plan, Error> {
    match job(&[&["read"], line].concat())? {
        Job::Read(plan) => Ok(*plan),
        other => panic!("not a read: {other:?}"),
    }
}

fn job(line: &[&str]) -> Result<Job, Error> {
    let args = Args::try_parse_from([&["kinesis-reader"], line].concat()).unwrap();
    Job::new(args, &Environment { now_ms: NOW, ca_bundle: Some(OsString::new()), settings_files: Vec::new() })
}
