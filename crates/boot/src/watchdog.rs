//! Ends a process that is stuck: an error and a restart are noticed, a process that only looks alive is not.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use std::{io, process, thread};

use crate::settings::Worker;
use crate::signals;

/// How often the watchdog looks.
///
/// It counts these looks and reads no clock: while the whole process is frozen (SIGSTOP, a paused container, a debugger)
/// nothing is counted, so that nothing in it is late when it goes on.
const TICK: Duration = Duration::from_millis(250);
/// How long the log may take to write the last words: it may be what is stuck.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Not asked to stop.
const NEVER: u64 = u64::MAX;

/// Watches one runtime and the work that is announced to it, from a thread of its own. Cheap to clone; the watch ends with
/// the last clone.
#[derive(Clone)]
pub struct Watchdog {
    watch: Arc<Watch>,
    limit: Duration,
    stop_within: Duration,
    _ends_the_thread: Sender<()>,
}

/// Work that has to be over in time. It is over when this is dropped.
#[must_use]
pub struct Busy {
    watch: Arc<Watch>,
    number: u64,
}

/// All times are counted in ticks.
struct Watch {
    now: AtomicU64,
    /// When the runtime last took up a task.
    turned: AtomicU64,
    /// How long it may go without.
    limit: u64,
    /// When the process ends even if it is not done; [`NEVER`] before it was asked to stop.
    end_at: AtomicU64,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    last_number: u64,
    announced: HashMap<u64, Announced>,
}

struct Announced {
    what: &'static str,
    begun: u64,
    limit: u64,
}

/// What is to be done about a process.
enum Verdict {
    Fine,
    /// What is stuck, and for how many ticks.
    Stuck(&'static str, u64),
    /// It was asked to stop and has had its time.
    Overdue,
}

impl Watchdog {
    /// Starts to watch the runtime it is called on: one that takes up no task for `watchdog_seconds` is stuck. Where a
    /// runtime has several threads, that means all of them.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(settings: &Worker) -> io::Result<Self> {
        let limit = Duration::from_secs(settings.watchdog_seconds);
        let watch = Arc::new(Watch {
            now: AtomicU64::new(0),
            turned: AtomicU64::new(0),
            limit: ticks(limit),
            end_at: AtomicU64::new(NEVER),
            work: Mutex::default(),
        });
        let (ends_the_thread, ended) = mpsc::channel();
        let watched = Arc::clone(&watch);
        thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                watched.now.fetch_add(1, Ordering::Relaxed);
                act(&watched.look());
            }
        })?;
        tokio::spawn(turn(Arc::downgrade(&watch)));
        let stop_within = Duration::from_secs(settings.stop_seconds);
        Ok(Self { watch, limit, stop_within, _ends_the_thread: ends_the_thread })
    }

    /// Announces work that no server can prolong beyond `watchdog_seconds`. If it takes longer, the process is ended.
    pub fn busy(&self, what: &'static str) -> Busy {
        self.within(self.limit, what)
    }

    /// [`Watchdog::busy`] for work that may take `times` as long, or as long again after each [`Busy::renew`].
    pub fn busy_with_much(&self, times: u32, what: &'static str) -> Busy {
        self.within(self.limit * times, what)
    }

    fn within(&self, limit: Duration, what: &'static str) -> Busy {
        let mut work = self.watch.work();
        work.last_number += 1;
        let number = work.last_number;
        let begun = self.watch.now.load(Ordering::Relaxed);
        work.announced.insert(number, Announced { what, begun, limit: ticks(limit) });
        Busy { watch: Arc::clone(&self.watch), number }
    }

    /// Resolves at the first SIGTERM or SIGINT. From then on the process has `stop_seconds` to end by itself; after that
    /// it is ended, with exit code 0: what it still holds is safe with the servers.
    ///
    /// # Errors
    /// The signal handler cannot be installed.
    pub async fn stop_requested(&self) -> io::Result<()> {
        signals::stop_requested().await?;
        let now = self.watch.now.load(Ordering::Relaxed);
        self.watch.end_at.store(now + ticks(self.stop_within), Ordering::Relaxed);
        Ok(())
    }
}

