//! `tenants export` and `import`: one archive with the data of a tenant in every module.
//!
//! An archive is lines of JSON: a header, each module's section as its store wrote it, and a footer without which it is not whole.

use std::path::Path;

use drystone_call::TenantId;
use drystone_store::TenantState;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _};

use super::deletion::undo;
use super::everywhere::{Everywhere, Part, failed};
use super::file::{self, Draft};
use super::lifecycle::resume_in;
use super::listing::shown;
use super::section;
use crate::StartError;

/// The version of the format.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    /// What the file is, in words that nothing else begins with.
    archive: String,
    format: u32,
    application: String,
    tenant: String,
    /// When it was written.
    time: String,
    /// Whether the tenant worked meanwhile, so that its modules have no moment in common.
    live: bool,
}

/// The last line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Footer {
    whole: bool,
    modules: Vec<String>,
    rows: u64,
}

/// A line that is no section's: the header of a section, or the archive's footer.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Footer(Footer),
    Section { module: String },
}

/// Writes the archive of a tenant.
pub(super) async fn export(
    all: &Everywhere,
    tenant: &TenantId,
    to: &Path,
    live: bool,
) -> Result<(), StartError> {
    let command = format!("tenants export {tenant}");
    let states = all.known("export", tenant).await?;
    let active = states.iter().find(|(_, state)| *state == Some(TenantState::Active));
    if let (Some((part, _)), false) = (active, live) {
        let problem = format!(
            "the tenant is active in module `{}`, and the modules are read one after another; suspend it first ({} tenants suspend \
             {tenant}), or say --live if the archive need not be of one moment",
            part.module, all.app
        );
        return Err(StartError::command(command, problem));
    }
    let on_file = |error| StartError::command(command.clone(), format!("{}: {error}", to.display()));
    let mut draft = Draft::create(to).map_err(on_file)?;
    let header = Header {
        archive: "drystone".to_owned(),
        format: FORMAT,
        application: all.app.to_string(),
        tenant: tenant.to_string(),
        time: shown(all.now()),
        live: active.is_some(),
    };
    draft.writer().write_all(line(&header).as_bytes()).await.map_err(on_file)?;
    let mut footer = Footer { whole: true, modules: Vec::new(), rows: 0 };
    for (part, state) in states {
        if state.is_none() {
            continue;
        }
        let section = part.reach.export(Some(tenant), draft.writer()).await;
        let section = section.map_err(|error| failed(&command, &part.module, &error))?;
        footer.modules.push(section.module);
        footer.rows += section.tables.iter().map(|table| table.rows).sum::<u64>();
    }
    draft.writer().write_all(line(&footer).as_bytes()).await.map_err(on_file)?;
    draft.finish().map_err(on_file)?;
    println!(
        "tenant {tenant}: {} rows of {} are in {}",
        footer.rows,
        footer.modules.join(", "),
        to.display()
    );
    Ok(())
}

fn line(value: &impl Serialize) -> String {
    let mut line = serde_json::to_string(value).expect("the lines of an archive are strings and numbers");
    line.push('\n');
    line
}

/// Creates a tenant from an archive.
pub(super) async fn import(all: &Everywhere, file: &Path, name: Option<TenantId>) -> Result<(), StartError> {
    let command = format!("tenants import {}", file.display());
    let refused = |problem: &dyn std::fmt::Display| StartError::command(command.clone(), problem);
    let mut from = file::open(file).map_err(|error| refused(&error))?;
    let header = header(all, &mut from).await.map_err(|problem| refused(&problem))?;
    let tenant = match name {
        Some(name) => name,
        None => TenantId::new(&header.tenant).map_err(|error| refused(&error.message()))?,
    };
    for (part, state) in all.states(&tenant).await? {
        if let Some(state) = state {
            let problem = format!(
                "tenant {tenant} is there already ({state} in module `{}`): choose another name with --as, or delete it first",
                part.module
            );
            return Err(refused(&problem));
        }
    }
    let mut imported = Vec::new();
    let work = Import { all, command: &command, tenant: &tenant };
    match work.run(&mut from, &mut imported).await {
        Ok(rows) => {
            println!("tenant {tenant} is active with {rows} rows in {}", all.modules());
            Ok(())
        }
        Err(error) => Err(undo(error, &imported, &tenant, &all.app).await),
    }
}

