use clap::Parser;

use super::*;

/// 2025-11-23T12:00:00Z
const NOW: u64 = 1_763_899_200_000;
const HOUR: u64 = 3_600_000;

#[test]
fn a_stream_alone_makes_a_plan() {
    assert_eq!(
        read("orders"),
        Plan {
            source: Source::Name("orders".to_owned()),
            start: Start::TrimHorizon,
            until: Until::CaughtUp(Duration::ZERO),
            limits: Limits { max_messages: None, page_records: None, pace: Some(100) },
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
fn every_flag_arrives() {
    let plan = read(
        "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b_c-d --to ndjson:out/x --state file:y --start LATEST --follow \
         --max-messages 7 --page-records 10000 --pace 50% --wire cbor --payload base64 --no-deaggregate --invalid-records b --on-gap fail --recreated follow \
         --message-id dlt --profile p --region cn-north-1 \
         --role-arn arn:aws-cn:iam::123456789012:role/r --endpoint-url http://h:1 --report r.json",
    );
    assert_eq!((plan.source.stream(), plan.source.region()), ("a.b_c-d", Some("cn-north-1")));
    assert_eq!((plan.start, plan.until, plan.wire), (Start::Latest(NOW), Until::Stopped, Wire::Cbor));
    assert_eq!(plan.limits, Limits { max_messages: Some(7), page_records: Some(10_000), pace: Some(50) });
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
fn starts() {
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
fn ends() {
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
fn destinations_and_states() {
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
fn paces() {
    for (text, pace) in [("100%", Some(100)), ("50%", Some(50)), ("1", Some(1)), ("off", None)] {
        assert_eq!(read(&format!("orders --pace {text}")).limits.pace, pace, "{text}");
    }
}

#[test]
fn usage_errors_have_a_hint() {
    for (line, told, hint) in [
        (&["or/ders"][..], "not the name of a stream: or/ders", "1 to 128"),
        (&[""], "not the name of a stream: ", "1 to 128"),
        (&["arn:aws:s3:::bucket"], "it is of another service", "stream/orders"),
        (&["arn:aws:kinesis:us-east-1:1:stream/x"], "not 12 digits", "stream/orders"),
        (&["arn:aws:kinesis::123456789012:stream/x"], "names no region", "stream/orders"),
        (&["arn:aws:kinesis:us-east-1:123456789012:stream/"], "no name", "stream/orders"),
        (&["arn:aws:kinesis:us-east-1:123456789012:stream/x/consumer/c:1"], "of a consumer", "stream/orders"),
        (&["arn:aws:kinesis"], "fewer than six parts", "stream/orders"),
        (
            &["x", "--start", "yesterday"],
            "not a time for --start: yesterday (it is no time and no duration)",
            "trim-horizon, latest",
        ),
        (&["x", "--start", ""], "not a time for --start: ", "trim-horizon, latest"),
        (&["x", "--start", "ago"], "not a time for --start: ago", "trim-horizon, latest"),
        (&["x", "--start=-1h"], "it is negative", "trim-horizon"),
        (&["x", "--start", "1mo"], "no certain length", "trim-horizon"),
        (&["x", "--start", "99999h ago ago"], "not a time for --start", "trim-horizon"),
        (&["x", "--start", "700000h"], "before 1970", "trim-horizon"),
        (&["x", "--start", "1969-12-31"], "before 1970", "trim-horizon"),
        (&["x", "--start", "2025-11-23T11:00:00"], "end it with Z", "trim-horizon"),
        (&["x", "--start", "1763895600000"], "milliseconds?", "trim-horizon"),
        (&["x", "--start", "2025-11-24"], "--start is in the future: 2025-11-24", "latest"),
        (&["x", "--until", "soon"], "not a time for --until: soon", "caught-up, forever"),
        (&["x", "--until", "10m"], "not a time for --until: 10m", "`1h ago`"),
        (&["x", "--start", "1h", "--until", "2h ago"], "--until is not after --start: 2h ago (--start is 1h)", "later"),
        (&["x", "--start", "latest", "--until", "2025-11-23"], "--until is not after --start", "later"),
        (&["x", "--start", "1h", "--until", "1h ago"], "--until is not after --start", "later"),
        (&["x", "--behind", "5"], "not a duration for --behind: 5 (it has no unit)", "90s"),
        (&["x", "--behind", "1s", "--follow"], "--behind has no meaning with this end: forever", "caught-up"),
        (&["x", "--pace", "0%"], "not a pace: 0%", "off"),
        (&["x", "--pace", "101%"], "not a pace: 101%", "off"),
        (&["x", "--pace", "fast"], "not a pace: fast", "off"),
        (&["x", "--to", "postgres:x"], "not a destination for --to: postgres:x", "sqlite:PATH, ndjson:PATH"),
        (&["x", "--to", "out.db"], "not a destination for --to: out.db", "write sqlite:out.db"),
        (&["x", "--to", "out.jsonl"], "not a destination for --to: out.jsonl", "write ndjson:out.jsonl"),
        (&["x", "--to", "sqlite:-"], "not a destination for --to: sqlite:-", "ndjson:-"),
        (&["x", "--state", "s.json"], "not a place for --state: s.json", "file:PATH"),
        (&["x", "--state", "file:"], "not a place for --state: file:", "file:PATH"),
        (
            &["arn:aws:kinesis:us-east-1:123456789012:stream/x", "--region", "us-east-2"],
            "--region is not that of the ARN: us-east-2 (the ARN's is us-east-1)",
            "leave out",
        ),
        (&["x", "--role-arn", "reader"], "not the ARN of a role: reader", "role/reader"),
    ] {
        let error = plan(line).expect_err(&line.join(" "));
        assert!(error.to_string().contains(told), "{line:?}: {error}");
        assert!(error.hint().is_some_and(|given| given.contains(hint)), "{line:?}: {:?}", error.hint());
        assert!(error.is_usage_error());
    }
}

#[test]
fn shards_and_show_are_planned_too() {
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
