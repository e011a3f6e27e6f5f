//! One operation: a method as it is reached by one of its bindings.

use drystone_contract::{Body, Contract, HttpBinding, Method};
use serde_json::{Value, json};

use super::schemas::{Schemas, described};
use super::{parameters, responses};
use crate::fields::{self, FieldPath};

/// The operation of a binding whose wildcards have these names.
pub(super) fn operation(
    contract: &Contract,
    method: &Method,
    binding: &HttpBinding,
    id: &str,
    names: &[String],
    schemas: &mut Schemas,
) -> Value {
    let elsewhere = given_elsewhere(method, binding);
    let mut all = parameters::of_path(method, binding, names, schemas);
    if binding.body != Body::Whole {
        all.extend(parameters::of_query(&method.input, &elsewhere, schemas));
    }
    all.extend(parameters::headers(method));
    let body = request_body(method, binding, &elsewhere, schemas);
    let mut operation = json!({
        "operationId": id,
        "tags": [contract.full_name],
        "summary": method.comment.lines().next().unwrap_or_default(),
        "parameters": all,
        "responses": responses::of(contract, method, binding, body.is_some(), schemas),
    });
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    described(operation, method.comment.clone())
}

/// The fields that path and body give, so that the query does not.
fn given_elsewhere(method: &Method, binding: &HttpBinding) -> Vec<FieldPath> {
    let variables = binding.template.variables().iter();
    let mut given: Vec<_> = variables
        .filter_map(|it| FieldPath::resolve(&method.input, it.field_path.iter().map(String::as_str)).ok())
        .collect();
    if let Body::Field(name) = &binding.body {
        given.extend(FieldPath::resolve(&method.input, std::iter::once(name.as_str())));
    }
    given
}

fn request_body(
    method: &Method,
    binding: &HttpBinding,
    elsewhere: &[FieldPath],
    schemas: &mut Schemas,
) -> Option<Value> {
    let schema = match &binding.body {
        Body::None => return None,
        Body::Whole if elsewhere.is_empty() => schemas.message(&method.input),
        Body::Whole => {
            // Only a field of the request itself can be left out; one deeper may stand in the body if it is equal.
            let top: Vec<_> =
                elsewhere.iter().filter(|path| path.is_top()).map(|path| path.field().clone()).collect();
            schemas.object(&method.input, &top)
        }
        Body::Field(name) => schemas.described_field(&fields::field(&method.input, name)?),
    };
    Some(json!({ "content": { "application/json": { "schema": schema } } }))
}
