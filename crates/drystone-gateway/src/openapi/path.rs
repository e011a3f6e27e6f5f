//! Path templates in the form of OpenAPI, which knows single segments only.
//!
//! A variable over several segments, as in `{name=shelves/*/books/*}`, becomes a parameter for each wildcard:
//! `shelves/{name_1}/books/{name_2}`. `**` becomes one parameter that may contain slashes.

use std::collections::HashMap;

use drystone_contract::{HttpVerb, Part, PathTemplate, Variable};
use serde_json::{Map, Value};

/// The path items so far.
#[derive(Debug, Default)]
pub(super) struct Paths {
    pub(super) items: Map<String, Value>,
    /// The parameters' names by shape: OpenAPI holds two paths that differ in these names alone to be one path.
    names: HashMap<String, Vec<String>>,
}

impl Paths {
    /// The path of a template, and the names of its wildcards.
    pub(super) fn name(&mut self, template: &PathTemplate) -> (String, Vec<String>) {
        let names = self.names.entry(template.shape()).or_insert_with(|| names(template)).clone();
        let mut wildcards = names.iter();
        let mut path = String::new();
        for part in template.parts() {
            path.push('/');
            match part {
                Part::Literal(text) => path.push_str(text),
                Part::Any | Part::Rest => {
                    path.push_str(&format!("{{{}}}", wildcards.next().expect("each wildcard has a name")));
                }
            }
        }
        path.extend(template.verb().into_iter().flat_map(|verb| [":", verb]));
        (path, names)
    }

    /// Adds an operation; one of an HTTP method that OpenAPI does not know is left out.
    pub(super) fn insert(&mut self, path: String, verb: &HttpVerb, operation: Value) {
        let verb = verb.as_str().to_ascii_lowercase();
        if matches!(&*verb, "get" | "put" | "post" | "delete" | "options" | "head" | "patch" | "trace")
            && let Value::Object(item) = self.items.entry(path).or_insert_with(|| Value::Object(Map::new()))
        {
            item.insert(verb, operation);
        }
    }
}

/// The wildcards of a template with their positions.
pub(super) fn wildcards(template: &PathTemplate) -> impl Iterator<Item = (usize, &Part)> {
    template.parts().iter().enumerate().filter(|(_, part)| !matches!(part, Part::Literal(_)))
}

/// The variable that spans a part.
pub(super) fn variable_at(template: &PathTemplate, index: usize) -> Option<&Variable> {
    template.variables().iter().find(|variable| variable.parts.contains(&index))
}

fn names(template: &PathTemplate) -> Vec<String> {
    let name = |(index, _): (usize, &Part)| {
        let owner = variable_at(template, index);
        let siblings: Vec<_> = wildcards(template)
            .map(|(other, _)| other)
            .filter(|other| variable_at(template, *other) == owner)
            .collect();
        let stem = owner.map_or_else(|| "segment".to_owned(), Variable::name);
        if siblings.len() == 1 {
            return stem;
        }
        let position = siblings.iter().position(|other| *other == index).unwrap_or_default();
        format!("{stem}_{}", position + 1)
    };
    wildcards(template).map(name).collect()
}
