//! What crosses the admin socket, as JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use drystone_call::{Code, Error};
use drystone_store::{Tenant, TenantState};
use serde::{Deserialize, Serialize};

/// Which process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// The application.
    pub(crate) application: String,
    /// The process's name in its topology.
    pub(crate) process: String,
    /// The process id.
    pub(crate) pid: u32,
    /// Where its stores are, without any password.
    pub(crate) place: String,
    /// The hosted modules that have a store.
    pub(crate) modules: Vec<String>,
}

/// A tenant of one module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TenantLine {
    pub(crate) name: String,
    pub(crate) state: TenantState,
    /// Milliseconds since 1970.
    created: u64,
}

impl TenantLine {
    /// When the tenant was created.
    pub(crate) fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.created)
    }
}

impl From<Tenant> for TenantLine {
    fn from(tenant: Tenant) -> Self {
        let since = tenant.created.duration_since(UNIX_EPOCH).unwrap_or_default();
        let created = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { name: tenant.name.to_string(), state: tenant.state, created }
    }
}

/// A failure. Its message has the causes in it: the one who reads it operates the application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    code: String,
    message: String,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { code: error.code().name().to_owned(), message: crate::stores::whole(error) }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::new(Code::from_name(&failure.code).unwrap_or(Code::Unknown), failure.message)
    }
}
