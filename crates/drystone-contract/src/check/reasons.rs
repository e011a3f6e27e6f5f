//! Rules about `(drystone.reasons)` and `(drystone.reason)`.

use prost_reflect::{EnumDescriptor, EnumValueDescriptor, FileDescriptor};

use crate::annotations::{REASON, is_reasons, reason_options};
use crate::code::Code;
use crate::finding::Finding;
use crate::rules;
use crate::shape::nested_enums;
use crate::source::{Place, place};

pub(super) fn check(file: &FileDescriptor, findings: &mut Vec<Finding>) {
    for descriptor in file.enums() {
        check_enum(&descriptor, findings);
    }
    for descriptor in file.messages().flat_map(|message| nested_enums(&message)) {
        if is_reasons(&descriptor) {
            findings.push(Finding::new(
                &rules::REASONS_NESTED,
                place(file.file_descriptor_proto(), descriptor.path()),
                format!("enum `{}` lists reasons inside a message", descriptor.full_name()),
                "move the enum to the top of the file: reasons belong to the package",
            ));
        }
        check_enum(&descriptor, findings);
    }
}

fn check_enum(descriptor: &EnumDescriptor, findings: &mut Vec<Finding>) {
    let reasons = is_reasons(descriptor);
    if reasons {
        check_zero(descriptor, findings);
    }
    for value in descriptor.values() {
        if reasons {
            check_reason(&value, findings);
        } else if reason_options(&value).is_some() {
            findings.push(Finding::new(
                &rules::STRAY_REASON,
                at_reason(&value),
                format!("`{}` is a reason, and enum `{}` lists none", value.name(), descriptor.full_name()),
                "add `option (drystone.reasons) = true;` to the enum, or remove `(drystone.reason)`",
            ));
        }
    }
}

fn check_zero(descriptor: &EnumDescriptor, findings: &mut Vec<Finding>) {
    let zero = descriptor.get_value(0);
    if zero.is_some_and(|value| value.name().ends_with("_UNSPECIFIED")) {
        return;
    }
    findings.push(Finding::new(
        &rules::REASONS_ZERO,
        place(descriptor.parent_file().file_descriptor_proto(), descriptor.path()),
        format!("enum `{}` has no zero value named *_UNSPECIFIED", descriptor.full_name()),
        format!("add `{}_UNSPECIFIED = 0;`", upper_snake(descriptor.name())),
    ));
}

fn check_reason(value: &EnumValueDescriptor, findings: &mut Vec<Finding>) {
    let options = reason_options(value);
    if value.number() == 0 && options.is_none() {
        return;
    }
    if options.as_ref().and_then(|options| Code::try_from_number(options.code)).is_none() {
        findings.push(Finding::new(
            &rules::REASON_CODE,
            at_reason(value),
            format!("reason `{}` has no code, or the code OK", value.name()),
            "name a failure, such as `[(drystone.reason) = { code: FAILED_PRECONDITION, http: 409 }]`",
        ));
    }
    let http = options.map_or(0, |options| options.http);
    if http != 0 && !(400..=599).contains(&http) {
        findings.push(Finding::new(
            &rules::REASON_HTTP,
            at_reason(value),
            format!("reason `{}` has the HTTP status {http}", value.name()),
            "use one of 400 to 599, or leave `http` out for the usual status of the code",
        ));
    }
}

fn at_reason(value: &EnumValueDescriptor) -> Place {
    let path = [value.path(), &[3, REASON]].concat();
    place(value.parent_file().file_descriptor_proto(), &path)
}

fn upper_snake(camel: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in camel.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_uppercase());
    }
    snake
}
