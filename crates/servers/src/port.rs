//! Loopback ports: free ones, and who has the others.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Error;

/// Where free ports are looked for. Below the ports that systems hand to outgoing connections (32768 on Linux, 49152
/// elsewhere): otherwise a client that reconnects to a killed server could be given the server's own port, and the
/// server could not come back.
const RANGE: Range<u16> = 10_000..32_000;

/// How many ports are tried before giving up.
const ATTEMPTS: u16 = 200;

/// Each process looks from another place on, so that neighbours do not look at the same ports one after the other.
const STRIDE: u32 = 16;

/// How many ports this process has looked at.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// The ports given out by this process: their numbers, bound for UDP, which no server of ours speaks.
static CLAIMED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A loopback TCP port nobody listens on now, between 10,000 and 31,999. No two calls on one machine get the same as
/// long as both processes live: nobody listens yet while a server starts, nor while it is down.
///
/// # Errors
/// When 200 ports in a row are all taken.
pub fn free_port() -> Result<u16, Error> {
    let span = u32::from(RANGE.end - RANGE.start);
    let first = std::process::id().wrapping_mul(STRIDE) % span;
    (0..ATTEMPTS)
        .map(|_| {
            let place = (first + u32::from(LOOKED_AT.fetch_add(1, Ordering::Relaxed))) % span;
            RANGE.start + u16::try_from(place).expect("the remainder is below the span, which is a u16")
        })
        .find(|&port| claim(port) && is_free(port))
        .ok_or_else(|| Error::io("find a free loopback port")(std::io::ErrorKind::AddrInUse.into()))
}

/// Claims a port until this process ends, unless another has: every process sees a bound socket, and none outlives its
/// process, as a file would.
fn claim(port: u16) -> bool {
    let claimed = UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
    claimed.map(|socket| CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).push(socket)).is_ok()
}

/// Whether a server could listen on this loopback port now.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A process that listens on a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its short name, as in `ps -o comm`.
    pub name: String,
}

/// Who listens on this TCP port, where the system tells: Linux does, about processes that are ours to look at.
#[must_use]
pub fn holder(port: u16) -> Option<Holder> {
    let sockets: HashSet<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(|line| listening_socket(line, port)).collect::<Vec<_>>())
        .collect();
    let holds_one = |pid: u32| {
        fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|open| {
            open.flatten()
                .filter_map(|file| fs::read_link(file.path()).ok())
                .any(|target| target.to_str().is_some_and(|target| sockets.contains(target)))
        })
    };
    let pid = crate::process::everyone().find(|&pid| holds_one(pid))?;
    Some(Holder { pid, name: crate::process::short_name(pid)? })
}

/// The socket (`socket:[inode]`, as `/proc/<pid>/fd` shows it) of a line of `/proc/net/tcp` that listens on `port`.
/// Columns (proc_pid_net(5)): slot, local address:port, remote address, state, ..., the tenth is the inode.
fn listening_socket(line: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (_, local_port) = columns.get(1)?.rsplit_once(':')?;
    let listens = *columns.get(3)? == LISTEN && u16::from_str_radix(local_port, 16).ok()? == port;
    listens.then(|| Some(format!("socket:[{}]", columns.get(9)?)))?
}
