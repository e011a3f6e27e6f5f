//! Where the generated code finds the store's traits: in `drystone_store`, or in the facade.

use proc_macro2::TokenStream;
use quote::quote;

/// The path of the store crate as the crate being compiled sees it.
///
/// A crate that names `drystone-store` in its manifest gets that; every other one is a module on the facade.
pub(crate) fn store() -> TokenStream {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").map(|dir| format!("{dir}/Cargo.toml"));
    let text = manifest.ok().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let direct = text.lines().map(str::trim_start).any(|line| {
        line.strip_prefix("drystone-store").is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
            || line.contains("dependencies.drystone-store]")
            || line == "name = \"drystone-store\""
    });
    if direct { quote!(::drystone_store) } else { quote!(::drystone::store) }
}
