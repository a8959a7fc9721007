//! Bodies that nobody meant to send: `decode` answers each, and what it lets through is a batch like any other.

use broker::{decode, encode};
use domain::{Epoch, SaleId};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::fixture::{EPOCH, batch};

/// Whose queue every body here comes out of.
fn queue() -> (SaleId, Epoch) {
    (SaleId(Uuid::from_u128(7)), EPOCH)
}

/// Longest complaint, in bytes: it becomes a dead letter's reason and a line of the log.
const LONGEST_COMPLAINT: usize = 1_000;

/// Whatever comes out of `decode`: a short complaint, or a batch of this queue that survives its own encoding.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    match decode(body, queue()) {
        Ok(read) => {
            prop_assert_eq!((read.sale_id, read.epoch), queue());
            prop_assert_eq!(decode(&encode(&read), queue()), Ok(read));
        }
        Err(error) => prop_assert!(error.to_string().len() <= LONGEST_COMPLAINT),
    }
    Ok(())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        field_name().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(field_name(), inner, 0..4)
                .prop_map(|fields| Value::from(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Names that mean something here, and some that do not.
fn field_name() -> impl Strategy<Value = String> {
    let known = [
        "v",
        "saleId",
        "epoch",
        "terms",
        "unitPriceMinor",
        "currency",
        "holdSeconds",
        "reservations",
        "id",
        "userId",
        "quantity",
        "reservedAt",
        "outboxId",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,8}"]
}

/// A value that at least one of the fields takes, or nearly.
fn plausible() -> impl Strategy<Value = Value> {
    let texts = ["", "EUR", "eur", "ann", "0-0", "1-", "-1", "7", "\u{0}", "00000000-0000-0000-0000-000000000007"];
    let numbers = [json!(0), json!(1), json!(-1), json!(7), json!(7.0), json!(1e3), json!(u64::MAX), json!(i64::MIN)];
    prop_oneof![
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        prop::sample::select(numbers.to_vec()),
        any_json(),
    ]
}

/// What may be done to a message.
#[derive(Clone, Debug)]
enum Spoil {
    Replace(usize, Value),
    Remove(usize),
    Add(usize, String, Value),
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        (any::<usize>(), plausible()).prop_map(|(place, value)| Spoil::Replace(place, value)),
        any::<usize>().prop_map(Spoil::Remove),
        (any::<usize>(), field_name(), plausible()).prop_map(|(place, name, value)| Spoil::Add(place, name, value)),
    ]
}

/// The objects of a message, each with the names of its fields.
const OBJECTS: [(&str, &[&str]); 3] = [
    ("", &["v", "saleId", "epoch", "terms", "reservations"]),
    ("/terms", &["unitPriceMinor", "currency", "holdSeconds"]),
    ("/reservations/0", &["id", "userId", "quantity", "reservedAt", "outboxId"]),
];

fn apply(message: &mut Value, spoil: Spoil) {
    let (Spoil::Replace(place, _) | Spoil::Remove(place) | Spoil::Add(place, ..)) = spoil;
    let (pointer, names) = OBJECTS[place % OBJECTS.len()];
    // An earlier change may have taken the object away.
    let Some(object) = message.pointer_mut(pointer).and_then(Value::as_object_mut) else { return };
    let name = names[place / OBJECTS.len() % names.len()];
    match spoil {
        Spoil::Replace(_, value) => drop(object.insert(name.to_owned(), value)),
        Spoil::Remove(_) => drop(object.remove(name)),
        Spoil::Add(_, name, value) => drop(object.insert(name, value)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..2_000)) {
        check(&body)?;
    }

    #[test]
    fn any_json_is_answered(body in any_json()) {
        check(&serde_json::to_vec(&body).unwrap())?;
    }

    #[test]
    fn a_message_with_other_fields_is_answered(spoils in prop::collection::vec(spoil(), 1..4)) {
        let mut message: Value = serde_json::from_slice(&encode(&batch(queue().0, "ann"))).unwrap();
        spoils.into_iter().for_each(|spoil| apply(&mut message, spoil));
        check(&serde_json::to_vec(&message).unwrap())?;
    }

    #[test]
    fn a_message_with_flipped_bits_is_answered(
        user in "[^\\p{Cc}]{1,20}",
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u8), 1..6),
    ) {
        let mut body = encode(&batch(queue().0, &user));
        for (place, bit) in flips {
            let place = place.index(body.len());
            body[place] ^= 1 << bit;
        }
        check(&body)?;
    }

    #[test]
    fn a_message_with_a_part_lost_or_repeated_is_answered(
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let body = encode(&batch(queue().0, "ann"));
        let (from, to) = (from.index(body.len()), to.index(body.len()));
        check(&[&body[..from], &body[to..]].concat())?;
    }
}
