//! Open connections: how many there may be, and an end for those whose client neither asks nor listens.
//!
//! actix-web limits the time of a connection's first head and of an idle connection that is silent. That leaves a
//! client who sends the second head byte by byte, one who sends a body that nobody reads, and one who never takes its
//! answers: none of them is idle to actix-web, and each would keep its connection for ever. So a connection lives for
//! `api.keep_alive_seconds` after its last answer, whatever its client does meanwhile.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use actix_web::dev::Extensions;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How often a thread looks for connections to end.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the client has to read the last answer.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// Files for everything that is no connection of a client: servers, logs, the runtime ...
const OTHER_FILES: u64 = 128;
/// ... and those of each HTTP thread: its runtime and its way to Redis.
const OTHER_FILES_OF_A_THREAD: u64 = 8;

thread_local! {
    /// The connections of this HTTP thread.
    static OPEN: RefCell<Vec<Weak<Connection>>> = const { RefCell::new(Vec::new()) };
}

/// One client's connection, as seen by the requests on it.
pub(crate) struct Connection {
    /// A handle of our own: actix-web lets go of its one only when it is done.
    wire: TcpStream,
    keep_alive: Duration,
    /// `None` while a request is at work; that has a deadline of its own.
    ends: Cell<Option<Instant>>,
}

impl Connection {
    /// A request is at work.
    pub(crate) fn begin(&self) {
        self.ends.set(None);
    }

    /// The request is answered.
    pub(crate) fn answered(&self, now: Instant) {
        if self.ends.get().is_none() {
            self.ends.set(Some(now + self.keep_alive));
        }
    }

    /// Ends the connection as soon as the client had time to read the answer, however much it still sends.
    pub(crate) fn end_soon(&self) {
        self.ends.set(Some(Instant::now() + LAST_ANSWER));
    }
}

/// Takes note of a new connection of this thread, which lives for `keep_alive` after each answer.
pub(crate) fn opened(io: &dyn Any, data: &mut Extensions, keep_alive: Duration) {
    let Some(stream) = io.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
    // Out of files: actix-web's own limits still hold for it.
    let Ok(wire) = stream.as_fd().try_clone_to_owned() else { return };
    let ends = Cell::new(Some(Instant::now() + keep_alive));
    let connection = Rc::new(Connection { wire: wire.into(), keep_alive, ends });
    OPEN.with_borrow_mut(|open| open.push(Rc::downgrade(&connection)));
    data.insert(connection);
}

/// Ends connections of this thread whose time is over, for as long as the thread runs.
pub(crate) async fn keep_ending() {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = Instant::now();
        OPEN.with_borrow_mut(|open| {
            open.retain(|connection| {
                let Some(connection) = connection.upgrade() else { return false };
                let over = connection.ends.get().is_some_and(|ends| ends <= now);
                // A wire that is gone already needs no end.
                over.then(|| connection.wire.shutdown(Shutdown::Both).ok());
                !over
            });
        });
    }
}

/// How many connections each of `threads` may have: `wanted`, or what the process's limit of open files leaves, which
/// is raised as far as that needs. Clients must never take the files that the way to Redis needs.
pub(crate) fn limit(wanted: usize, threads: usize) -> usize {
    let threads = threads.max(1) as u64;
    let others = OTHER_FILES.saturating_add(OTHER_FILES_OF_A_THREAD.saturating_mul(threads));
    // Each has two handles.
    let needed = (2 * wanted as u64).saturating_mul(threads).saturating_add(others);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let reachable = needed.min(maximum.unwrap_or(u64::MAX));
    let mut files = current.unwrap_or(u64::MAX);
    if files < reachable && setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum }).is_ok() {
        files = reachable;
    }
    let left = usize::try_from(files.saturating_sub(others) / threads / 2).unwrap_or(usize::MAX);
    if left < wanted {
        tracing::warn!(wanted, connections = left.max(1), files, "the limit of open files allows fewer connections");
    }
    wanted.min(left).max(1)
}
