//! Paths to fields of a request, and putting values there in its JSON document.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::convert;

/// The way from a request message down to a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldPath(Vec<FieldDescriptor>);

impl FieldPath {
    /// Follows names, each as the `.proto` file or as JSON spells it.
    ///
    /// # Errors
    /// A text that says which name leads nowhere.
    pub(crate) fn resolve<'n>(
        message: &MessageDescriptor,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Self, String> {
        let mut path = Vec::with_capacity(1);
        let mut message = Some(message.clone());
        for name in names {
            let Some(current) = message else {
                return Err(format!("`{name}` is asked of a field that has none"));
            };
            let field =
                field(&current, name).ok_or_else(|| format!("{} has no field `{name}`", current.name()))?;
            message = match field.kind() {
                Kind::Message(inner) if !field.is_list() && !field.is_map() && !convert::is_leaf(&inner) => {
                    Some(inner)
                }
                _ => None,
            };
            path.push(field);
        }
        Ok(Self(path))
    }

    /// The field at the end.
    pub(crate) fn field(&self) -> &FieldDescriptor {
        self.0.last().expect("a path has at least one field")
    }

    /// Whether it is a field of the message itself.
    pub(crate) fn is_top(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether this field lies at or below `other`.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The entry of the field in `document`, `Null` where there was none, with the objects above it.
    ///
    /// # Errors
    /// A text, if something above the field is there and is no object.
    pub(crate) fn entry<'d>(&self, document: &'d mut Map<String, Value>) -> Result<&'d mut Value, String> {
        let mut object = document;
        let (field, above) = self.0.split_last().expect("a path has at least one field");
        for step in above {
            let inner = value_of(object, step);
            if inner.is_null() {
                *inner = Value::Object(Map::new());
            }
            let Value::Object(inner) = inner else {
                return Err(format!("`{}` is not an object", step.name()));
            };
            object = inner;
        }
        Ok(value_of(object, field))
    }
}

/// The field of a name, as the `.proto` file or as JSON spells it.
pub(crate) fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// The value under either spelling of a field's name; `Null` is put under the JSON spelling if there is none.
fn value_of<'d>(object: &'d mut Map<String, Value>, field: &FieldDescriptor) -> &'d mut Value {
    let spelling = if object.contains_key(field.name()) { field.name() } else { field.json_name() };
    // One lookup, and one key made, where the two spellings are the same or there is nothing yet.
    object.entry(spelling).or_insert(Value::Null)
}
