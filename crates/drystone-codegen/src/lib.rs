//! The build-script generator: from .proto files to a contract crate.
