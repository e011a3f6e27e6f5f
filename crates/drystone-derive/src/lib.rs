//! Derive macros of the store: rows, column newtypes and the list of migrations.
//!
//! Users meet these macros through `drystone_store` or the `drystone` facade, which re-export them beside the traits that they
//! implement.
//!
//! # Invariants
//!
//! * A macro reads nothing but its input and, for [`macro@migrations`], the directory that it names.
//! * What is wrong with the input is an error at the place in the input, with the remedy.
//!
//! # What it deliberately lacks
//!
//! Anything that looks at a database while compiling: a build needs no server.

mod column;
mod migrations;
mod paths;
mod row;

use proc_macro::TokenStream;

/// Maps the columns of a row to the fields of a struct, by name.
///
/// `#[row(rename = "column")]` on a field names another column. Each field's type is a `Column`.
#[proc_macro_derive(Row, attributes(row))]
pub fn derive_row(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    row::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes a column type of a newtype: a tuple struct with one field, which is a column type.
#[proc_macro_derive(Column)]
pub fn derive_column(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    column::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// The migrations of a directory of the crate: `migrations!("migrations")`.
///
/// Reads `<directory>/sqlite/*.sql` and `<directory>/postgres/*.sql`, and for the data of no tenant
/// `<directory>/shared/sqlite/*.sql` and `<directory>/shared/postgres/*.sql`. A file is named
/// `V<number>__<expand|contract>_<words>.sql`; numbers begin at 1 and leave no gap. Where both databases have a directory, both have the same
/// numbers with the same step, so that a version means the same on both.
///
/// A changed file rebuilds the crate. A file that is *added* does so only together with another change, because the compiler
/// tracks files and not directories; `cargo:rerun-if-changed=migrations` in a build script closes that gap.
#[proc_macro]
pub fn migrations(input: TokenStream) -> TokenStream {
    let directory = syn::parse_macro_input!(input as syn::LitStr);
    migrations::expand(&directory).unwrap_or_else(syn::Error::into_compile_error).into()
}
