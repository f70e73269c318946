//! Properties that hold for all values: the join of checkpoints, the order of sequence numbers, text round trips, and
//! the lines of the envelope.

use std::collections::BTreeMap;

use kinesis_reader_machine::sequence::Sequence;
use kinesis_reader_machine::{
    Checkpoint, CheckpointError, Identity, MessageId, MessagePosition, Payload, Position, Timestamp, merge_checkpoints,
};
use num_bigint::BigUint;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

#[path = "../fuzz/src/checks/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the fuzz targets, which use more of it")]
mod checks;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_join_is_idempotent_commutative_and_associative(a in checkpoint(), b in checkpoint(), c in checkpoint()) {
        let join = |a: &Checkpoint, b: &Checkpoint| a.clone().join(b.clone()).expect("checkpoints of the same stream");
        prop_assert_eq!(&join(&a, &a), &a);
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        // The join is the least upper bound.
        let joined = join(&a, &b);
        for of in [&a, &b] {
            prop_assert_eq!(&join(&joined, of), &joined);
            prop_assert!(of.shards.iter().all(|(shard, position)| joined.shards[shard] >= *position));
        }
        let either = |shard: &String, position: &Position| [&a, &b].iter().any(|of| of.shards.get(shard) == Some(position));
        prop_assert!(joined.shards.iter().all(|(shard, position)| either(shard, position)));
        // Joining texts gives the same.
        let texts = merge_checkpoints(&a.to_text(), &b.to_text()).expect("checkpoints of the same stream");
        prop_assert_eq!(texts, joined.to_text());
    }

    #[test]
    fn checkpoints_of_different_streams_are_not_joined(a in checkpoint(), b in checkpoint(), other in 1u64..9) {
        let known = |of: Checkpoint, created| {
            Checkpoint { stream: Identity { created: Some(Timestamp(created)), ..of.stream }, ..of }
        };
        let (a, b) = (known(a, 0), known(b, other));
        let refused = |a: &Checkpoint, b: &Checkpoint| matches!(a.clone().join(b.clone()), Err(CheckpointError::Foreign(_)));
        prop_assert!(refused(&a, &b) && refused(&b, &a));
    }

    #[test]
    fn checkpoints_survive_a_round_trip_through_text(checkpoint in checkpoint()) {
        let text = checkpoint.to_text();
        let read = Checkpoint::parse(&text).expect("a valid checkpoint");
        prop_assert_eq!(&read, &checkpoint);
        prop_assert_eq!(read.to_text(), text.clone());
        // They also survive a round trip through a JSON library.
        let value: Value = serde_json::from_str(&text).expect("valid JSON");
        prop_assert_eq!(Checkpoint::parse(&serde_json::to_string_pretty(&value).expect("a value")), Ok(checkpoint));
    }

    #[test]
    fn positions_are_ordered_like_their_numbers(a in position(), b in position()) {
        // Kind, sequence number, and subsequence number; a whole record comes after all its parts.
        let rank = |position: &Position| match position {
            Position::TrimHorizon => (0, BigUint::ZERO, 0),
            Position::At(time) => (1, BigUint::from(time.0), 0),
            Position::After(MessagePosition { sequence, subsequence }) => {
                let number = sequence.as_str().parse().expect("a number");
                (2, number, subsequence.map_or(u64::MAX, u64::from))
            }
            Position::End => (3, BigUint::ZERO, 0),
        };
        prop_assert_eq!(a.cmp(&b), rank(&a).cmp(&rank(&b)));
        prop_assert_eq!(a == b, rank(&a) == rank(&b));
    }

    #[test]
    fn any_bytes_are_rendered_verbatim_in_one_line(payload in vec(any::<u8>(), 0..200), key in option::of(any::<String>())) {
        lines(key.as_deref(), &payload);
    }

    #[test]
    fn any_json_is_rendered_verbatim_in_one_line(value in json(), pretty: bool, key in option::of("[ -~]{0,20}")) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.expect("a value");
        lines(key.as_deref(), text.as_bytes());
        // Almost valid JSON.
        lines(key.as_deref(), &text.as_bytes()[1..]);
        lines(key.as_deref(), format!("{text}\n{text}").as_bytes());
    }
}

fn lines(key: Option<&str>, payload: &[u8]) {
    for form in [Payload::Merged, Payload::Json, Payload::Text, Payload::Base64] {
        for id in [MessageId::Sha256, MessageId::Dlt] {
            checks::envelope::assert_line(form, id, key, payload);
        }
    }
}

/// A checkpoint of a fixed stream, whose ARN and creation time may be unknown.
fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".to_owned();
    let stream = (option::of(Just(arn)), option::of(Just(Timestamp(1_763_900_000_000))))
        .prop_map(|(arn, created)| Identity { name: "orders".to_owned(), arn, created });
    // Few shards, so that checkpoints overlap.
    let shard = prop_oneof!["[a-d]", "[a-zA-Z0-9_.-]{1,128}"];
    (stream, btree_map(shard, position(), 0..6))
        .prop_map(|(stream, shards): (_, BTreeMap<_, _>)| Checkpoint { stream, shards })
}

fn position() -> impl Strategy<Value = Position> {
    // Short numbers, which collide, and long ones.
    let sequence = prop_oneof!["0|[1-9][0-9]{0,2}", "[1-9][0-9]{0,128}"];
    let sequence = sequence.prop_map(|text| text.parse::<Sequence>().expect("a number"));
    let part = option::of(prop_oneof![0..4u32, any::<u32>()]);
    prop_oneof![
        Just(Position::TrimHorizon),
        prop_oneof![0..3u64, any::<u64>()].prop_map(|time| Position::At(Timestamp(time))),
        (sequence, part).prop_map(|(sequence, subsequence)| Position::After(MessagePosition { sequence, subsequence })),
        Just(Position::End),
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let name =
        prop_oneof![8 => any::<String>(), 1 => Just("_kinesis".to_owned()), 1 => Just("_kinesis_msg_id".to_owned())];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((name.clone(), inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}
