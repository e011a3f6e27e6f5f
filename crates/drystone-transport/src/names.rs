//! The names of modules in certificates.
//!
//! A certificate carries two names per hosted module. The URI `drystone://<app>/module/<name>` is what a callee checks
//! of its caller. The DNS name `<name>.module.drystone.internal` lets a caller check its callee by the ordinary
//! server-name verification of TLS. `internal` is the top-level domain reserved for private use, so the name is no one else's.

use crate::TransportError;

/// The longest name: that of a DNS label.
const MAX_NAME: usize = 63;

/// Refuses a name that could mean something else in a URI, a DNS name or a path.
pub(crate) fn check(what: &'static str, name: &str) -> Result<(), TransportError> {
    let first_is_word = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let all_known = name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if first_is_word && all_known && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(TransportError::Name { what, name: name.to_owned() })
}

/// The URI that names a module of an app.
pub(crate) fn module_uri(app: &str, module: &str) -> String {
    format!("drystone://{app}/module/{module}")
}

/// The app and the module that a URI names.
pub(crate) fn parse_uri(uri: &str) -> Option<(&str, &str)> {
    let (app, module) = uri.strip_prefix("drystone://")?.split_once("/module/")?;
    (check("the app", app).is_ok() && check("the module", module).is_ok()).then_some((app, module))
}

/// The DNS name of a module.
pub(crate) fn module_dns(module: &str) -> String {
    format!("{module}.module.drystone.internal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_round_trip_and_nothing_else_parses() {
        assert_eq!(parse_uri(&module_uri("shop", "user_accounts")), Some(("shop", "user_accounts")));
        for uri in [
            "drystone://shop/module/",
            "drystone:///module/orders",
            "drystone://shop/module/orders/module/x",
            "drystone://shop/process/orders",
            "spiffe://shop/module/orders",
            "drystone://shop/module/Orders",
        ] {
            assert_eq!(parse_uri(uri), None, "{uri}");
        }
    }

    #[test]
    fn names_that_mean_something_elsewhere_are_refused() {
        for name in ["", "..", "a/b", "a.b", "-a", "Orders", "ä", &"a".repeat(64)] {
            let refused = check("the module", name).unwrap_err().to_string();
            assert!(refused.contains(&format!("{name:?}")), "{refused}");
        }
        for name in ["orders", "user_accounts", "0-9", &"a".repeat(63)] {
            check("the module", name).unwrap();
        }
    }
}
