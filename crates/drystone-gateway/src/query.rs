//! The query string as fields of a request.

use drystone_call::{Error, Result};
use serde_json::{Map, Value};

use crate::convert;
use crate::fields::FieldPath;
use crate::percent::{Decode, decode};
use crate::route::{BodyPlan, Route};

/// Adds the parameters of `query` to `document`.
///
/// # Errors
/// `INVALID_ARGUMENT` with a violation for each parameter that does not fit.
pub(crate) fn fill(route: &Route, query: &str, document: &mut Map<String, Value>) -> Result<()> {
    let mut violations = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(name) = decode(name, Decode::Query) else {
            violations.push((name.to_owned(), "the name is not percent-encoded UTF-8".to_owned()));
            continue;
        };
        let outcome = match decode(text, Decode::Query) {
            Some(text) => parameter(route, &name, &text, document),
            None => Err("the value is not percent-encoded UTF-8".to_owned()),
        };
        violations.extend(outcome.err().map(|problem| (name.into_owned(), problem)));
    }
    let Some((first, problem)) = violations.first() else { return Ok(()) };
    let error = Error::invalid_argument(format!("the query parameter `{first}` does not fit: {problem}"));
    Err(violations.into_iter().fold(error, |error, (name, problem)| error.violation(name, problem)))
}

fn parameter(route: &Route, name: &str, text: &str, document: &mut Map<String, Value>) -> Result<(), String> {
    if matches!(route.body, BodyPlan::Whole) {
        return Err("this route takes no query; put the field into the body".to_owned());
    }
    let path = FieldPath::resolve(&route.input, name.split('.'))?;
    if route.variables.iter().any(|variable| path.is_within(&variable.path)) {
        return Err("the path gives this field".to_owned());
    }
    if let BodyPlan::Field(body) = &route.body
        && path.is_within(body)
    {
        return Err("the body gives this field".to_owned());
    }
    let field = path.field();
    let kind = field.kind();
    if field.is_map() || !convert::has_text_form(&kind) {
        return Err(
            "a field of this type cannot stand in a query; name a field below it, as in a.b=1".to_owned()
        );
    }
    let value = convert::from_text(&kind, text)?;
    let entry = path.entry(document)?;
    match entry {
        Value::Null if field.is_list() => *entry = Value::Array(vec![value]),
        Value::Null => *entry = value,
        Value::Array(values) if field.is_list() => values.push(value),
        _ => return Err("it is given more than once".to_owned()),
    }
    Ok(())
}
