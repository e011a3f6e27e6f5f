//! Messages as prost writes them, and the services as it names them.

use std::sync::{Arc, Mutex, PoisonError};

use prost_build::{Config, Module, Service, ServiceGenerator};
use prost_types::FileDescriptorProto;

use crate::comments::tidy;
use crate::compile::Compiled;
use crate::descriptors::closure;
use crate::error::BuildError;
use crate::json;

/// Where generated code finds the well-known types.
pub(crate) const WELL_KNOWN: &str = "::drystone_call::codegen::pbjson_types";

/// What the library generators made of one package.
pub(crate) struct Messages {
    /// Structs and enums.
    pub(crate) types: String,
    /// Their `Serialize` and `Deserialize`.
    pub(crate) json: String,
    /// The services with Rust names and types resolved.
    pub(crate) services: Vec<Service>,
}

pub(crate) fn generate(
    compiled: &Compiled,
    package: &str,
    externs: &[(String, String)],
) -> Result<Messages, BuildError> {
    let (types, services) = types(compiled, package, externs)?;
    let json = json::generate(compiled, package, externs)?;
    Ok(Messages { types, json, services })
}

fn types(
    compiled: &Compiled,
    package: &str,
    externs: &[(String, String)],
) -> Result<(String, Vec<Service>), BuildError> {
    let services = Arc::new(Mutex::new(Vec::new()));
    let mut config = Config::new();
    config.btree_map(["."]).compile_well_known_types().extern_path(".google.protobuf", WELL_KNOWN);
    for (other, path) in externs {
        config.extern_path(format!(".{other}"), path);
    }
    config.service_generator(Box::new(Collect(Arc::clone(&services))));

    // Imports too, for prost looks into the types of all fields; what it makes of them is left here.
    let requests = closure(&compiled.pool, compiled.files(package)).into_iter().map(|file| {
        (Module::from_protobuf_package_name(file.package_name()), documented(file.file_descriptor_proto()))
    });
    let mut made = config.generate(requests.collect()).map_err(|error| failed(package, &error))?;
    let mut services = std::mem::take(&mut *services.lock().unwrap_or_else(PoisonError::into_inner));
    services.retain(|service| service.package == package);
    Ok((made.remove(&Module::from_protobuf_package_name(package)).unwrap_or_default(), services))
}

/// Keeps the services that prost resolved; it would otherwise write them.
struct Collect(Arc<Mutex<Vec<Service>>>);

impl ServiceGenerator for Collect {
    fn generate(&mut self, service: Service, _buffer: &mut String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(service);
    }
}

fn documented(file: &FileDescriptorProto) -> FileDescriptorProto {
    let mut file = file.clone();
    if let Some(info) = &mut file.source_code_info {
        info.location.iter_mut().for_each(tidy);
    }
    file
}

pub(crate) fn failed(package: &str, error: &dyn std::error::Error) -> BuildError {
    BuildError::Generate(format!("the types of package `{package}` cannot be generated: {error}"))
}
