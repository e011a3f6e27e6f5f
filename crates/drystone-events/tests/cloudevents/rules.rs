//! What the specification asks of a reader: what it must take, and what it must refuse, naming the attribute.

use bytes::Bytes;
use drystone_events::cloudevents::{
    AttributeValue, CloudEvent, Codec, EventData, MAX_ATTRIBUTE_BYTES, Malformed, TypedValue, check_text,
};
use drystone_events::{Data, Envelope};
use serde_json::{Value, json};

use super::{codec, header, order_placed};

/// An event as an outside producer might send it, with no more than it must have.
fn least() -> Value {
    json!({ "specversion": "1.0", "id": "A234-1234-1234", "source": "/mycontext", "type": "com.example.someevent", "tenantid": "acme" })
}

fn with(changes: Value) -> Value {
    let mut event = least();
    for (name, value) in changes.as_object().unwrap() {
        event[name] = value.clone();
    }
    event
}

fn read(event: &Value) -> Result<Envelope, Malformed> {
    Codec::outside("shop").from_json(event.to_string().as_bytes())
}

fn data_of(changes: Value) -> Data {
    read(&with(changes)).unwrap().data
}

#[track_caller]
fn assert_names<T: std::fmt::Debug>(attribute: &str, read: Result<T, Malformed>) {
    let wrong = read.unwrap_err();
    assert_eq!(wrong.attribute, attribute, "{wrong}");
    assert!(wrong.to_string().contains(attribute) && !wrong.why.is_empty(), "{wrong}");
}

#[test]
fn the_least_event_is_taken() {
    let event = read(&least()).unwrap();
    assert_eq!((event.source.as_str(), event.event_type.as_str()), ("/mycontext", "com.example.someevent"));
    assert_eq!((event.key.as_str(), event.seq, event.time, event.trace), ("", 0, 0, None));
    assert_eq!(event.data, Data::Json(Bytes::from_static(b"{}")));
}

#[test]
fn what_is_missing_is_named() {
    for attribute in ["specversion", "id", "source", "type", "tenantid"] {
        let mut event = least();
        event.as_object_mut().unwrap().remove(attribute);
        assert_names(attribute, read(&event));
        // To say that there is none is to have none, and what is empty is not there.
        assert_names(attribute, read(&with(json!({ attribute: null }))));
        assert_names(attribute, read(&with(json!({ attribute: "" }))));
        assert_names(attribute, read(&with(json!({ attribute: 5 }))));
    }
}

#[test]
fn values_have_their_types() {
    for (attribute, value) in [
        ("specversion", json!("0.3")),
        ("source", json!("two words")),
        ("source", json!("http://[::1")),
        ("source", json!("a%2")),
        ("source", json!("1:a")),
        ("source", json!("http://host:port/")),
        ("time", json!("2018-04-05")),
        ("time", json!("2018-04-05T17:31:00")),
        ("time", json!("2018-02-30T17:31:00Z")),
        ("time", json!(1_522_949_460)),
        ("dataschema", json!("/relative")),
        ("dataschema", json!("")),
        ("subject", json!("")),
        ("subject", json!(true)),
        ("datacontenttype", json!("json")),
        ("datacontenttype", json!("application/")),
        ("datacontenttype", json!("application/xml")),
        ("datacontenttype", json!("application/vnd.apache.thrift.binary")),
        ("datacontenttype", json!("application/json; charset=latin-1")),
        ("partitionkey", json!("")),
        ("tenantid", json!("ACME")),
        ("tenantid", json!("../acme")),
        // Types that no attribute has.
        ("other", json!({})),
        ("other", json!(["a"])),
        ("other", json!(1.5)),
        ("other", json!(2_147_483_648_i64)),
        // Characters that no text has.
        ("other", json!("a\u{1}")),
        ("other", json!("a\u{85}")),
        ("subject", json!("a\u{fffe}")),
        ("subject", json!("a\u{fdd0}")),
        ("id", json!("a\nb")),
        // Names that no attribute has.
        ("Other", json!("a")),
        ("other_name", json!("a")),
        ("other-name", json!("a")),
        ("", json!("a")),
    ] {
        assert_names(attribute, read(&with(json!({ attribute: value }))));
    }
}

