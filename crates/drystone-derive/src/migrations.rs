//! `migrations!`: the SQL files of a directory, checked by name and built into the crate.

use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Error, LitStr, Result};

use crate::paths;

const FORM: &str = "V<number>__<expand|contract>_<words>.sql, such as V0001__expand_create.sql";

pub(crate) fn expand(directory: &LitStr) -> Result<TokenStream> {
    let fail = |message: String| Error::new(directory.span(), message);
    let root = std::env::var("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let root = root.join(directory.value());
    if !root.is_dir() {
        return Err(fail(format!(
            "{} is not a directory: create it with `sqlite` and `postgres` below it",
            root.display()
        )));
    }
    if !root.join("sqlite").is_dir() && !root.join("postgres").is_dir() && !root.join("shared").is_dir() {
        return Err(fail(format!(
            "{} has none of the directories sqlite, postgres and shared",
            root.display()
        )));
    }
    let store = paths::store();
    let list = |below: &str| list(&root.join(below), &store).map_err(fail);
    let (sqlite, postgres) = (list("sqlite")?, list("postgres")?);
    let (shared_sqlite, shared_postgres) = (list("shared/sqlite")?, list("shared/postgres")?);
    Ok(quote! {
        #store::Migrations {
            sqlite: #sqlite,
            postgres: #postgres,
            shared_sqlite: #shared_sqlite,
            shared_postgres: #shared_postgres,
        }
    })
}

/// The migrations of one dialect, in order.
fn list(directory: &Path, store: &TokenStream) -> std::result::Result<TokenStream, String> {
    let mut files: Vec<Parsed> = Vec::new();
    for path in sql_files(directory)? {
        files.push(parse(&path)?);
    }
    files.sort_by_key(|file| file.version);
    for (file, expected) in files.iter().zip(1..) {
        if file.version != expected {
            return Err(format!(
                "{} has number {} where {expected} is next: numbers begin at 1, repeat nothing and leave no gap",
                file.path.display(),
                file.version
            ));
        }
    }
    let items = files.iter().map(|file| {
        let (version, name) = (file.version, &file.name);
        let step = format_ident!("{}", if file.expand { "Expand" } else { "Contract" });
        let path = LitStr::new(&file.path.to_string_lossy(), Span::call_site());
        quote!(#store::Migration { version: #version, step: #store::Step::#step, name: #name, sql: ::core::include_str!(#path) })
    });
    Ok(quote!(&[#(#items),*]))
}

fn sql_files(directory: &Path) -> std::result::Result<Vec<PathBuf>, String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|cause| format!("{} cannot be read: {cause}", directory.display()))?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden {
            paths.push(path);
        }
    }
    Ok(paths)
}

struct Parsed {
    version: u32,
    expand: bool,
    name: String,
    path: PathBuf,
}

fn parse(path: &Path) -> std::result::Result<Parsed, String> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let wrong = |what: &str| format!("{}: {what}; name the file {FORM}", path.display());
    let name = file.strip_suffix(".sql").ok_or_else(|| wrong("a migration ends in .sql"))?;
    let rest = name.strip_prefix('V').ok_or_else(|| wrong("a migration begins with V"))?;
    let (number, words) = rest.split_once("__").ok_or_else(|| wrong("two underscores follow the number"))?;
    let version = number.parse::<u32>().map_err(|_| wrong("no number follows the V"))?;
    let (step, words) = words.split_once('_').ok_or_else(|| wrong("words follow expand or contract"))?;
    let expand = match step {
        "expand" => true,
        "contract" => false,
        _ => return Err(wrong("the name says neither expand (adds) nor contract (takes away)")),
    };
    if words.is_empty() || !words.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
        return Err(wrong("the words are of a-z, 0-9 and _"));
    }
    Ok(Parsed { version, expand, name: name.to_owned(), path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_form() {
        let good = parse(Path::new("V0007__contract_drop_price.sql")).unwrap();
        assert_eq!((good.version, good.expand, good.name.as_str()), (7, false, "V0007__contract_drop_price"));
        for (name, says) in [
            ("V1__expand_create.txt", "ends in .sql"),
            ("1__expand_create.sql", "begins with V"),
            ("V1_expand_create.sql", "two underscores"),
            ("Vx__expand_create.sql", "no number"),
            ("V1__create_table.sql", "neither expand"),
            ("V1__expand.sql", "words follow"),
            ("V1__expand_Create.sql", "a-z"),
        ] {
            let error = parse(Path::new(name)).err().unwrap();
            assert!(error.contains(says) && error.contains(FORM), "{name}: {error}");
        }
    }
}
