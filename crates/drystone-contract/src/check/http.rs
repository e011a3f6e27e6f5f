//! Rules about `(google.api.http)`.

use std::collections::BTreeMap;

use prost_reflect::{FileDescriptor, MessageDescriptor, MethodDescriptor};

use super::methods::at_option;
use crate::annotations::{HTTP, http_rule};
use crate::finding::{Finding, Rule};
use crate::http_rule::{BindingError, Body, HttpBinding, HttpVerb, bindings};
use crate::rules;
use crate::shape::{PathProblem, field_at, field_names, is_scalar};
use crate::template::Variable;

pub(super) fn check(method: &MethodDescriptor, findings: &mut Vec<Finding>) {
    let Some(rule) = http_rule(method) else { return };
    let mut report = Report { method, findings };
    for binding in bindings(&rule) {
        match binding {
            Ok(binding) => report.binding(&binding),
            Err(error) => report.unreadable(&error),
        }
    }
}

/// Two methods on one route: the first in the order of files keeps it, the others are found.
pub(super) fn check_routes(files: &[FileDescriptor], findings: &mut Vec<Finding>) {
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let services = files.iter().flat_map(|file| file.services().collect::<Vec<_>>());
    for method in services.flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let Some(rule) = http_rule(&method) else { continue };
        for binding in bindings(&rule).into_iter().flatten() {
            let route = format!("{} {}", binding.verb, binding.template.shape());
            if let Some(owner) = taken.get(&route) {
                let message =
                    format!("method `{}` and method `{owner}` have one route: {route}", method.full_name());
                let remedy = "change the verb or the path of one of them";
                findings.push(Finding::new(&rules::ROUTE, at_option(&method, HTTP), message, remedy));
            } else {
                taken.insert(route, method.full_name().to_owned());
            }
        }
    }
}

struct Report<'a> {
    method: &'a MethodDescriptor,
    findings: &'a mut Vec<Finding>,
}

impl Report<'_> {
    fn add(&mut self, rule: &Rule, message: &str, remedy: impl Into<String>) {
        let message = format!("method `{}`: {message}", self.method.full_name());
        self.findings.push(Finding::new(rule, at_option(self.method, HTTP), message, remedy));
    }

    fn unreadable(&mut self, error: &BindingError) {
        let message = error.to_string();
        match error {
            BindingError::Template(_) => {
                let remedy = "write a path such as `/v1/orders/{order_id}:cancel`";
                self.add(&rules::TEMPLATE, &message, remedy);
            }
            BindingError::NoPattern => {
                self.add(&rules::PATTERN, &message, "add one, such as `get: \"/v1/orders/{order_id}\"`");
            }
            BindingError::Nested => {
                self.add(&rules::PATTERN, &message, "list every additional binding in the outer rule");
            }
        }
    }

    fn binding(&mut self, binding: &HttpBinding) {
        let (input, output) = (self.method.input(), self.method.output());
        for variable in binding.template.variables() {
            self.variable(&input, variable);
        }
        if let Body::Field(field) = &binding.body
            && input.get_field_by_name(field).is_none()
        {
            let message = format!("`body` names `{field}`, and `{}` has no such field", input.full_name());
            let remedy = format!("name one of its fields ({}), or `*` for all", field_names(&input));
            self.add(&rules::BODY_FIELD, &message, remedy);
        }
        if binding.body != Body::None && matches!(binding.verb, HttpVerb::Get | HttpVerb::Delete) {
            let message = format!("{} with a `body`", binding.verb);
            self.add(&rules::BODY_VERB, &message, "remove `body`, or use `post`");
        }
        if let Some(field) = &binding.response_body
            && output.get_field_by_name(field).is_none()
        {
            let message =
                format!("`response_body` names `{field}`, and `{}` has no such field", output.full_name());
            self.add(
                &rules::RESPONSE_BODY,
                &message,
                format!("name one of its fields ({})", field_names(&output)),
            );
        }
    }

    fn variable(&mut self, input: &MessageDescriptor, variable: &Variable) {
        let name = variable.name();
        match field_at(input, &variable.field_path) {
            Ok(field) if is_scalar(&field) => {}
            Ok(_) => {
                let message = format!("path variable `{name}` is a message, a list or a map");
                self.add(
                    &rules::PATH_SCALAR,
                    &message,
                    "bind a single scalar or enum, or move the field to the body",
                );
            }
            Err(PathProblem::NoField { message, name: missing }) => {
                let text = format!("path variable `{name}`: `{message}` has no field `{missing}`");
                let fields =
                    input.parent_pool().get_message_by_name(&message).map(|found| field_names(&found));
                let remedy = format!("name one of its fields ({})", fields.unwrap_or_default());
                self.add(&rules::PATH_FIELD, &text, remedy);
            }
            Err(PathProblem::NotAMessage { name: scalar }) => {
                let text =
                    format!("path variable `{name}`: `{scalar}` is not a message, so it has no fields");
                self.add(&rules::PATH_FIELD, &text, "name a field that exists");
            }
        }
    }
}
