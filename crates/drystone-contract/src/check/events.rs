//! Rules about `(drystone.event)`.

use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};

use crate::annotations::{EVENT, event_options};
use crate::finding::Finding;
use crate::rules;
use crate::shape::{field_names, is_scalar, with_nested};
use crate::source::{Place, place};

pub(super) fn check(file: &FileDescriptor, findings: &mut Vec<Finding>) {
    for message in file.messages().flat_map(with_nested) {
        let Some(options) = event_options(&message) else { continue };
        let name = message.full_name();
        match message.get_field_by_name(&options.key) {
            None => findings.push(Finding::new(
                &rules::EVENT_KEY,
                at_event(&message),
                format!("event `{name}` has the key `{}`, and no such field", options.key),
                format!(
                    "name one of its fields ({}): events with one value stay in order",
                    field_names(&message)
                ),
            )),
            Some(field) if !is_key(&field) => findings.push(Finding::new(
                &rules::EVENT_KEY_SCALAR,
                at_event(&message),
                format!("event `{name}` has the key `{}`, which is no single comparable value", options.key),
                "use a plain string, integer, bool or enum field, not optional and not in a oneof",
            )),
            Some(_) => {}
        }
    }
}

/// Two messages under one name of event: readers could not tell them apart.
pub(super) fn check_types(files: &[FileDescriptor], findings: &mut Vec<Finding>) {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for message in files.iter().flat_map(|file| file.messages().flat_map(with_nested).collect::<Vec<_>>()) {
        let Some(options) = event_options(&message) else { continue };
        let name = message.full_name().to_owned();
        let event_type = if options.r#type.is_empty() { name.clone() } else { options.r#type };
        if let Some(owner) = taken.get(&event_type) {
            findings.push(Finding::new(
                &rules::EVENT_TYPE,
                at_event(&message),
                format!("events `{name}` and `{owner}` have one type: `{event_type}`"),
                "give each a type of its own, or leave `type` out for the full name of the message",
            ));
        } else {
            taken.insert(event_type, name);
        }
    }
}

fn is_key(field: &FieldDescriptor) -> bool {
    let comparable = !matches!(field.kind(), Kind::Float | Kind::Double | Kind::Bytes);
    is_scalar(field) && comparable && field.containing_oneof().is_none()
}

fn at_event(message: &MessageDescriptor) -> Place {
    let path = [message.path(), &[7, EVENT]].concat();
    place(message.parent_file().file_descriptor_proto(), &path)
}