impl Busy {
    /// The work has made progress: its time begins anew.
    pub fn renew(&self) {
        let now = self.watch.now.load(Ordering::Relaxed);
        if let Some(work) = self.watch.work().announced.get_mut(&self.number) {
            work.begun = now;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.watch.work().announced.remove(&self.number);
    }
}

impl Watch {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Verdict {
        let now = self.now.load(Ordering::Relaxed);
        if now >= self.end_at.load(Ordering::Relaxed) {
            return Verdict::Overdue;
        }
        let still = now.saturating_sub(self.turned.load(Ordering::Relaxed));
        if still > self.limit {
            return Verdict::Stuck("the async runtime", still);
        }
        let work = self.work();
        let late = work.announced.values().find(|work| now.saturating_sub(work.begun) > work.limit);
        late.map_or(Verdict::Fine, |work| Verdict::Stuck(work.what, now - work.begun))
    }
}

/// Shows that the runtime takes up tasks.
async fn turn(watch: Weak<Watch>) {
    let mut ticks = tokio::time::interval(TICK);
    while let Some(watch) = watch.upgrade() {
        watch.turned.store(watch.now.load(Ordering::Relaxed), Ordering::Relaxed);
        drop(watch);
        ticks.tick().await;
    }
}

fn act(verdict: &Verdict) {
    match *verdict {
        Verdict::Fine => {}
        Verdict::Stuck(what, ticks) => {
            let seconds = TICK.as_secs_f64() * f64::from(u32::try_from(ticks).unwrap_or(u32::MAX));
            say(move || tracing::error!(what, seconds, "stuck, the process is ended"));
            // Nothing can hold this up: no destructor, no lock.
            process::abort();
        }
        Verdict::Overdue => {
            say(|| tracing::warn!("not done in time, the process ends now; nothing is lost"));
            process::exit(0);
        }
    }
}

/// Writes to the log from another thread and waits a moment for it.
fn say(words: impl FnOnce() + Send + 'static) {
    let (said, wait) = mpsc::channel::<()>();
    let speaker = thread::Builder::new().spawn(move || {
        words();
        drop(said);
    });
    if speaker.is_ok() {
        let _ = wait.recv_timeout(LAST_WORDS);
    }
}

fn ticks(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(limit: u64) -> Watchdog {
        let watch = Watch {
            now: AtomicU64::new(0),
            turned: AtomicU64::new(0),
            limit,
            end_at: AtomicU64::new(NEVER),
            work: Mutex::default(),
        };
        let limit = TICK * u32::try_from(limit).unwrap();
        Watchdog { watch: Arc::new(watch), limit, stop_within: limit, _ends_the_thread: mpsc::channel().0 }
    }

    fn stuck(dog: &Watchdog, now: u64) -> Option<&'static str> {
        dog.watch.now.store(now, Ordering::Relaxed);
        match dog.watch.look() {
            Verdict::Stuck(what, _) => Some(what),
            Verdict::Fine | Verdict::Overdue => None,
        }
    }

    #[test]
    fn work_is_late_after_its_limit_and_never_once_it_is_over() {
        let dog = watch(4);
        dog.watch.turned.store(100, Ordering::Relaxed);
        let (short, long) = (dog.busy("short work"), dog.busy_with_much(2, "long work"));
        assert_eq!(stuck(&dog, 4), None);
        assert_eq!(stuck(&dog, 5), Some("short work"));
        drop(short);
        assert_eq!(stuck(&dog, 8), None);
        assert_eq!(stuck(&dog, 9), Some("long work"));
        drop(long);
        assert_eq!(stuck(&dog, 100), None);
        assert_eq!(stuck(&dog, 105), Some("the async runtime"));
    }

    #[test]
    fn work_that_makes_progress_may_take_as_long_as_it_likes_and_is_late_once_it_makes_none() {
        let dog = watch(4);
        dog.watch.turned.store(100, Ordering::Relaxed);
        let (long, idle) = (dog.busy_with_much(2, "long work"), dog.busy_with_much(10, "other work"));
        for now in [8, 16, 24] {
            assert_eq!(stuck(&dog, now), None);
            long.renew();
        }
        assert_eq!(stuck(&dog, 32), None);
        assert_eq!(stuck(&dog, 33), Some("long work"));
        drop(long);
        assert_eq!(stuck(&dog, 41), Some("other work"), "it has not been renewed");
        drop(idle);
    }
}