async fn header<R: AsyncBufRead + Unpin>(all: &Everywhere, from: &mut R) -> Result<Header, String> {
    let mut first = Vec::new();
    from.read_until(b'\n', &mut first).await.map_err(|error| error.to_string())?;
    let header: Header = serde_json::from_slice(&first).map_err(|_| "this is not an archive of a tenant")?;
    if header.archive != "drystone" || header.format != FORMAT {
        return Err(format!(
            "the archive has format {}, and this version reads format {FORMAT}: use the version of the application that wrote it",
            header.format
        ));
    }
    if header.application != *all.app {
        return Err(format!("the archive is of application {}, and this is {}", header.application, all.app));
    }
    Ok(header)
}

/// One import.
struct Import<'i> {
    all: &'i Everywhere,
    command: &'i str,
    tenant: &'i TenantId,
}

impl<'i> Import<'i> {
    /// Imports every section, creates the tenant where the archive has none, and lets calls in; the number of rows.
    async fn run<R>(&self, from: &mut R, imported: &mut Vec<&'i Part>) -> Result<u64, StartError>
    where
        R: AsyncBufRead + Unpin + Send,
    {
        let rows = self.sections(from, imported).await?;
        for part in self.all.parts.iter().filter(|part| !is_among(imported, part)).collect::<Vec<_>>() {
            // A module that the application did not have when the archive was written.
            let created = part.reach.create(self.tenant).await;
            created.map_err(|error| failed(self.command, &part.module, &error))?;
        }
        resume_in(imported, self.tenant).await?;
        Ok(rows)
    }

    async fn sections<R>(&self, from: &mut R, imported: &mut Vec<&'i Part>) -> Result<u64, StartError>
    where
        R: AsyncBufRead + Unpin + Send,
    {
        let refused = |problem: String| StartError::command(self.command, problem);
        let (mut rows, mut first) = (0, Vec::new());
        loop {
            first.clear();
            from.read_until(b'\n', &mut first).await.map_err(|error| refused(error.to_string()))?;
            if first.is_empty() {
                return Err(refused("the archive is cut off: its last line is missing".to_owned()));
            }
            let line = serde_json::from_slice(&first);
            match line.map_err(|_| refused("the archive is damaged between two sections".to_owned()))? {
                Line::Section { module } => rows += self.section(&module, &first, from, imported).await?,
                Line::Footer(footer) if footer.rows == rows && same(&footer.modules, imported) => {
                    return Ok(rows);
                }
                Line::Footer(footer) => {
                    return Err(refused(format!(
                        "the archive is not whole: it should have {} rows of {}, and has {rows} of {}",
                        footer.rows,
                        footer.modules.join(", "),
                        super::lifecycle::names(imported)
                    )));
                }
            }
        }
    }

    async fn section<R>(
        &self,
        module: &str,
        first: &[u8],
        from: &mut R,
        imported: &mut Vec<&'i Part>,
    ) -> Result<u64, StartError>
    where
        R: AsyncBufRead + Unpin + Send,
    {
        let found = self.all.parts.iter().find(|part| *part.module == *module);
        let Some(part) = found.filter(|part| !is_among(imported, part)) else {
            let problem = format!(
                "the archive has module `{module}`, which this application does not have or has read already; it has {}",
                self.all.modules()
            );
            return Err(StartError::command(self.command, problem));
        };
        let section = section::import(&part.reach, Some(self.tenant), first, from).await;
        let section = section.map_err(|error| failed(self.command, module, &error))?;
        imported.push(part);
        Ok(section.tables.iter().map(|table| table.rows).sum())
    }
}

fn is_among(parts: &[&Part], part: &Part) -> bool {
    parts.iter().any(|one| one.module == part.module)
}

fn same(modules: &[String], parts: &[&Part]) -> bool {
    modules.len() == parts.len() && modules.iter().zip(parts).all(|(name, part)| **name == *part.module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let section = r#"{"module":"stock","format":1,"dialect":"sqlite","migrations":[]}"#;
        assert!(matches!(serde_json::from_str(section), Ok(Line::Section { module }) if module == "stock"));
        let footer = Footer { whole: true, modules: vec!["stock".into()], rows: 3 };
        assert!(matches!(serde_json::from_str(&line(&footer)), Ok(Line::Footer(read)) if read == footer));
        assert!(serde_json::from_str::<Line>("[1,2]").is_err());
    }
}
