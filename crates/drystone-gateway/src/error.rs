//! Why a gateway cannot be built or cannot listen.

use std::net::SocketAddr;

use drystone_contract::ContractError;

/// A gateway that would not do what its contracts say, refused before it starts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The descriptors of a contract cannot be read.
    #[error("the gateway cannot mount {contract}: {cause}; rebuild the crate of the contract")]
    Descriptors {
        /// The contract.
        contract: &'static str,
        /// What the reader says.
        #[source]
        cause: Box<ContractError>,
    },
    /// The descriptors of a contract and its generated code differ.
    #[error(
        "the gateway cannot mount {contract}: its descriptors and its generated code differ at `{method}`; rebuild the crate of the contract"
    )]
    Stale {
        /// The contract.
        contract: &'static str,
        /// The method that only one of them has.
        method: String,
    },
    /// A path in an annotation names a field that the gateway cannot fill.
    #[error("the gateway cannot mount {method}: {problem}; correct its (google.api.http) annotation")]
    Binding {
        /// The method's gRPC path.
        method: String,
        /// What is wrong.
        problem: String,
    },
    /// A contract was mounted twice.
    #[error("{contract} is mounted twice; mount one channel for each contract")]
    MountedTwice {
        /// The contract.
        contract: &'static str,
    },
    /// Two methods claim one route.
    #[error(
        "{first} and {second} both claim the route {route}; change the path in the (google.api.http) annotation of one of them"
    )]
    RouteTaken {
        /// HTTP method and shape of the path.
        route: String,
        /// The method that has the route, as a gRPC path.
        first: String,
        /// The method that claims it too.
        second: String,
    },
    /// A method claims a route of the gateway's own.
    #[error(
        "{method} claims {path}, which the gateway answers itself; choose another path in its (google.api.http) annotation"
    )]
    RouteReserved {
        /// The path.
        path: String,
        /// The method, as a gRPC path.
        method: String,
    },
    /// There is no way to tell who is asking.
    #[error(
        "the gateway has no way to tell who is asking; set development mode, in which callers name themselves and only this machine is served"
    )]
    NoIdentity,
    /// Development mode would be open to other machines.
    #[error(
        "development mode refuses to listen on {addr}: every caller may act for every tenant there; listen on 127.0.0.1:{port} or [::1]:{port}",
        port = addr.port()
    )]
    OpenInDevelopment {
        /// The address.
        addr: SocketAddr,
    },
}
