//! The OpenAPI 3.1 document, made from the descriptors and their comments.
//!
//! It says what the gateway does, also where that differs from canonical proto3 JSON: the schemas follow the message types that
//! contracts generate. Members come out sorted, so equal contracts give equal bytes.

mod comments;
mod operation;
mod parameters;
mod path;
mod responses;
mod schemas;

use std::collections::BTreeMap;

use bytes::Bytes;
use drystone_contract::Contract;
use serde_json::{Map, Value, json};

use comments::Comments;
use operation::operation;
use path::Paths;
use schemas::Schemas;

/// The document that describes `contracts`.
pub(crate) fn document(title: &str, version: &str, contracts: &[Contract]) -> Bytes {
    let mut schemas = Schemas::default();
    let mut paths = Paths::default();
    let mut tags = Vec::new();
    for contract in contracts {
        schemas.comments = Comments::of(&contract.pool);
        tags.push(json!({ "name": contract.full_name, "description": contract.comment }));
        describe(contract, &mut schemas, &mut paths);
    }
    let mut components = responses::components();
    components.insert("schemas".to_owned(), Value::Object(with_problem(schemas.done)));
    components.insert("parameters".to_owned(), parameters::components());
    let document = json!({
        "openapi": "3.1.0",
        "info": { "title": title, "version": version },
        "tags": tags,
        "paths": paths.items,
        "components": components,
    });
    Bytes::from(document.to_string())
}

fn describe(contract: &Contract, schemas: &mut Schemas, paths: &mut Paths) {
    for method in &contract.methods {
        for (index, binding) in method.bindings.iter().enumerate() {
            let name = format!("{}.{}", contract.full_name, method.name);
            let id = if index == 0 { name } else { format!("{name}.{}", index + 1) };
            let (path, names) = paths.name(&binding.template);
            let operation = operation(contract, method, binding, &id, &names, schemas);
            paths.insert(path, &binding.verb, operation);
        }
    }
}

fn with_problem(schemas: BTreeMap<String, Value>) -> Map<String, Value> {
    let mut all: Map<String, Value> = schemas.into_iter().collect();
    all.insert("Problem".to_owned(), responses::problem_schema());
    all
}
