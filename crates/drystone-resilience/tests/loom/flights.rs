//! Those aboard a flight, under every order in which they come, poll, are woken and leave.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, Wake, Waker};

use futures_util::future::BoxFuture;
use loom::sync::{Mutex, Notify};
use loom::thread;

use self::course::{Aboard, Course, Ground};
use crate::explore;

#[path = "../../src/flights/course.rs"]
mod course;

/// Counts how often a flight is closed.
#[derive(Clone, Default)]
struct Field(Arc<AtomicU32>);

impl Ground<u32> for Field {
    fn close(course: &Course<Self, u32>, _keep: Option<&Arc<u32>>) {
        course.ground().0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Something that a call waits for.
#[derive(Default)]
struct Gate(Mutex<(bool, Option<Waker>)>);

impl Gate {
    fn call(self: &Arc<Self>) -> BoxFuture<'static, (u32, bool)> {
        let gate = self.clone();
        Box::pin(poll_fn(move |task| {
            let mut state = gate.0.lock().expect("nobody panics");
            if state.0 {
                return Poll::Ready((7, true));
            }
            state.1 = Some(task.waker().clone());
            Poll::Pending
        }))
    }

    fn open(&self) {
        let mut state = self.0.lock().expect("nobody panics");
        state.0 = true;
        let waker = state.1.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

struct Park(Notify);

impl Wake for Park {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Waits for the flight as a task does: sleeps until it is woken. That nobody sleeps for ever is checked by loom.
fn wait(course: &Arc<Course<Field, u32>>, seat: usize) -> u32 {
    let park = Arc::new(Park(Notify::new()));
    let waker = Waker::from(park.clone());
    loop {
        match course.clone().poll(seat, &waker) {
            Poll::Ready(value) => {
                course.leave(seat);
                return *value;
            }
            Poll::Pending => park.0.wait(),
        }
    }
}

/// One polls and leaves, whatever it was just told; the other must get the answer all the same.
#[test]
fn a_waiter_that_leaves_takes_no_news_with_it() {
    explore(|| {
        let field = Field::default();
        let (course, first) = Course::new(field.clone());
        let second = course.board().expect("it has not landed");
        let gate = Arc::new(Gate::default());
        course.take_off(|| gate.call());
        let other = thread::spawn({
            let course = course.clone();
            move || wait(&course, second)
        });
        let landing = thread::spawn(move || gate.open());
        let polled = course.clone().poll(first, Waker::noop());
        assert!(polled.is_pending() || polled == Poll::Ready(Arc::new(7)));
        course.leave(first);
        assert_eq!(other.join().expect("nobody panics"), 7);
        landing.join().expect("nobody panics");
        assert_eq!(field.0.load(Ordering::Relaxed), 1, "it is closed once");
    });
}

/// Whoever comes aboard while the last one leaves is either aboard and gets the answer, or is told to start a flight.
#[test]
fn nobody_comes_aboard_of_a_flight_that_is_gone() {
    explore(|| {
        let field = Field::default();
        let (course, only) = Course::new(field.clone());
        let gate = Arc::new(Gate::default());
        course.take_off(|| gate.call());
        let comes = thread::spawn({
            let course = course.clone();
            move || course.board().map(|seat| wait(&course, seat))
        });
        let leaves = thread::spawn({
            let course = course.clone();
            move || course.leave(only)
        });
        gate.open();
        assert!(matches!(comes.join().expect("nobody panics"), None | Some(7)));
        leaves.join().expect("nobody panics");
        assert_eq!(field.0.load(Ordering::Relaxed), 1, "it is closed once");
    });
}

/// Those who come before the call is there sleep until it is.
#[test]
fn who_is_aboard_before_the_call_is_woken_by_it() {
    explore(|| {
        let (course, leader) = Course::new(Field::default());
        let second = course.board().expect("it has not landed");
        let other = thread::spawn({
            let course = course.clone();
            move || wait(&course, second)
        });
        course.take_off(|| Box::pin(std::future::ready((7, true))));
        course.leave(leader);
        assert_eq!(other.join().expect("nobody panics"), 7);
    });
}
