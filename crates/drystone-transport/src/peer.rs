//! What a certificate says of a process.

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::names;

/// The facts of a certificate that this crate uses. Who signed it is TLS's matter and was judged before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The apps and modules that its URIs name, in its order.
    pub(crate) modules: Vec<(String, String)>,
    /// When it ends, in seconds since 1970.
    pub(crate) ends: i64,
}

impl Facts {
    /// Reads a certificate.
    ///
    /// # Errors
    /// A text that says what is wrong with it.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|cause| cause.to_string())?;
        let names = parsed.subject_alternative_name().map_err(|cause| cause.to_string())?;
        let uris = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => names::parse_uri(uri),
            _ => None,
        });
        let modules = uris.map(|(app, module)| (app.to_owned(), module.to_owned())).collect();
        Ok(Self { modules, ends: parsed.validity().not_after.timestamp() })
    }

    /// The modules of one app.
    pub(crate) fn modules_of(&self, app: &str) -> Vec<String> {
        let of_app = self.modules.iter().filter(|(named, _)| named == app);
        of_app.map(|(_, module)| module.clone()).collect()
    }
}
