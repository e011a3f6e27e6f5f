//! Secrets of modules: from the environment or from files that it names, never from settings.

use secrecy::SecretString;

/// The name under which the module's own password for its store is looked up.
pub(crate) const STORE: &str = "store";

/// The variable that holds a secret; with `_FILE` at its end it names a file that does.
pub(crate) fn variable(module: &str, name: &str) -> String {
    format!("DRYSTONE_SECRET__{module}__{name}").to_uppercase()
}

/// A secret, if it is set.
///
/// # Errors
/// If the file that should hold it cannot be read, in words.
pub(crate) fn find(module: &str, name: &str) -> Result<Option<SecretString>, String> {
    let variable = variable(module, name);
    if let Ok(text) = std::env::var(&variable) {
        return Ok(Some(text.into()));
    }
    let file = format!("{variable}_FILE");
    let Ok(path) = std::env::var(&file) else { return Ok(None) };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end().into())),
        Err(error) => Err(format!("the file {path}, which {file} names, cannot be read: {error}")),
    }
}
