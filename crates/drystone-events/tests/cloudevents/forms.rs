//! What is written is what the specification says, and reads back as it was.

use bytes::Bytes;
use drystone_call::TenantId;
use drystone_events::cloudevents::{Codec, EventData, TypedValue};
use drystone_events::{Data, Envelope};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{codec, header, order_placed};

#[test]
fn the_binary_form_has_a_header_an_attribute() {
    let binary = codec().to_binary(&order_placed()).unwrap();
    let get = |name| header(&binary.headers, name);
    assert_eq!(get("ce-id"), Some("0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506"));
    assert_eq!(get("ce-source"), Some("/shop/orders"));
    assert_eq!(get("ce-specversion"), Some("1.0"));
    assert_eq!(get("ce-type"), Some("shop.orders.v1.OrderPlaced"));
    assert_eq!(get("ce-datacontenttype"), Some("application/protobuf"));
    assert_eq!(get("ce-time"), Some("2026-11-22T11:20:00.123456Z"));
    assert_eq!(get("ce-tenantid"), Some("acme"));
    assert_eq!(get("ce-partitionkey"), Some("order%207%20%22%E2%82%AC%22"));
    assert_eq!(get("ce-sequence"), Some("00000000000000000042"));
    assert_eq!(get("ce-traceparent"), Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    assert_eq!(binary.headers.len(), 10);
    assert_eq!(binary.body, order_placed().data.bytes());
}

#[test]
fn the_structured_form_is_one_object() {
    let document: Value = serde_json::from_slice(&codec().to_json(&order_placed()).unwrap()).unwrap();
    assert_eq!(
        document,
        json!({
            "specversion": "1.0",
            "id": "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506",
            "source": "/shop/orders",
            "type": "shop.orders.v1.OrderPlaced",
            "datacontenttype": "application/protobuf",
            "time": "2026-11-22T11:20:00.123456Z",
            "tenantid": "acme",
            "partitionkey": "order 7 \"€\"",
            "sequence": "00000000000000000042",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "data_base64": "CgL/AIA=",
        })
    );
    let event = Envelope {
        data: Data::Json(Bytes::from_static(b"{\"a\": [1]}")),
        key: String::new(),
        trace: None,
        ..order_placed()
    };
    let document: Value = serde_json::from_slice(&codec().to_json(&event).unwrap()).unwrap();
    assert_eq!(document["data"], json!({ "a": [1] }));
    assert_eq!(document["datacontenttype"], "application/json");
    for absent in ["partitionkey", "traceparent", "data_base64"] {
        assert!(document.get(absent).is_none(), "{absent}: {document}");
    }
}

#[test]
fn the_protobuf_form_names_the_type_of_its_message() {
    let event = codec().to_proto(&order_placed()).unwrap();
    let Some(EventData::Proto(any)) = &event.data else { panic!("{event:?}") };
    assert_eq!(any.type_url, "type.googleapis.com/shop.orders.v1.OrderPlaced");
    let Some(TypedValue::Timestamp(time)) = &event.attributes["time"].value else { panic!("{event:?}") };
    assert_eq!((time.seconds, time.nanos), (1_795_346_400, 123_456_000));
    assert_eq!(
        event.attributes["sequence"].value,
        Some(TypedValue::String("00000000000000000042".to_owned()))
    );
    let json = Envelope { data: Data::Json(Bytes::from_static(b"{}")), ..order_placed() };
    assert_eq!(codec().to_proto(&json).unwrap().data, Some(EventData::Text("{}".to_owned())));
}

/// The same as the specification's own messages have it, field by field: the wire knows numbers and types, no names.
#[test]
fn the_protobuf_form_has_the_numbers_of_the_specification() {
    let event = Envelope { key: String::new(), trace: None, seq: 1, time: 2_000_003, ..order_placed() };
    let bytes = codec().to_proto(&event).unwrap().encode_to_vec();
    let field =
        |number: u8, bytes: &[u8]| [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let entry = |name: &str, kind: u8, value: &[u8]| {
        field(5, &[field(1, name.as_bytes()), field(2, &field(kind, value))].concat())
    };
    let expected = [
        field(1, b"0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506"),
        field(2, b"/shop/orders"),
        field(3, b"1.0"),
        field(4, b"shop.orders.v1.OrderPlaced"),
        entry("datacontenttype", 3, b"application/protobuf"),
        entry("sequence", 3, b"00000000000000000001"),
        entry("tenantid", 3, b"acme"),
        entry("time", 7, &[0x08, 0x02, 0x10, 0xb8, 0x17]),
        field(
            8,
            &[field(1, b"type.googleapis.com/shop.orders.v1.OrderPlaced"), field(2, event.data.bytes())]
                .concat(),
        ),
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn sources_of_modules_and_of_others_are_told_apart() {
    let of = |source: &str| Envelope { source: source.to_owned(), ..order_placed() };
    for (source, written) in [
        ("orders", "/shop/orders"),
        ("https://erp.example.com/billing", "https://erp.example.com/billing"),
        ("/shop/Orders", "/shop/Orders"),
        ("./billing", "./billing"),
    ] {
        let binary = codec().to_binary(&of(source)).unwrap();
        assert_eq!(header(&binary.headers, "ce-source"), Some(written));
    }
    // A bare word is a good source of an outside producer; it must not pass for a module's name.
    let document = codec().to_json(&of("./billing")).unwrap();
    let bare = String::from_utf8(document).unwrap().replace("./billing", "billing");
    assert_eq!(codec().from_json(bare.as_bytes()).unwrap().source, "./billing");
}

#[test]
fn the_name_of_an_application_may_be_anything() {
    let codec = Codec::new("my shop/é");
    let binary = codec.to_binary(&order_placed()).unwrap();
    assert_eq!(header(&binary.headers, "ce-source"), Some("/my%2520shop%252F%25C3%25A9/orders"));
    let document: Value = serde_json::from_slice(&codec.to_json(&order_placed()).unwrap()).unwrap();
    assert_eq!(document["source"], "/my%20shop%2F%C3%A9/orders");
    let headers = binary.headers.iter().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(codec.from_binary(headers, binary.body.clone()).unwrap(), order_placed());
}

/// Texts that an attribute may have, with what escaping and encoding trip over.
fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            4 => prop::char::range('!', '~'),
            1 => prop::sample::select(vec![' ', '"', '%', '\\', 'é', '€', '😀', '\u{2028}', '\u{10fffd}']),
        ],
        1..40,
    )
    .prop_map(|characters| characters.into_iter().collect())
}

fn data() -> impl Strategy<Value = Data> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|bytes| Data::Protobuf(bytes.into())),
        (text(), any::<f64>(), any::<bool>()).prop_map(|(text, number, flag)| Data::Json(
            json!({ "a": [text, number], "b": flag }).to_string().into()
        )),
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let source = prop_oneof![
        "[a-z][a-z0-9_]{0,39}",
        "https://[a-z]{1,9}(/[a-z%]{0}%4[0-9]){0,3}",
        "urn:[a-z]{2,5}:[0-9]{1,9}"
    ];
    let names = (source, text(), "[a-z0-9][a-z0-9_-]{0,62}", prop_oneof![Just(String::new()), text()]);
    // From the year 0 to the year 9999.
    let numbers = (any::<u128>(), 0..=i64::MAX, -62_167_219_200_000_000..=253_402_300_799_999_999_i64);
    let trace = prop::option::of((1..=u128::MAX, 1..=u64::MAX, any::<u8>()));
    (names, numbers, trace, data()).prop_map(
        |((source, event_type, tenant, key), (id, seq, time), trace, data)| Envelope {
            id: Uuid::from_u128(id),
            source,
            event_type,
            tenant: TenantId::new(&tenant).unwrap(),
            key,
            seq,
            time,
            trace: trace.map(|(trace, span, flags)| format!("00-{trace:032x}-{span:016x}-{flags:02x}")),
            data,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_reads_back_as_it_was(event in envelope()) {
        let codec = codec();
        let binary = codec.to_binary(&event).unwrap();
        for (_, value) in &binary.headers {
            prop_assert!(value.bytes().all(|b| b.is_ascii_graphic()), "{}", value);
        }
        let headers = binary.headers.iter().map(|(name, value)| (*name, value.as_str()));
        prop_assert_eq!(&codec.from_binary(headers, binary.body.clone()).unwrap(), &event);
        prop_assert_eq!(&codec.from_json(&codec.to_json(&event).unwrap()).unwrap(), &event);
        let bytes = codec.to_proto(&event).unwrap().encode_to_vec();
        let proto = drystone_events::cloudevents::CloudEvent::decode(&bytes[..]).unwrap();
        prop_assert_eq!(&codec.from_proto(proto).unwrap(), &event);
    }

    /// Nothing that arrives makes a reader panic.
    #[test]
    fn anything_may_arrive(bytes in prop::collection::vec(any::<u8>(), 0..100), name in text(), value in text()) {
        let codec = codec();
        let _ = codec.from_json(&bytes);
        let _ = codec.from_json(json!({ name.clone(): value.clone() }).to_string().as_bytes());
        let _ = codec.from_binary([(format!("ce-{name}").as_str(), value.as_str())], bytes.clone().into());
        if let Ok(event) = drystone_events::cloudevents::CloudEvent::decode(&bytes[..]) {
            let _ = codec.from_proto(event);
        }
    }
}