#[test]
fn what_the_specification_shows_is_taken() {
    for source in [
        "https://github.com/cloudevents",
        "mailto:cncf-wg-serverless@lists.cncf.io",
        "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "/cloudevents/spec/pull/123",
        "/sensors/tn-1234567/alerts",
        "1-555-123-4567",
        "//host:80/a?b=c/d?#e?f",
        "http://user:pass@[2001:db8::1]:8080/",
        "?query",
        "#fragment",
        "a/b:c",
    ] {
        assert_eq!(read(&with(json!({ "source": source }))).unwrap().source, source);
    }
    for (attribute, value) in [
        ("subject", json!("larger-context")),
        ("subject", json!(null)),
        ("unsetextension", json!(null)),
        ("comexampleextension1", json!("value")),
        ("comexampleothervalue", json!(5)),
        ("comexampleflag", json!(true)),
        ("dataschema", json!("https://schemas.example.com/order#v1")),
        ("time", json!(null)),
        ("traceparent", json!("no position in a trace, so none")),
        // The extension is a text; only Drystone's own is a number.
        ("sequence", json!("2026-11-22/7")),
    ] {
        assert!(read(&with(json!({ attribute: value }))).is_ok(), "{attribute}: {value}");
    }
}

#[test]
fn times_are_read_with_their_offset_and_to_the_microsecond() {
    let time = |text: &str| read(&with(json!({ "time": text }))).unwrap().time;
    assert_eq!(time("1970-01-01T00:00:01Z"), 1_000_000);
    assert_eq!(time("2018-04-05T17:31:00Z"), time("2018-04-05T19:31:00+02:00"));
    assert_eq!(time("1970-01-01T00:00:00.1234567Z"), 123_456);
    assert_eq!(time("1969-12-31T23:59:59.9999999Z"), -1);
}

