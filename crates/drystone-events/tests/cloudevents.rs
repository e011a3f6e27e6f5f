//! Events as CloudEvents: the three forms, the rules of the specification, and another implementation's view of both.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops there")]

#[path = "cloudevents/forms.rs"]
mod forms;
#[path = "cloudevents/interop.rs"]
mod interop;
#[path = "cloudevents/python.rs"]
mod python;
#[path = "cloudevents/rules.rs"]
mod rules;

use bytes::Bytes;
use drystone_call::TenantId;
use drystone_events::cloudevents::Codec;
use drystone_events::{Data, Envelope};
use uuid::Uuid;

/// An event of a module, with something in every field.
fn order_placed() -> Envelope {
    Envelope {
        id: Uuid::from_u128(0x0192_f3a4_b5c6_7d8e_9fa0_b1c2_d3e4_f506),
        source: "orders".to_owned(),
        event_type: "shop.orders.v1.OrderPlaced".to_owned(),
        tenant: TenantId::new("acme").unwrap(),
        key: "order 7 \"€\"".to_owned(),
        seq: 42,
        time: 1_795_346_400_123_456,
        trace: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        data: Data::Protobuf(Bytes::from_static(&[0x0a, 0x02, 0xff, 0x00, 0x80])),
    }
}

fn codec() -> Codec {
    Codec::new("shop")
}

/// The value of a header.
fn header<'a>(headers: &'a [(&'static str, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
}
