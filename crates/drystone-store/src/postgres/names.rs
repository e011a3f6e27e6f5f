//! What belongs to a module in a database: two schemas and a role.

use drystone_call::{Error, Result};

/// The longest name that PostgreSQL keeps whole, in bytes.
const LONGEST: usize = 63;

/// The names of a module's schemas and of its role.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The schema of the tenants' data.
    pub(crate) schema: String,
    /// The schema of the data of no tenant, of the registry of tenants and of the leases.
    pub(crate) shared: String,
    /// The role that the module's process logs in as; it owns nothing.
    pub(crate) role: String,
}

impl Names {
    /// The names of `module`, for connection strings of `user`. Roles belong to a whole server, so the user tells two applications apart.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if the role's name would be too long.
    pub(crate) fn of(user: &str, module: &str) -> Result<Self> {
        let role = format!("{user}_{module}");
        if role.len() > LONGEST {
            return Err(Error::invalid_argument(format!(
                "the role {role:?} has a name of more than {LONGEST} bytes: shorten the user of the connection string"
            )));
        }
        Ok(Self { schema: module.to_owned(), shared: format!("{module}_shared"), role })
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