#[test]
fn data_of_json_are_a_value_and_data_of_protobuf_are_bytes() {
    let json = |text: &'static str| Data::Json(Bytes::from_static(text.as_bytes()));
    assert_eq!(
        data_of(json!({ "datacontenttype": "application/json", "data": { "appinfoA": "abc" } })),
        json(r#"{"appinfoA":"abc"}"#)
    );
    assert_eq!(data_of(json!({ "datacontenttype": "text/json;charset=UTF-8", "data": 5 })), json("5"));
    assert_eq!(data_of(json!({ "datacontenttype": "application/vnd.example+json", "data": [] })), json("[]"));
    // Without a type, data are JSON; a text is a text and no document inside one; null is a value.
    assert_eq!(data_of(json!({ "data": "I'm just a string" })), json(r#""I'm just a string""#));
    assert_eq!(data_of(json!({ "data": "{\"a\":1}" })), json(r#""{\"a\":1}""#));
    assert_eq!(data_of(json!({ "data": null })), json("null"));
    assert_eq!(data_of(json!({ "data_base64": "e30=" })), json("{}"));
    let protobuf = json!({ "datacontenttype": "application/protobuf", "data_base64": "CgL/AIA=" });
    assert_eq!(data_of(protobuf), order_placed().data);
    assert_eq!(data_of(json!({ "datacontenttype": "application/protobuf" })), Data::Protobuf(Bytes::new()));
    for (attribute, changes) in [
        ("data_base64", json!({ "data": 5, "data_base64": "e30=" })),
        ("data_base64", json!({ "data_base64": "e30" })),
        ("data_base64", json!({ "data_base64": 5 })),
        ("data", json!({ "data_base64": "/w==" })),
        ("data", json!({ "datacontenttype": "application/protobuf", "data": "CgL/AIA=" })),
    ] {
        assert_names(attribute, read(&with(changes)));
    }
}

#[test]
fn documents_are_objects_whose_members_come_once() {
    let outside = Codec::outside("shop");
    for document in ["", "[]", "5", "{", r#"{"id":"a"} x"#, r#"{"id": "\ud800"}"#] {
        assert!(outside.from_json(document.as_bytes()).is_err(), "{document}");
    }
    let twice = |member: &str| least().to_string().replacen('{', &format!("{{{member},"), 1);
    assert_names("id", outside.from_json(twice(r#""id":"another""#).as_bytes()));
    assert_names("other", outside.from_json(twice(r#""other":1,"other":1"#).as_bytes()));
    assert_names("data", outside.from_json(twice(r#""data":1,"data":2"#).as_bytes()));
}

#[test]
fn headers_are_read_whatever_their_case_and_come_once() {
    let binary = codec().to_binary(&order_placed()).unwrap();
    let shouted: Vec<_> =
        binary.headers.iter().map(|(name, value)| (name.to_uppercase(), value.as_str())).collect();
    let read = |more: &[(&str, &str)]| {
        let headers = shouted.iter().map(|(name, value)| (name.as_str(), *value));
        codec().from_binary(headers.chain(more.iter().copied()), binary.body.clone())
    };
    assert_eq!(read(&[]).unwrap(), order_placed());
    assert_eq!(
        read(&[("Nats-Expected-Last-Sequence", "5"), ("x", "ü"), ("ce", "x"), ("é", "")]).unwrap(),
        order_placed()
    );
    assert_names("id", read(&[("ce-id", "another")]));
    assert_names("under_score", read(&[("ce-under_score", "x")]));
    assert_names("data", read(&[("ce-data", "x")]));
    assert_names("other", read(&[("ce-other", "%C0%A0")]));
}

#[test]
fn the_type_of_the_data_may_stand_where_http_has_it() {
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-type", "com.example.someevent"),
        ("ce-time", "2018-04-05T03:56:24Z"),
        ("ce-id", "1234-1234-1234"),
        ("ce-source", "/mycontext/subcontext"),
        ("ce-tenantid", "acme"),
        ("Content-Type", "application/json; charset=utf-8"),
    ];
    let event = Codec::outside("shop").from_binary(headers, Bytes::from_static(b"{\"a\": 1}")).unwrap();
    assert_eq!(event.source, "/mycontext/subcontext");
    assert_eq!(event.time, 1_522_900_584_000_000);
    assert_eq!(event.data, Data::Json(Bytes::from_static(b"{\"a\": 1}")));
    assert_names("data", Codec::outside("shop").from_binary(headers, Bytes::from_static(b"not json")));
    let xml = headers.map(|(name, value)| (name, if name == "Content-Type" { "text/xml" } else { value }));
    assert_names("datacontenttype", Codec::outside("shop").from_binary(xml, Bytes::new()));
}

#[test]
fn protobuf_says_its_types_and_they_count() {
    let good = codec().to_proto(&order_placed()).unwrap();
    let change = |change: &dyn Fn(&mut CloudEvent)| {
        let mut event = good.clone();
        change(&mut event);
        codec().from_proto(event)
    };
    let set = |name: &'static str, value: TypedValue| {
        change(&|event| {
            drop(event.attributes.insert(name.to_owned(), AttributeValue { value: Some(value.clone()) }))
        })
    };
    let text = |text: &str| TypedValue::String(text.to_owned());
    assert_eq!(set("time", text("2026-11-22T11:20:00.123456Z")).unwrap(), order_placed());
    assert_eq!(set("other", TypedValue::Bytes(Bytes::from_static(b"x"))).unwrap(), order_placed());
    assert_names("id", change(&|event| event.id.clear()));
    assert_names("id", set("id", text("x")));
    assert_names("time", set("time", TypedValue::Integer(5)));
    assert_names(
        "time",
        set("time", TypedValue::Timestamp(drystone_events::cloudevents::UtcTime { seconds: 1, nanos: -1 })),
    );
    assert_names("tenantid", set("tenantid", TypedValue::Boolean(true)));
    assert_names("Other", set("Other", text("x")));
    assert_names("data", change(&|event| event.data = Some(EventData::Text("x".to_owned()))));
    // Bytes of another type read as garbage, and so are refused.
    assert_names("data", change(&|event| event.event_type = "shop.orders.v1.OrderCancelled".to_owned()));
    let binary = change(&|event| event.data = Some(EventData::Binary(order_placed().data.bytes().clone())));
    assert_eq!(binary.unwrap(), order_placed());
}

#[test]
fn an_outside_producers_ids_are_its_own() {
    let id = |source: &str, id: &str| read(&with(json!({ "source": source, "id": id }))).unwrap().id;
    assert_eq!(id("/a", "1"), id("/a", "1"));
    assert_ne!(id("/a", "1"), id("/a", "2"));
    assert_ne!(id("/a", "1"), id("/b", "1"));
    assert_ne!(id("/ab", "c"), id("/a", "bc"));
    assert_eq!(id("/a", "1").get_version_num(), 8);
    // Two producers may have the same UUID for two events, and one may have seen another's.
    let uuid = order_placed().id.to_string();
    assert_ne!(id("/a", &uuid), order_placed().id);
    assert_ne!(id("/a", &uuid), id("/b", &uuid));
    // The value is for ever: an inbox remembers it.
    assert_eq!(id("/mycontext", "A234-1234-1234").to_string(), "bc907356-1572-8972-8a26-eb64817fdf8d");
}

#[test]
fn an_outside_producer_is_no_module_of_the_application() {
    assert_names("source", read(&with(json!({ "source": "/shop/orders" }))));
    assert_eq!(read(&with(json!({ "source": "/store/orders" }))).unwrap().source, "/store/orders");
    // Inside, a module's id is a UUID and its sequence a number.
    let inside = |changes: Value| codec().from_json(with(changes).to_string().as_bytes());
    assert_names("id", inside(json!({ "source": "/shop/orders" })));
    assert_names(
        "id",
        inside(json!({ "source": "/shop/orders", "id": order_placed().id.simple().to_string() })),
    );
    assert_names("sequence", inside(json!({ "source": "/a", "sequence": "+5" })));
    assert_names("sequence", inside(json!({ "source": "/a", "sequence": "9223372036854775808" })));
}

#[test]
fn sizes_are_bounded() {
    let longest = "x".repeat(MAX_ATTRIBUTE_BYTES);
    assert!(read(&with(json!({ "subject": longest }))).is_ok());
    assert_names("subject", read(&with(json!({ "subject": format!("{longest}x") }))));
    let mut many = least();
    for number in 0..100 {
        many[format!("a{number}")] = json!(1);
    }
    assert_names("event", read(&many));
    let huge = vec![b' '; 8 * 1024 * 1024];
    assert_names("event", codec().from_json(&huge));
    let body = Bytes::from(vec![0; drystone_call::MAX_MESSAGE_BYTES + 1]);
    let binary = codec().to_binary(&order_placed()).unwrap();
    let headers = binary.headers.iter().map(|(name, value)| (*name, value.as_str()));
    assert_names("data", codec().from_binary(headers, body));
}

#[test]
fn what_cannot_be_an_attribute_is_refused_when_written() {
    let wrong = |change: &dyn Fn(&mut Envelope)| {
        let mut event = order_placed();
        change(&mut event);
        let binary = codec().to_binary(&event).map(drop).unwrap_err();
        assert_eq!(codec().to_json(&event).map(drop).unwrap_err(), binary);
        assert_eq!(codec().to_proto(&event).map(drop).unwrap_err(), binary);
        Err::<(), _>(binary)
    };
    assert_names("partitionkey", wrong(&|event| event.key = "a\nb".to_owned()));
    assert_names("partitionkey", wrong(&|event| event.key = "x".repeat(MAX_ATTRIBUTE_BYTES + 1)));
    assert_names("type", wrong(&|event| event.event_type = String::new()));
    assert_names("source", wrong(&|event| event.source = "two words".to_owned()));
    assert_names("sequence", wrong(&|event| event.seq = -1));
    assert_names("time", wrong(&|event| event.time = i64::MAX));
    // So that an event with such a key can be refused before it is published.
    assert!(check_text("key", "order 7").is_ok());
    assert_names("key", check_text("key", "a\nb"));
}

#[test]
fn a_trace_that_is_none_is_left_out() {
    let event = Envelope { trace: Some("00-0-0-0".to_owned()), ..order_placed() };
    let binary = codec().to_binary(&event).unwrap();
    assert_eq!(header(&binary.headers, "ce-traceparent"), Some("00-0-0-0"));
    let headers = binary.headers.iter().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(codec().from_binary(headers, binary.body.clone()).unwrap(), Envelope { trace: None, ..event });
}
