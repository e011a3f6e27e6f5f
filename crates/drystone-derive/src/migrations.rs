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
    let pair = |below: &str| pair(&root.join(below)).map_err(fail);
    let ([sqlite, postgres], [shared_sqlite, shared_postgres]) = (pair("")?, pair("shared")?);
    let [sqlite, postgres, shared_sqlite, shared_postgres] =
        [sqlite, postgres, shared_sqlite, shared_postgres].map(|files| list(&files, &store));
    Ok(quote! {
        #store::Migrations {
            sqlite: #sqlite,
            postgres: #postgres,
            shared_sqlite: #shared_sqlite,
            shared_postgres: #shared_postgres,
        }
    })
}

/// The migrations for both databases. Where both are there, a version means the same on both.
fn pair(directory: &Path) -> std::result::Result<[Vec<Parsed>; 2], String> {
    let dialects = ["sqlite", "postgres"].map(|dialect| directory.join(dialect));
    let [sqlite, postgres] = [read(&dialects[0])?, read(&dialects[1])?];
    if dialects.iter().all(|dialect| dialect.is_dir()) {
        sqlite.iter().try_for_each(|file| fits(file, &postgres, "postgres"))?;
        postgres.iter().try_for_each(|file| fits(file, &sqlite, "sqlite"))?;
    }
    Ok([sqlite, postgres])
}

/// Whether a migration has its twin for the other database.
fn fits(file: &Parsed, others: &[Parsed], other: &str) -> std::result::Result<(), String> {
    match others.iter().find(|twin| twin.version == file.version) {
        Some(twin) if twin.expand == file.expand => Ok(()),
        Some(twin) => Err(format!(
            "{} and {} are of one version, and one expands where the other contracts: rename one",
            file.path.display(),
            twin.path.display()
        )),
        None => Err(format!(
            "{} has no twin: a version means the same on both databases; add number {} to {other}, if only as a comment",
            file.path.display(),
            file.version
        )),
    }
}

/// The migrations of one dialect, in order.
fn read(directory: &Path) -> std::result::Result<Vec<Parsed>, String> {
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
    Ok(files)
}

fn list(files: &[Parsed], store: &TokenStream) -> TokenStream {
    let items = files.iter().map(|file| {
        let (version, name) = (file.version, &file.name);
        let step = format_ident!("{}", if file.expand { "Expand" } else { "Contract" });
        let path = LitStr::new(&file.path.to_string_lossy(), Span::call_site());
        quote!(#store::Migration { version: #version, step: #store::Step::#step, name: #name, sql: ::core::include_str!(#path) })
    });
    quote!(&[#(#items),*])
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

#[derive(Debug)]
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

    /// What `pair` says of a directory with these files; without its path.
    fn said_of(name: &str, files: &[&str]) -> std::result::Result<usize, String> {
        let directory = std::env::temp_dir().join(format!("drystone-derive-{name}-{}", std::process::id()));
        for file in files {
            let path = directory.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let said = pair(&directory);
        std::fs::remove_dir_all(&directory).unwrap();
        said.map(|[sqlite, postgres]| sqlite.len() + postgres.len())
            .map_err(|said| said.replace(&format!("{}/", directory.display()), ""))
    }

    #[test]
    fn a_version_is_the_same_on_both_databases() {
        let (one, two) = ("sqlite/V0001__expand_a.sql", "sqlite/V0002__expand_b.sql");
        let (uno, due) = ("postgres/V0001__expand_a.sql", "postgres/V0002__expand_c.sql");
        assert_eq!(said_of("alone", &[one, two]), Ok(2));
        assert_eq!(said_of("both", &[one, two, uno, due]), Ok(4));
        let error = said_of("odd", &[one, uno, due]).unwrap_err();
        assert_eq!(
            error,
            "postgres/V0002__expand_c.sql has no twin: a version means the same on both databases; add number 2 to sqlite, if only as a comment"
        );
        assert!(said_of("less", &[one, two, uno]).unwrap_err().starts_with(two));
        let error = said_of("steps", &[one, "postgres/V0001__contract_a.sql"]).unwrap_err();
        assert!(error.contains("of one version, and one expands where the other contracts"), "{error}");
    }

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
