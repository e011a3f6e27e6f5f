//! HTTP bindings: how a method is reached by REST, read from its `(google.api.http)` annotation.

use std::fmt;

use prost_reflect::DynamicMessage;

use crate::template::{PathTemplate, TemplateError};

/// The HTTP verb of a binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of HTTP")]
pub enum HttpVerb {
    Get,
    Put,
    Post,
    Delete,
    Patch,
    /// Any other verb, as written.
    Custom(String),
}

impl HttpVerb {
    /// The verb as it stands in a request line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Custom(verb) => verb,
        }
    }
}

impl fmt::Display for HttpVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the HTTP body of a request fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing: there is no body, and fields that the path leaves come from the query.
    None,
    /// The whole request: there are no query parameters.
    Whole,
    /// This field of the request; the others come from the query.
    Field(String),
}

/// One route to a method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpBinding {
    /// The verb.
    pub verb: HttpVerb,
    /// The path.
    pub template: PathTemplate,
    /// What the body fills.
    pub body: Body,
    /// The response field that alone becomes the HTTP body; `None` for the whole response.
    pub response_body: Option<String>,
}

/// Why an annotation is not a binding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// The path template does not parse.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// There is no verb, or an empty one.
    #[error("the HTTP rule names no verb and path")]
    NoPattern,
    /// `additional_bindings` inside `additional_bindings`.
    #[error("an additional binding has additional bindings of its own")]
    Nested,
}

/// Reads the rule and its additional bindings; each is a result of its own, so that one fault hides no other.
pub(crate) fn bindings(rule: &DynamicMessage) -> Vec<Result<HttpBinding, BindingError>> {
    let mut all = vec![binding(rule)];
    for more in additional(rule) {
        all.push(if additional(&more).is_empty() { binding(&more) } else { Err(BindingError::Nested) });
    }
    all
}

fn additional(rule: &DynamicMessage) -> Vec<DynamicMessage> {
    let list = rule.get_field_by_name("additional_bindings");
    let list = list.as_ref().and_then(|value| value.as_list()).unwrap_or_default();
    list.iter().filter_map(|value| value.as_message().cloned()).collect()
}

fn binding(rule: &DynamicMessage) -> Result<HttpBinding, BindingError> {
    let (verb, path) = pattern(rule).ok_or(BindingError::NoPattern)?;
    let body = match text(rule, "body") {
        body if body.is_empty() => Body::None,
        body if body == "*" => Body::Whole,
        body => Body::Field(body),
    };
    let response_body = Some(text(rule, "response_body")).filter(|field| !field.is_empty());
    Ok(HttpBinding { verb, template: PathTemplate::parse(&path)?, body, response_body })
}

fn pattern(rule: &DynamicMessage) -> Option<(HttpVerb, String)> {
    let plain = [
        ("get", HttpVerb::Get),
        ("put", HttpVerb::Put),
        ("post", HttpVerb::Post),
        ("delete", HttpVerb::Delete),
        ("patch", HttpVerb::Patch),
    ];
    for (field, verb) in plain {
        if rule.has_field_by_name(field) {
            return Some((verb, text(rule, field)));
        }
    }
    let custom = rule.get_field_by_name("custom")?;
    let custom = custom.as_message()?;
    let verb = text(custom, "kind").to_ascii_uppercase();
    (!verb.is_empty()).then(|| (HttpVerb::Custom(verb), text(custom, "path")))
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.as_ref().and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}
