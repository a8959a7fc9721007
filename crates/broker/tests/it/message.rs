//! Message version 1.

use broker::{DecodeError, MAX_BODY_BYTES, MAX_RESERVATIONS, decode, encode};
use domain::{Epoch, Quantity, Reservation, ReservationBatch, ReservationId, SaleId, Terms};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{EPOCH, batch, new_sale};

/// A valid message as JSON, to be spoiled.
fn valid(sale: SaleId) -> Value {
    serde_json::from_slice(&encode(&batch(sale, "ann"))).unwrap()
}

fn decode_json(message: &Value, sale: SaleId) -> Result<ReservationBatch, DecodeError> {
    decode(&serde_json::to_vec(message).unwrap(), (sale, EPOCH))
}

#[test]
fn a_message_has_the_documented_shape() {
    let sale = SaleId(Uuid::from_u128(1));
    let mut batch = batch(sale, "ann");
    batch.reservations[0].id = ReservationId(Uuid::from_u128(2));
    let expected = json!({
        "v": 1,
        "saleId": "00000000-0000-0000-0000-000000000001",
        "epoch": 7,
        "terms": {"unitPriceMinor": 1_999, "currency": "EUR", "holdSeconds": 600},
        "reservations": [{
            "id": "00000000-0000-0000-0000-000000000002",
            "userId": "ann",
            "quantity": 1,
            "reservedAt": 1_763_683_200_000_i64,
            "outboxId": "1763683200000-0",
        }],
    });
    assert_eq!(serde_json::from_slice::<Value>(&encode(&batch)).unwrap(), expected);
}

#[test]
fn a_body_that_is_no_json_or_of_another_shape_is_malformed() {
    let sale = new_sale();
    for body in ["", "{", "null", "[]", "{}", r#"{"v":"1"}"#, r#"{"v":1}"#, "\u{0}", "[[[["] {
        assert!(matches!(decode(body.as_bytes(), (sale, EPOCH)), Err(DecodeError::Malformed(_))), "{body:?}");
    }
    for (pointer, spoiled) in [
        ("/saleId", json!("no uuid")),
        ("/epoch", json!("7")),
        ("/terms/currency", json!("eur")),
        ("/terms", json!(null)),
        ("/reservations", json!({})),
        ("/reservations/0/userId", json!("")),
        ("/reservations/0/quantity", json!(0)),
        ("/reservations/0/quantity", json!(10_001)),
        ("/reservations/0/quantity", json!(1.5)),
        ("/reservations/0/reservedAt", json!("now")),
    ] {
        let mut message = valid(sale);
        *message.pointer_mut(pointer).unwrap() = spoiled;
        assert!(matches!(decode_json(&message, sale), Err(DecodeError::Malformed(_))), "{pointer}");
    }
}

