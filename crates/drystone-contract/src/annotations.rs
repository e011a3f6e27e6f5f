//! Reads the annotations off descriptors, as they were written: no defaults, no judgement.

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, EnumValueDescriptor, MessageDescriptor, MethodDescriptor,
    Value,
};

/// Field number of `google.api.http` in the options of a method, as source locations have it.
pub(crate) const HTTP: i32 = 72_295_728;
/// Field number of `drystone.method` in the options of a method.
pub(crate) const METHOD: i32 = 50_710;
/// Field number of `drystone.reason` in the options of an enum value.
pub(crate) const REASON: i32 = 50_712;
/// Field number of `drystone.event` in the options of a message.
pub(crate) const EVENT: i32 = 50_713;

/// `(drystone.method)`, with the number of its key policy.
#[derive(Default)]
pub(crate) struct MethodOptions {
    pub(crate) timeout: String,
    pub(crate) key: i32,
    /// The time to live as written, if calls are coalesced.
    pub(crate) coalesce: Option<String>,
}

/// `(drystone.reason)`, with the number of its code.
pub(crate) struct ReasonOptions {
    pub(crate) code: i32,
    pub(crate) http: i32,
}

/// `(drystone.event)`.
pub(crate) struct EventOptions {
    pub(crate) key: String,
    pub(crate) r#type: String,
}

pub(crate) fn http_rule(method: &MethodDescriptor) -> Option<DynamicMessage> {
    message(method.parent_pool(), &method.options(), "google.api.http")
}

pub(crate) fn method_options(method: &MethodDescriptor) -> MethodOptions {
    let options = message(method.parent_pool(), &method.options(), "drystone.method");
    options
        .map(|it| MethodOptions {
            timeout: text(&it, "timeout"),
            key: number(&it, "key"),
            coalesce: part(&it, "coalesce").map(|coalesce| text(&coalesce, "ttl")),
        })
        .unwrap_or_default()
}

pub(crate) fn is_reasons(descriptor: &EnumDescriptor) -> bool {
    let value = extension(descriptor.parent_pool(), &descriptor.options(), "drystone.reasons");
    value.and_then(|value| value.as_bool()).unwrap_or(false)
}

pub(crate) fn reason_options(value: &EnumValueDescriptor) -> Option<ReasonOptions> {
    let options = message(value.parent_pool(), &value.options(), "drystone.reason")?;
    Some(ReasonOptions { code: number(&options, "code"), http: number(&options, "http") })
}

pub(crate) fn event_options(descriptor: &MessageDescriptor) -> Option<EventOptions> {
    let options = message(descriptor.parent_pool(), &descriptor.options(), "drystone.event")?;
    Some(EventOptions { key: text(&options, "key"), r#type: text(&options, "type") })
}

fn message(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    extension(pool, options, name)?.as_message().cloned()
}

fn extension(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<Value> {
    // Without the file that declares it in the pool, nothing can have used the extension.
    let descriptor = pool.get_extension_by_name(name)?;
    options.has_extension(&descriptor).then(|| options.get_extension(&descriptor).into_owned())
}

/// A message in a field, if it was written.
fn part(message: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    let written = message.has_field_by_name(field);
    message.get_field_by_name(field).filter(|_| written)?.as_message().cloned()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.as_ref().and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

fn number(message: &DynamicMessage, field: &str) -> i32 {
    let value = message.get_field_by_name(field);
    value.and_then(|value| value.as_i32().or_else(|| value.as_enum_number())).unwrap_or_default()
}
