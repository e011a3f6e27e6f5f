//! `#[derive(Row)]`: from the columns of a row to the fields of a struct.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Data, DeriveInput, Error, Field, Fields, LitStr, Result};

use crate::paths;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else { return Err(wrong_shape(input)) };
    let Fields::Named(fields) = &data.fields else { return Err(wrong_shape(input)) };
    let store = paths::store();
    let mut reads = Vec::with_capacity(fields.named.len());
    for (position, field) in fields.named.iter().enumerate() {
        let name = field.ident.as_ref().ok_or_else(|| wrong_shape(input))?;
        let column = column_of(field)?;
        let ty = &field.ty;
        // The span makes a type that is no column an error at the field.
        reads.push(quote_spanned!(ty.span()=> #name: row.named::<#ty>(#column, #position)?));
    }
    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics #store::FromRow for #name #arguments #bounds {
            fn from_row(row: &#store::RowView<'_>) -> ::core::result::Result<Self, #store::RowError> {
                ::core::result::Result::Ok(Self { #(#reads),* })
            }
        }
    })
}

fn wrong_shape(input: &DeriveInput) -> Error {
    Error::new_spanned(
        &input.ident,
        "Row maps columns to fields by name: derive it on a struct with named fields, or read into a tuple such as (i64, String)",
    )
}

/// The column of a field: its name, unless `#[row(rename = "..")]` says another.
fn column_of(field: &Field) -> Result<String> {
    let mut column = field.ident.as_ref().map(|name| name.unraw().to_string()).unwrap_or_default();
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("row")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("rename") {
                return Err(meta.error("unknown option: write #[row(rename = \"column\")]"));
            }
            column = meta.value()?.parse::<LitStr>()?.value();
            Ok(())
        })?;
    }
    Ok(column)
}
