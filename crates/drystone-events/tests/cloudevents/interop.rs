//! Another implementation reads what is written here, and what it writes is read here.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use drystone_events::cloudevents::{CloudEvent, Codec, JSON};
use drystone_events::{Data, Envelope};
use prost::Message as _;
use serde_json::{Value, json};

use super::python::Python;
use super::{codec, order_placed};

/// What the SDK does to a time: it reads it and shows it in a form of its own.
fn attributes(time: &str) -> Value {
    json!({
        "specversion": "1.0",
        "id": "0192f3a4-b5c6-7d8e-9fa0-b1c2d3e4f506",
        "source": "/shop/orders",
        "type": "shop.orders.v1.OrderPlaced",
        "datacontenttype": "application/protobuf",
        "time": time,
        "tenantid": "acme",
        "partitionkey": "order 7 \"€\"",
        "sequence": "00000000000000000042",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    })
}

/// What Python is to write.
fn outside() -> Value {
    json!({
        "attributes": {
            "specversion": "1.0",
            "id": "invoice-7",
            "source": "https://erp.example.com/billing",
            "type": "erp.billing.v1.Invoiced",
            "datacontenttype": "application/json",
            "tenantid": "acme",
            "partitionkey": "Straße 100% \"7\"",
            "erpregion": "north",
        },
        "data": { "amount": "12.50", "lines": [1, 2] },
    })
}

#[test]
fn pythons_sdk_and_this_codec_read_each_other() {
    let binary = codec().to_binary(&order_placed()).unwrap();
    let headers: BTreeMap<_, _> = binary.headers.iter().cloned().collect();
    let ours = json!({
        "binary": { "headers": headers, "body": STANDARD.encode(&binary.body) },
        "structured": String::from_utf8(codec().to_json(&order_placed()).unwrap()).unwrap(),
        "content_type": JSON,
        "proto": STANDARD.encode(codec().to_proto(&order_placed()).unwrap().encode_to_vec()),
    });
    let input = json!({ "ours": ours, "write": outside() }).to_string();
    let said = Python::ready().run(&["tests/cloudevents/interop.py"], &input);
    let said: Value = serde_json::from_str(&said).unwrap();
    let data = STANDARD.encode(order_placed().data.bytes());
    for form in ["binary", "structured"] {
        let expected = json!({ "attributes": attributes("2026-11-22T11:20:00.123456+00:00"), "data": data });
        assert_eq!(said["read"][form], expected, "{form}");
    }
    let type_url = "type.googleapis.com/shop.orders.v1.OrderPlaced";
    let expected = json!({ "attributes": attributes("2026-11-22T11:20:00.123456Z"), "type_url": type_url, "data": data });
    assert_eq!(said["read"]["proto"], expected);
    reads(&said["written"]);
}

/// The three forms in which Python wrote one event are that event.
fn reads(written: &Value) {
    let codec = Codec::outside("shop");
    let structured = codec.from_json(written["structured"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(structured.source, "https://erp.example.com/billing");
    assert_eq!(structured.event_type, "erp.billing.v1.Invoiced");
    assert_eq!(structured.key, "Straße 100% \"7\"");
    assert_eq!(structured.tenant.as_str(), "acme");
    assert_eq!(structured.time, written["time"].as_i64().unwrap());
    let Data::Json(data) = &structured.data else { panic!("{structured:?}") };
    assert_eq!(serde_json::from_slice::<Value>(data).unwrap(), outside()["data"]);
    let bytes = |value: &Value| Bytes::from(STANDARD.decode(value.as_str().unwrap()).unwrap());
    let headers: BTreeMap<String, String> =
        serde_json::from_value(written["binary"]["headers"].clone()).unwrap();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let binary = codec.from_binary(headers, bytes(&written["binary"]["body"])).unwrap();
    let proto = codec.from_proto(CloudEvent::decode(bytes(&written["proto"])).unwrap()).unwrap();
    assert_eq!(written["content_type"], JSON);
    // Spaces in the JSON are each form's own.
    let plain = |event: Envelope| Envelope { data: structured.data.clone(), ..event };
    assert_eq!((plain(binary), plain(proto)), (structured.clone(), structured.clone()));
}
