//! The comments of a contract's files, found by descriptor path.

use std::collections::HashMap;

use prost_reflect::{
    DescriptorPool, EnumDescriptor, EnumValueDescriptor, FieldDescriptor, MessageDescriptor,
};

/// Comments by file and descriptor path.
#[derive(Debug, Default)]
pub(super) struct Comments(HashMap<(String, Vec<i32>), String>);

impl Comments {
    /// The comments of every file in the pool.
    pub(super) fn of(pool: &DescriptorPool) -> Self {
        let mut all = HashMap::new();
        for file in pool.file_descriptor_protos() {
            for location in file.source_code_info.iter().flat_map(|info| &info.location) {
                let leading = location.leading_comments.as_deref().map(clean).filter(|text| !text.is_empty());
                let text = leading.or_else(|| location.trailing_comments.as_deref().map(clean));
                if let Some(text) = text.filter(|text| !text.is_empty()) {
                    all.insert((file.name().to_owned(), location.path.clone()), text);
                }
            }
        }
        Self(all)
    }

    fn get(&self, file: &str, path: &[i32]) -> String {
        self.0.get(&(file.to_owned(), path.to_vec())).cloned().unwrap_or_default()
    }

    pub(super) fn message(&self, message: &MessageDescriptor) -> String {
        self.get(message.parent_file().name(), message.path())
    }

    pub(super) fn field(&self, field: &FieldDescriptor) -> String {
        self.get(field.parent_file().name(), field.path())
    }

    pub(super) fn enumeration(&self, descriptor: &EnumDescriptor) -> String {
        self.get(descriptor.parent_file().name(), descriptor.path())
    }

    pub(super) fn value(&self, value: &EnumValueDescriptor) -> String {
        self.get(value.parent_enum().parent_file().name(), value.path())
    }
}

/// Drops the blank that stands between `//` and the text, and empty lines at both ends.
fn clean(raw: &str) -> String {
    let lines: Vec<&str> =
        raw.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end()).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}
