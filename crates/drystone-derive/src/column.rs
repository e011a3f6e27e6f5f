//! `#[derive(Column)]`: a newtype that is stored as what it wraps, on both databases.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result, Type};

use crate::paths;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let inner = inner_type(input)?;
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "a column newtype has no parameters: name the wrapped type",
        ));
    }
    let sqlite = sqlite(input, inner);
    let postgres = postgres(input, inner);
    Ok(quote!(#sqlite #postgres))
}

fn inner_type(input: &DeriveInput) -> Result<&Type> {
    if let Data::Struct(data) = &input.data
        && let Fields::Unnamed(fields) = &data.fields
        && let Some(field) = fields.unnamed.first()
        && fields.unnamed.len() == 1
    {
        return Ok(&field.ty);
    }
    Err(Error::new_spanned(
        &input.ident,
        "a column newtype is a tuple struct with one field, such as struct Sku(String);",
    ))
}

fn sqlite(input: &DeriveInput, inner: &Type) -> TokenStream {
    let name = &input.ident;
    let store = paths::store();
    let types = quote!(#store::__private::rusqlite::types);
    quote! {
        #[automatically_derived]
        impl #types::ToSql for #name {
            fn to_sql(&self) -> #store::__private::rusqlite::Result<#types::ToSqlOutput<'_>> {
                <#inner as #types::ToSql>::to_sql(&self.0)
            }
        }
        #[automatically_derived]
        impl #types::FromSql for #name {
            fn column_result(value: #types::ValueRef<'_>) -> #types::FromSqlResult<Self> {
                <#inner as #types::FromSql>::column_result(value).map(Self)
            }
        }
    }
}

fn postgres(input: &DeriveInput, inner: &Type) -> TokenStream {
    let name = &input.ident;
    let store = paths::store();
    let types = quote!(#store::__private::postgres_types);
    let fallible = |ok: TokenStream| quote!(::core::result::Result<#ok, ::std::boxed::Box<dyn ::std::error::Error + ::core::marker::Sync + ::core::marker::Send>>);
    let (written, read) = (fallible(quote!(#types::IsNull)), fallible(quote!(Self)));
    quote! {
        #[automatically_derived]
        impl #types::ToSql for #name {
            fn to_sql(&self, ty: &#types::Type, out: &mut #types::private::BytesMut) -> #written {
                <#inner as #types::ToSql>::to_sql(&self.0, ty, out)
            }
            fn accepts(ty: &#types::Type) -> bool {
                <#inner as #types::ToSql>::accepts(ty)
            }
            #types::to_sql_checked!();
        }
        #[automatically_derived]
        impl<'a> #types::FromSql<'a> for #name {
            fn from_sql(ty: &#types::Type, raw: &'a [u8]) -> #read {
                <#inner as #types::FromSql<'a>>::from_sql(ty, raw).map(Self)
            }
            fn from_sql_null(ty: &#types::Type) -> #read {
                <#inner as #types::FromSql<'a>>::from_sql_null(ty).map(Self)
            }
            fn accepts(ty: &#types::Type) -> bool {
                <#inner as #types::FromSql<'a>>::accepts(ty)
            }
        }
    }
}
