//! Processes, tasks and time: a single-threaded executor whose every choice is the seed's.
//!
//! A task belongs to a process. A process can be killed, which drops each of its tasks at the await at which it stands, paused, and started again. Time moves only
//! when no task can run, and then to the next timer. Of the tasks that can run, the seed chooses one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use super::random::Random;
use super::time::Time;

/// Which process a task belongs to.
pub(crate) type Process = usize;

type Work = Pin<Box<dyn Future<Output = ()>>>;
type Boot = Rc<dyn Fn(&Spawner)>;

/// Tasks that were woken, each once.
#[derive(Debug, Default)]
struct Ready {
    order: Vec<u64>,
    all: BTreeSet<u64>,
}

struct TaskWaker {
    task: u64,
    ready: Arc<Mutex<Ready>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.all.insert(self.task) {
            ready.order.push(self.task);
        }
    }
}

struct Task {
    process: Process,
    work: Work,
    waker: Waker,
}

/// Begins tasks in one process.
#[derive(Clone)]
pub(crate) struct Spawner {
    process: Process,
    incoming: Rc<RefCell<Vec<(Process, Work)>>>,
}

impl Spawner {
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.incoming.borrow_mut().push((self.process, Box::pin(work)));
    }

    pub(crate) fn process(&self) -> Process {
        self.process
    }
}

/// Runs tasks.
pub(crate) struct Executor {
    time: Time,
    random: Random,
    ready: Arc<Mutex<Ready>>,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    incoming: Rc<RefCell<Vec<(Process, Work)>>>,
    boots: BTreeMap<Process, Boot>,
}

impl Executor {
    pub(crate) fn new(time: Time, random: Random) -> Self {
        Self {
            time,
            random,
            ready: Arc::default(),
            tasks: BTreeMap::new(),
            next_task: 0,
            incoming: Rc::default(),
            boots: BTreeMap::new(),
        }
    }

    /// Starts a process; `boot` begins its tasks, now and after each restart.
    pub(crate) fn start(&mut self, process: Process, boot: impl Fn(&Spawner) + 'static) {
        self.boots.insert(process, Rc::new(boot));
        self.boot(process);
    }

    /// Runs until `done`, for `most` steps at most; says how many there were, or `None` if they did not suffice or nothing can happen any more.
    pub(crate) fn run(&mut self, done: &Cell<bool>, most: u64) -> Option<u64> {
        for step in 0..most {
            self.bury();
            self.adopt();
            if done.get() {
                return Some(step);
            }
            if let Some(task) = self.choose() {
                self.poll(task);
            } else {
                match self.time.advance() {
                    None => return None,
                    Some(started) => started.into_iter().for_each(|process| self.boot(process)),
                }
            }
        }
        None
    }

    fn boot(&mut self, process: Process) {
        if let Some(boot) = self.boots.get(&process) {
            let boot = Rc::clone(boot);
            boot(&Spawner { process, incoming: Rc::clone(&self.incoming) });
        }
    }

    /// Takes in tasks that were begun.
    fn adopt(&mut self) {
        let incoming = std::mem::take(&mut *self.incoming.borrow_mut());
        for (process, work) in incoming {
            let task = self.next_task;
            self.next_task += 1;
            let waker = Waker::from(Arc::new(TaskWaker { task, ready: Arc::clone(&self.ready) }));
            waker.wake_by_ref();
            self.tasks.insert(task, Task { process, work, waker });
        }
    }

    /// Drops the tasks of processes that were killed.
    fn bury(&mut self) {
        for process in self.time.take_killed() {
            self.incoming.borrow_mut().retain(|(of, _)| *of != process);
            let gone: Vec<u64> =
                self.tasks.iter().filter(|(_, task)| task.process == process).map(|(id, _)| *id).collect();
            for id in gone {
                drop(self.tasks.remove(&id));
            }
        }
    }

    /// One of the tasks that can run.
    fn choose(&mut self) -> Option<u64> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let Ready { order, all } = &mut *ready;
        order.retain(|id| {
            let lives = self.tasks.contains_key(id);
            if !lives {
                all.remove(id);
            }
            lives
        });
        let runnable: Vec<usize> =
            (0..order.len()).filter(|at| !self.time.is_paused(self.tasks[&order[*at]].process)).collect();
        let at = match runnable.len() {
            0 => return None,
            1 => runnable[0],
            many => runnable[self.random.below(many)],
        };
        let id = order.remove(at);
        all.remove(&id);
        Some(id)
    }

    fn poll(&mut self, id: u64) {
        let Some(mut task) = self.tasks.remove(&id) else { return };
        if task.work.as_mut().poll(&mut Context::from_waker(&task.waker)).is_pending() {
            self.tasks.insert(id, task);
        }
    }
}
