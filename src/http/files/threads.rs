//! Threads for what takes long: they read files, so that a slow disk holds up only those who wait for it, and check passwords.

use std::{
    collections::VecDeque,
    fmt, io,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

/// A few threads behind one bounded queue; they end when it is dropped.
pub(in crate::http) struct Threads(Arc<Shared>);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

// === impl Threads ===

impl Threads {
    /// `count` threads called `name`, for whom `capacity` jobs may wait.
    pub(in crate::http) fn start(name: &str, count: usize, capacity: usize) -> io::Result<Arc<Self>> {
        let threads = Self(Arc::new(Shared { capacity, ..Shared::default() }));
        for number in 0..count {
            let shared = threads.0.clone();
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || shared.work())?;
        }
        Ok(Arc::new(threads))
    }

    /// Has a thread run `job`; gives it back if too many wait already.
    pub(in crate::http) fn submit<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), F> {
        let mut queue = self.0.queue.lock();
        if queue.jobs.len() >= self.0.capacity {
            return Err(job);
        }
        queue.jobs.push_back(Box::new(job));
        drop(queue);
        self.0.filled.notify_one();
        Ok(())
    }

    /// What `function` returns on one of the threads. With the queue full it runs here: whoever asks faster than the disk
    /// answers is the one to be slowed down.
    pub(in crate::http) async fn call<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (sender, receiver) = oneshot::channel();
        if let Err(job) = self.submit(move || drop(sender.send(function()))) {
            job();
        }
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the file thread ended")))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.queue.lock().is_closed = true;
        self.0.filled.notify_all();
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Threads").field("capacity", &self.0.capacity).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn work(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // Whoever waits for it hears that it has ended; the others need the thread.
                drop(panic::catch_unwind(AssertUnwindSafe(job)));
                queue = self.queue.lock();
            } else if queue.is_closed {
                return;
            } else {
                self.filled.wait(&mut queue);
            }
        }
    }
}
