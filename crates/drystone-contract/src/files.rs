//! The `.proto` files that every contract may import, embedded so that a build needs no file beside its own.

/// Import name and text of each annotation file, ready for a compiler's resolver.
///
/// The same files lie in this crate's `proto` directory for users of other languages.
pub const WELL_KNOWN_FILES: &[(&str, &str)] = &[
    ("google/api/http.proto", include_str!("../proto/google/api/http.proto")),
    ("google/api/annotations.proto", include_str!("../proto/google/api/annotations.proto")),
    ("drystone/options.proto", include_str!("../proto/drystone/options.proto")),
];

/// Whether `name` is one of the files that declare annotations or well-known types rather than a contract.
#[must_use]
pub fn is_well_known_file(name: &str) -> bool {
    name.starts_with("google/protobuf/") || WELL_KNOWN_FILES.iter().any(|(file, _)| *file == name)
}