#[test]
fn a_complaint_about_a_large_body_is_short() {
    let body = format!(r#"{{"v":"{}"}}"#, "x".repeat(500_000));
    let error = decode(body.as_bytes(), (new_sale(), EPOCH)).unwrap_err();
    assert!(error.to_string().len() < 300, "{} bytes", error.to_string().len());
}

#[test]
fn another_version_is_named_even_if_its_shape_is_unknown() {
    assert_eq!(decode(br#"{"v":2,"new":true}"#, (new_sale(), EPOCH)), Err(DecodeError::Version(2)));
}

#[test]
fn a_batch_must_be_of_the_sale_and_epoch_of_its_queue() {
    let (sale, other) = (new_sale(), new_sale());
    let body = encode(&batch(sale, "ann"));
    assert_eq!(decode(&body, (other, EPOCH)), Err(DecodeError::Sale(sale)));
    assert_eq!(decode(&body, (sale, EPOCH.next())), Err(DecodeError::Epoch(EPOCH)));
    assert!(decode(&body, (sale, EPOCH)).is_ok());
}

#[test]
fn a_batch_has_one_to_a_thousand_reservations() {
    let sale = new_sale();
    let mut batch = batch(sale, "ann");
    let one = batch.reservations[0].clone();
    for (count, expected) in [
        (0, Some(DecodeError::Empty)),
        (1, None),
        (MAX_RESERVATIONS, None),
        (MAX_RESERVATIONS + 1, Some(DecodeError::TooMany(MAX_RESERVATIONS + 1))),
    ] {
        batch.reservations = vec![one.clone(); count];
        assert_eq!(decode(&encode(&batch), (sale, EPOCH)).err(), expected, "{count}");
    }
}

#[test]
fn the_largest_valid_batch_is_within_the_size_limit_and_beyond_it_nothing_is_parsed() {
    let sale = new_sale();
    let mut batch = batch(sale, &"\u{10ffff}".repeat(128));
    batch.reservations[0].outbox_id = Some(format!("{}-{}", u64::MAX, u64::MAX));
    batch.reservations[0].reserved_at = i64::MIN;
    batch.reservations = vec![batch.reservations[0].clone(); MAX_RESERVATIONS];
    assert!(decode(&encode(&batch), (sale, EPOCH)).is_ok());

    let body = vec![b' '; MAX_BODY_BYTES + 1];
    assert_eq!(decode(&body, (sale, EPOCH)), Err(DecodeError::TooLarge(MAX_BODY_BYTES + 1)));
}

#[test]
fn an_outbox_entry_is_absent_or_a_stream_id() {
    let sale = new_sale();
    for (id, is_valid) in [
        (json!(null), true),
        (json!("0-1"), true),
        (json!("18446744073709551615-18446744073709551615"), true),
        (json!("18446744073709551616-0"), false),
        (json!(""), false),
        (json!("-"), false),
        (json!("1"), false),
        (json!("1-+1"), false),
        (json!("1-0-0"), false),
        (json!("*"), false),
    ] {
        let mut message = valid(sale);
        *message.pointer_mut("/reservations/0/outboxId").unwrap() = id.clone();
        let expected = if is_valid { None } else { Some(DecodeError::OutboxId { index: 0 }) };
        assert_eq!(decode_json(&message, sale).err(), expected, "{id}");
    }
}

fn any_reservation() -> impl Strategy<Value = Reservation> {
    let user = "[^\\p{Cc}]{1,128}";
    let outbox = proptest::option::of((any::<u64>(), any::<u64>()));
    (any::<u128>(), user, 1..=Quantity::MAX, any::<i64>(), outbox).prop_map(|(id, user, units, at, outbox)| {
        Reservation {
            id: ReservationId(Uuid::from_u128(id)),
            user_id: user.parse().unwrap(),
            quantity: units.try_into().unwrap(),
            reserved_at: at,
            outbox_id: outbox.map(|(milliseconds, sequence)| format!("{milliseconds}-{sequence}")),
        }
    })
}

fn any_batch() -> impl Strategy<Value = ReservationBatch> {
    let terms = (any::<i64>(), "[A-Z]{3}", any::<u32>());
    let reservations = proptest::collection::vec(any_reservation(), 1..5);
    (any::<u128>(), any::<i64>(), terms, reservations).prop_map(
        |(sale, epoch, (price, currency, hold), reservations)| {
            let terms = Terms { unit_price_minor: price, currency: currency.parse().unwrap(), hold_seconds: hold };
            ReservationBatch { sale_id: SaleId(Uuid::from_u128(sale)), epoch: Epoch(epoch), terms, reservations }
        },
    )
}

proptest! {
    #[test]
    fn every_batch_reads_back_as_it_was(batch in any_batch()) {
        prop_assert_eq!(decode(&encode(&batch), (batch.sale_id, batch.epoch)), Ok(batch));
    }

    #[test]
    fn no_body_makes_decode_panic(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(decode(&body, (SaleId(Uuid::nil()), EPOCH)).is_err());
    }

    #[test]
    fn a_damaged_message_is_an_error_or_another_valid_batch_and_never_a_panic(
        batch in any_batch(),
        position in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        length in any::<prop::sample::Index>(),
    ) {
        let mut body = encode(&batch);
        let position = position.index(body.len());
        body[position] = byte;
        if let Ok(read) = decode(&body, (batch.sale_id, batch.epoch)) {
            prop_assert_eq!((read.sale_id, read.epoch), (batch.sale_id, batch.epoch));
        }
        body.truncate(length.index(body.len()));
        prop_assert!(decode(&body, (batch.sale_id, batch.epoch)).is_err());
    }
}
