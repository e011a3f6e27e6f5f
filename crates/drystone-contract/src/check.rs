//! Runs every rule over a set of descriptors.
//!
//! Each rule family is a file of its own below; each adds findings and none stops at its first, because a build
//! that reports one mistake at a time costs one build per mistake.

mod events;
mod http;
mod methods;
mod package;
mod reasons;

use prost_reflect::{DescriptorPool, FileDescriptor};

use crate::files::is_well_known_file;
use crate::finding::Finding;

/// Checks every contract file in the pool against every rule; findings come ordered by file and line.
///
/// The files that declare annotations or well-known types are not contracts and are left out.
#[must_use]
pub fn check(pool: &DescriptorPool) -> Vec<Finding> {
    let files: Vec<FileDescriptor> = pool.files().filter(|file| !is_well_known_file(file.name())).collect();
    let mut findings = Vec::new();
    for file in &files {
        package::check(file, &mut findings);
        for method in file.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            methods::check(&method, &mut findings);
            http::check(&method, &mut findings);
        }
        reasons::check(file, &mut findings);
        events::check(file, &mut findings);
    }
    http::check_routes(&files, &mut findings);
    events::check_types(&files, &mut findings);
    findings.sort_by(|a, b| (&a.file, a.line, a.column, a.id).cmp(&(&b.file, b.line, b.column, b.id)));
    findings
}
