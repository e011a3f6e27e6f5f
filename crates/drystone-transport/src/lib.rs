//! gRPC between processes: client, server, mutual TLS.
