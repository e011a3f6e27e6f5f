//! One route, compiled from a contract's HTTP rule: which field comes from where.

use std::ops::Range;
use std::sync::Arc;

use drystone_call::{AnyChannel, MethodInfo};
use drystone_contract::{Body, HttpBinding, Method, Part, PathTemplate};
use prost_reflect::MessageDescriptor;

use crate::fields::{self, FieldPath};
use crate::percent::Decode;

/// A route to one method of one contract.
pub(crate) struct Route {
    pub(crate) channel: Arc<dyn AnyChannel>,
    pub(crate) info: &'static MethodInfo,
    pub(crate) input: MessageDescriptor,
    pub(crate) verb: String,
    pub(crate) template: PathTemplate,
    pub(crate) variables: Vec<PathVariable>,
    pub(crate) body: BodyPlan,
    /// The response field that alone is answered, as JSON spells it, and what stands for it when it is not set.
    pub(crate) response_field: Option<(String, &'static str)>,
}

/// A field that takes its value from the path.
pub(crate) struct PathVariable {
    pub(crate) path: FieldPath,
    pub(crate) name: String,
    parts: Range<usize>,
    to_the_end: bool,
    pub(crate) decode: Decode,
}

/// What the body fills.
pub(crate) enum BodyPlan {
    None,
    Whole,
    Field(FieldPath),
}

impl Route {
    /// Resolves the fields that a binding names.
    ///
    /// # Errors
    /// A text that says which name leads nowhere.
    pub(crate) fn compile(
        channel: &Arc<dyn AnyChannel>,
        info: &'static MethodInfo,
        method: &Method,
        binding: &HttpBinding,
    ) -> Result<Self, String> {
        if http::Method::from_bytes(binding.verb.as_str().as_bytes()).is_err() {
            return Err(format!("`{}` is no HTTP method", binding.verb));
        }
        let input = method.input.clone();
        let template = binding.template.clone();
        let variables = template.variables().iter().map(|variable| {
            let path = FieldPath::resolve(&input, variable.field_path.iter().map(String::as_str))?;
            let parts = variable.parts.clone();
            let to_the_end = template.parts()[parts.clone()].contains(&Part::Rest);
            let decode = if to_the_end || parts.len() > 1 { Decode::Segments } else { Decode::Segment };
            Ok(PathVariable { path, name: variable.name(), parts, to_the_end, decode })
        });
        Ok(Self {
            channel: Arc::clone(channel),
            info,
            variables: variables.collect::<Result<_, String>>()?,
            body: match &binding.body {
                Body::None => BodyPlan::None,
                Body::Whole => BodyPlan::Whole,
                Body::Field(name) => {
                    BodyPlan::Field(FieldPath::resolve(&input, std::iter::once(name.as_str()))?)
                }
            },
            response_field: binding
                .response_body
                .as_deref()
                .map(|name| response_field(method, name))
                .transpose()?,
            verb: binding.verb.to_string(),
            input,
            template,
        })
    }

    /// Whether the body's text is the whole request.
    pub(crate) fn passes_text_through(&self) -> bool {
        matches!(self.body, BodyPlan::Whole) && self.variables.is_empty()
    }
}

fn response_field(method: &Method, name: &str) -> Result<(String, &'static str), String> {
    let field =
        fields::field(&method.output, name).ok_or_else(|| format!("the response has no field `{name}`"))?;
    let unset = match () {
        () if field.is_list() => "[]",
        () if field.is_map() => "{}",
        () => "null",
    };
    Ok((field.json_name().to_owned(), unset))
}

impl PathVariable {
    /// The variable's part of a path that matched.
    pub(crate) fn text<'p>(&self, path: &'p str) -> &'p str {
        let start = nth_segment(path, self.parts.start);
        if self.to_the_end {
            &path[start..]
        } else {
            path[start..nth_segment(path, self.parts.end)].trim_end_matches('/')
        }
    }
}

/// Where the segment of this index begins; the end of the path if it has fewer.
fn nth_segment(path: &str, index: usize) -> usize {
    path.bytes()
        .enumerate()
        .filter(|(_, byte)| *byte == b'/')
        .nth(index)
        .map_or(path.len(), |(slash, _)| slash + 1)
}
