//! Tells tasks of another thread to go on, without a system call for each.
//!
//! A task that waits for a worker is woken from the worker's thread, and tokio then interrupts the task's thread by a system
//! call even if that thread is awake and about to look. So a thread that runs such tasks may hang up a doorbell: while it is awake,
//! whoever rings only leaves the task's waker, and the thread looks for these before it sleeps and between tasks.

use std::{
    cell::RefCell,
    future::poll_fn,
    mem,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Waker,
};

use parking_lot::Mutex;

/// Where to ring for the tasks of one thread; a default one wakes them as usual.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doorbell(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    // May lag behind `state`: only a hint between tasks.
    is_rung: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_asleep: bool,
    // One for each answer that came; their number is bounded by that of the questions.
    rung: Vec<Waker>,
}

struct Here {
    bell: Doorbell,
    // What `rung` is exchanged with, to keep its memory.
    spare: Vec<Waker>,
}

thread_local! {
    static HERE: RefCell<Here> = const { RefCell::new(Here { bell: Doorbell(None), spare: Vec::new() }) };
}

/// Hangs up a doorbell on the calling thread, which promises to call [`before_sleep`] and [`after_sleep`] around each sleep.
pub(crate) fn hang_up() {
    let shared = Shared { is_rung: AtomicBool::new(false), state: Mutex::default() };
    HERE.with_borrow_mut(|here| here.bell = Doorbell(Some(Arc::new(shared))));
}

/// Wakes the tasks that were rung for; afterwards ringing interrupts the thread's sleep.
pub(crate) fn before_sleep() {
    // Until none is left: a task that was rung for may be gone, and then the thread sleeps all the same and must hear the next.
    while look(true) {}
}

/// Wakes the tasks that were rung for since.
pub(crate) fn after_sleep() {
    look(false);
}

/// A task that also looks whenever it runs: a thread whose tasks give it no sleep still hears the bell.
pub(crate) async fn heeding<F: Future>(task: F) -> F::Output {
    let mut task = pin!(task);
    poll_fn(|context| {
        between_tasks();
        task.as_mut().poll(context)
    })
    .await
}

fn between_tasks() {
    let is_rung = HERE.with_borrow(|here| here.bell.0.as_ref().is_some_and(|shared| shared.is_rung.load(Relaxed)));
    if is_rung {
        look(false);
    }
}

/// False if nothing was rung for.
fn look(is_asleep: bool) -> bool {
    let rung = HERE.with_borrow_mut(|here| {
        let shared = here.bell.0.as_ref()?;
        let mut state = shared.state.lock();
        state.is_asleep = is_asleep && state.rung.is_empty();
        if state.rung.is_empty() {
            return None;
        }
        shared.is_rung.store(false, Relaxed);
        Some(mem::replace(&mut state.rung, mem::take(&mut here.spare)))
    });
    let Some(mut rung) = rung else { return false };
    // Outside the borrow: a waker may do anything.
    rung.drain(..).for_each(Waker::wake);
    HERE.with_borrow_mut(|here| here.spare = rung);
    true
}

// === impl Doorbell ===

impl Doorbell {
    /// That of the calling thread.
    pub(crate) fn here() -> Self {
        HERE.with_borrow(|here| here.bell.clone())
    }

    /// Wakes a task of the doorbell's thread.
    pub(crate) fn ring(&self, task: Waker) {
        let Some(shared) = &self.0 else { return task.wake() };
        let mut state = shared.state.lock();
        if state.is_asleep {
            // It stays so until the thread says otherwise: this task may be gone, and then nothing interrupts the sleep.
            drop(state);
            return task.wake();
        }
        state.rung.push(task);
        shared.is_rung.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicUsize, task::Wake};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_thread_that_was_rung_for_a_task_that_is_gone_hears_the_next() {
        hang_up();
        let (bell, count) = (Doorbell::here(), Arc::new(Count::default()));
        // Awake, it is not interrupted.
        bell.ring(Waker::noop().clone());
        bell.ring(count.clone().into());
        assert_eq!(count.0.load(Relaxed), 0);
        before_sleep();
        assert_eq!(count.0.load(Relaxed), 1);
        // Asleep, it is, and by each: the first may be for nobody.
        bell.ring(Waker::noop().clone());
        bell.ring(count.clone().into());
        assert_eq!(count.0.load(Relaxed), 2);
        after_sleep();
    }
}
