//! The tasks of a process's modules outside any call: before it is ready, and beside the calls.

use std::sync::Arc;

use drystone_call::{Code, Home};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::StartError;
use crate::module::{Background, ModulePlan, StartTask, Task};
use crate::stores::whole;

/// How often a task at the start may run when another process works on the same data.
pub(crate) const START_ATTEMPTS: u32 = 10;

/// The tasks of the hosted modules, each with its module's home.
#[derive(Default)]
pub(crate) struct Tasks {
    at_start: Vec<(Arc<Home>, StartTask)>,
    background: Vec<(Arc<Home>, Task)>,
}

impl Tasks {
    /// Takes a module's tasks.
    pub(crate) fn add(&mut self, home: &Arc<Home>, plan: &mut ModulePlan) {
        self.at_start.extend(plan.at_start.drain(..).map(|task| (Arc::clone(home), task)));
        self.background.extend(plan.background.drain(..).map(|task| (Arc::clone(home), task)));
    }

    /// Does the work that comes before readiness.
    pub(crate) async fn start(&self, stopping: &watch::Receiver<bool>) -> Result<(), StartError> {
        for (home, task) in &self.at_start {
            run_at_start(home, task, stopping).await?;
        }
        Ok(())
    }

    /// Sets the work going that runs beside the calls.
    pub(crate) fn go_on(self, stopping: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let run = |(home, task)| tokio::spawn(run_background(home, task, stopping.clone()));
        self.background.into_iter().map(run).collect()
    }
}

/// Runs a task, and again while it loses against another process.
async fn run_at_start(
    home: &Arc<Home>,
    task: &StartTask,
    stopping: &watch::Receiver<bool>,
) -> Result<(), StartError> {
    let mut left = START_ATTEMPTS;
    loop {
        left -= 1;
        let Err(error) = (task.run)(Background::new(Arc::clone(home), stopping.clone())).await else {
            return Ok(());
        };
        if error.code() != Code::Aborted || left == 0 {
            let name = format!("`{}` of module `{}`", task.name, home.module());
            return Err(StartError::part(name, whole(&error)));
        }
    }
}

async fn run_background(home: Arc<Home>, task: Task, stopping: watch::Receiver<bool>) {
    let (module, name) = (home.module().to_owned(), task.name);
    if let Err(error) = (task.run)(Background::new(home, stopping)).await {
        tracing::error!(module, task = name, ?error, "a background task failed");
    }
}
