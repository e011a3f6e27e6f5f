//! What belongs to a module in a database: two schemas and two roles.

use drystone_call::{Error, Result};

/// The longest name that PostgreSQL keeps whole, in bytes.
const LONGEST: usize = 63;

/// The names of a module's schemas and of its roles.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The schema of the tenants' data.
    pub(crate) schema: String,
    /// The schema of the data of no tenant, of the registry of tenants and of the leases.
    pub(crate) shared: String,
    /// The role that the module's process logs in as; it owns nothing.
    pub(crate) role: String,
    /// The role that carries the module's events, those of all tenants.
    pub(crate) relay: String,
}

/// What the name of the second role ends with.
pub(super) const RELAY: &str = "_relay";

impl Names {
    /// The names of `module`, for connection strings of `user`. Roles belong to a whole server, so the user tells two applications apart.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if a role's name would be too long, or if the module's role would be another module's relay.
    pub(crate) fn of(user: &str, module: &str) -> Result<Self> {
        let role = format!("{user}_{module}");
        let relay = format!("{role}{RELAY}");
        if relay.len() > LONGEST {
            return Err(Error::invalid_argument(format!(
                "the role {relay:?} has a name of more than {LONGEST} bytes: shorten the user of the connection string, or the module's name"
            )));
        }
        if let Some(other) = module.strip_suffix(RELAY) {
            return Err(Error::invalid_argument(format!(
                "the role {role:?} of module {module} would be the one that carries the events of a module {other}: give the module a name that does \
                 not end with {RELAY}"
            )));
        }
        Ok(Self { schema: module.to_owned(), shared: format!("{module}_shared"), role, relay })
    }
}

/// An identifier, quoted.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
