//! Open connections: how many there may be, and an end for those whose client neither asks nor listens.
//!
//! actix-web limits the time of a connection's first head and of an idle connection that is silent. That leaves a
//! client who sends the second head byte by byte, one who sends a body that nobody reads, and one who never takes its
//! answers: none of them is idle to actix-web, and each would keep its connection for ever. So a connection lives for
//! `api.keep_alive_seconds` after its last answer, whatever its client does meanwhile.
//!
//! An answer that is a stream lasts as long as its client takes what it is told. Whatever there is for a client waits in
//! small buffers, and once they are full the stream is not asked for more: that, too, ends the connection in time.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use actix_web::dev::Extensions;
use rustix::net::sockopt::set_socket_send_buffer_size;
#[cfg(target_os = "linux")]
use rustix::net::sockopt::set_tcp_user_timeout;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How often a thread looks for connections to end.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most bytes of a stream that the kernel keeps for a client which does not take them.
const STREAM_BUFFER: usize = 16 * 1024;
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

    /// The answer to the request at work is a stream. It ends when the client has taken nothing for `patience`, whether
    /// its machine is gone, which the kernel notices, or it does not read, which shows by [`Connection::last_for`].
    pub(crate) fn stream(&self, patience: Duration) {
        // Without these a client costs more memory or is given up later, by the kernel's own limits.
        let _ = set_socket_send_buffer_size(&self.wire, STREAM_BUFFER);
        #[cfg(target_os = "linux")]
        let _ = set_tcp_user_timeout(&self.wire, u32::try_from(patience.as_millis()).unwrap_or(u32::MAX));
        self.last_for(patience);
    }

    /// There was room for more of the stream: it goes on for `patience` at least.
    pub(crate) fn last_for(&self, patience: Duration) {
        self.ends.set(Some(Instant::now() + patience));
    }

    /// Whether the client has closed its side. actix-web takes that for a client who has no more questions, and would
    /// go on with the stream until the wire breaks.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.wire.peek(&mut [0]), Ok(0))
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
