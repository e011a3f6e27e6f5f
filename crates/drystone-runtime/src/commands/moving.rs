//! `tenants move`: copies tenants to another database and compares both sides; the source keeps what it has.

use drystone_call::TenantId;
use drystone_store::TenantState;

use super::deletion::undo;
use super::everywhere::{Everywhere, Part, failed};
use super::lifecycle::{names, resume_in, suspend_in};
use super::section::{compare, transfer};
use super::table::Table;
use crate::StartError;

const COMMAND: &str = "tenants move";

/// Moves one tenant, or with `None` all of them and the data of no tenant.
pub(super) async fn run(from: &Everywhere, name: Option<TenantId>, to: &str) -> Result<(), StartError> {
    let there = from.elsewhere(to).await?;
    let done = Move { from, to: &there, sums: Table::new(&HEADING) }.run(name).await;
    there.close().await;
    done
}

const HEADING: [&str; 6] = ["tenant", "module", "table", "rows", "checksum", "equal"];

/// One run of the command.
struct Move<'m> {
    from: &'m Everywhere,
    to: &'m Everywhere,
    sums: Table<6>,
}

/// A tenant on its way.
struct Traveller<'m> {
    name: TenantId,
    /// The modules whose callers it had here before the command.
    active: Vec<&'m Part>,
    /// The modules at the destination that have its data.
    arrived: Vec<&'m Part>,
}

impl<'m> Move<'m> {
    async fn run(mut self, name: Option<TenantId>) -> Result<(), StartError> {
        let all = name.is_none();
        let names = match name {
            Some(name) => vec![name],
            None => self.every_tenant().await?,
        };
        for name in &names {
            self.check(name).await?;
        }
        let mut travellers = Vec::new();
        match self.transfer(&names, all, &mut travellers).await {
            Ok(()) => {}
            Err(error) => return Err(self.turn_back(error, travellers).await),
        }
        print!("{}", self.sums);
        self.advise(&names, all);
        Ok(())
    }

    /// All tenants of the source.
    async fn every_tenant(&self) -> Result<Vec<TenantId>, StartError> {
        let processes = self.from.processes();
        if !processes.is_empty() {
            let problem = format!(
                "--all also moves the data of no tenant, which cannot be suspended: stop the application first; {} runs",
                processes.join(", ")
            );
            return Err(StartError::command(COMMAND, problem));
        }
        let lines = self.from.tenants().await?;
        let mut names: Vec<String> = lines.into_iter().flatten().map(|line| line.name).collect();
        names.sort();
        names.dedup();
        let names = names.iter().map(|name| TenantId::new(name)).collect::<Result<Vec<_>, _>>();
        names.map_err(|error| StartError::command(COMMAND, error.message()))
    }

    /// Whether a tenant is whole here and not there yet.
    async fn check(&self, tenant: &TenantId) -> Result<(), StartError> {
        for (part, state) in self.from.known("move", tenant).await? {
            if let Some(state @ (TenantState::Importing | TenantState::Deleting)) = state {
                let problem = format!(
                    "tenant {tenant} is {state} in module `{}`: it is not whole; `{} tenants delete {tenant}` removes it",
                    part.module, self.from.app
                );
                return Err(StartError::command(COMMAND, problem));
            }
        }
        for (part, state) in self.to.states(tenant).await? {
            if let Some(state) = state {
                let problem = format!(
                    "tenant {tenant} is at {} already ({state} in module `{}`); delete it there first",
                    self.to.place, part.module
                );
                return Err(StartError::command(COMMAND, problem));
            }
        }
        Ok(())
    }

    async fn transfer(
        &mut self,
        names: &[TenantId],
        all: bool,
        travellers: &mut Vec<Traveller<'m>>,
    ) -> Result<(), StartError> {
        for name in names {
            travellers.push(Traveller { name: name.clone(), active: Vec::new(), arrived: Vec::new() });
            let traveller = travellers.last_mut().expect("one was pushed on the line above");
            self.one(traveller).await?;
        }
        if all {
            for index in 0..self.from.parts.len() {
                self.section(index, None).await?;
            }
        }
        for traveller in travellers {
            self.let_in(traveller).await?;
        }
        Ok(())
    }

    async fn one(&mut self, traveller: &mut Traveller<'m>) -> Result<(), StartError> {
        let name = traveller.name.clone();
        traveller.active = suspend_in(self.from, &name).await?;
        if !traveller.active.is_empty() {
            println!("tenant {name} is suspended here in {}", names(&traveller.active));
        }
        let states: Vec<Option<TenantState>> =
            self.from.states(&name).await?.into_iter().map(|(_, state)| state).collect();
        for (index, state) in states.into_iter().enumerate() {
            if state.is_some() {
                let arrived = self.section(index, Some(&name)).await?;
                traveller.arrived.push(arrived);
            }
        }
        Ok(())
    }

    /// Copies one module's section and notes what both sides say of it.
    async fn section(&mut self, index: usize, of: Option<&TenantId>) -> Result<&'m Part, StartError> {
        let (from, to) = (&self.from.parts[index], &self.to.parts[index]);
        let moved = transfer(&from.reach, &to.reach, of).await;
        let (sent, read) = moved.map_err(|error| failed(COMMAND, &from.module, &error))?;
        let equal = compare(&sent, &read);
        let name = of.map_or("(none)", TenantId::as_str);
        for table in &sent.tables {
            let same = read.tables.contains(table);
            self.sums.row([
                name.to_owned(),
                sent.module.clone(),
                table.name.clone(),
                table.rows.to_string(),
                table.checksum.chars().take(16).collect(),
                if same { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        match equal {
            Ok(()) => Ok(to),
            Err(error) => {
                print!("{}", self.sums);
                let error = failed(COMMAND, &from.module, &error);
                Err(match of {
                    Some(tenant) => undo(error, &[to], tenant, &self.to.app).await,
                    None => error,
                })
            }
        }
    }

    /// Gives a tenant there the states that it had here.
    async fn let_in(&self, traveller: &Traveller<'m>) -> Result<(), StartError> {
        resume_in(&traveller.arrived, &traveller.name).await?;
        for part in &traveller.arrived {
            if !traveller.active.iter().any(|active| active.module == part.module) {
                let done = part.reach.suspend(&traveller.name).await;
                done.map_err(|error| failed(COMMAND, &part.module, &error))?;
            }
        }
        Ok(())
    }

    /// Leaves the destination without the tenants, and the source as it was.
    async fn turn_back(&self, mut error: StartError, travellers: Vec<Traveller<'m>>) -> StartError {
        for traveller in travellers {
            error = undo(error, &traveller.arrived, &traveller.name, &self.to.app).await;
            if traveller.active.is_empty() {
                continue;
            }
            let note = match resume_in(&traveller.active, &traveller.name).await {
                Ok(()) => format!("tenant {} is active here again", traveller.name),
                Err(left) => format!("tenant {} is still suspended here: {left}", traveller.name),
            };
            error = error.and(&note);
        }
        error
    }

    fn advise(&self, moved: &[TenantId], all: bool) {
        let (app, place) = (&self.from.app, &self.to.place);
        let what = match moved {
            [one] if !all => format!("tenant {one} is"),
            many => format!("{} tenants and the data of no tenant are", many.len()),
        };
        println!(
            "\n{what} at {place} and equal; here nothing was changed but that tenants are suspended. Next:"
        );
        println!("  1. let the application work there: set store.url, and start it again");
        println!("  2. when that is well, delete here, with the former store.url:");
        for tenant in moved {
            println!("     {app} tenants delete {tenant} --yes {tenant}");
        }
    }
}
