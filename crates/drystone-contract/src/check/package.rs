//! Rules about a file as a whole: its package, the names made from it, and types that cannot be used.

use prost_reflect::{FieldDescriptor, FileDescriptor, Kind};

use crate::finding::Finding;
use crate::rules;
use crate::shape::with_nested;
use crate::source::place;

/// Types whose canonical JSON cannot be made from the message alone.
const NOT_JSON: [&str; 2] = ["google.protobuf.Any", "google.protobuf.FieldMask"];
/// Types whose Rust form keeps fields in hash order, so that one value has many encodings.
const NOT_STABLE: [&str; 3] =
    ["google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"];

pub(super) fn check(file: &FileDescriptor, findings: &mut Vec<Finding>) {
    let proto = file.file_descriptor_proto();
    if file.package_name().is_empty() {
        findings.push(Finding::new(
            &rules::PACKAGE,
            place(proto, &[12]),
            format!("`{}` has no package", file.name()),
            "add one with a version, such as `package shop.orders.v1;`",
        ));
    }
    for message in file.messages().flat_map(with_nested) {
        for field in message.fields() {
            check_type(file, &field, findings);
        }
    }
    for service in file.services() {
        let name = service.name();
        for made in [name.to_owned(), format!("{name}Dyn"), format!("{name}Client"), format!("{name}Server")]
        {
            if is_taken(file, &made) {
                findings.push(Finding::new(
                    &rules::NAMES,
                    place(proto, service.path()),
                    format!(
                        "service `{name}` makes a Rust type `{made}`, and a message or enum has that name"
                    ),
                    format!("rename the service or the type `{made}`"),
                ));
            }
        }
    }
}

fn is_taken(file: &FileDescriptor, name: &str) -> bool {
    let full_name = format!("{}.{name}", file.package_name());
    let pool = file.parent_pool();
    pool.get_message_by_name(&full_name).is_some() || pool.get_enum_by_name(&full_name).is_some()
}

fn check_type(file: &FileDescriptor, field: &FieldDescriptor, findings: &mut Vec<Finding>) {
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    let Kind::Message(kind) = kind else { return };
    let (rule, fault, remedy) = if NOT_JSON.contains(&kind.full_name()) {
        let remedy = "use a message of the contract, a `oneof`, or `repeated string` for a mask";
        (&rules::JSON, "has no canonical JSON here", remedy)
    } else if NOT_STABLE.contains(&kind.full_name()) {
        let remedy = "use a message of the contract, a `map`, or a `string` that holds JSON";
        (
            &rules::ENCODING,
            "encodes differently from one time to the next, so that a repeated call looks new",
            remedy,
        )
    } else {
        return;
    };
    findings.push(Finding::new(
        rule,
        place(file.file_descriptor_proto(), field.path()),
        format!("field `{}` is a `{}`, which {fault}", field.full_name(), kind.full_name()),
        remedy,
    ));
}
