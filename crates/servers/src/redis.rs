//! A private Redis that forgets nothing it has confirmed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::server::{absolute, write_private};
use crate::{Error, Process, Profile, Server, find};

/// A private Redis: AOF with an fsync before each answer, no eviction, a password.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Its folder: configuration and append-only file.
    pub dir: PathBuf,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// Its loopback port.
    pub port: u16,
    /// The password of its default user.
    pub password: String,
    /// Further lines of redis.conf (name, value); they win over ours.
    pub settings: Vec<(String, String)>,
}

impl Redis {
    /// A Redis in `dir`, logging to `dir/redis.log`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, port: u16, password: impl Into<String>) -> Self {
        let dir = absolute(dir.into());
        Self { log: dir.join("redis.log"), dir, port, password: password.into(), settings: Vec::new() }
    }

    /// redis.conf. There is no `dir` in it: the server is started in its folder, whatever characters its path has.
    fn configuration(&self) -> String {
        let Self { port, password, .. } = self;
        let mut text = format!(
            "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndaemonize no\nsave \"\"\n\
             appendonly yes\nappendfsync always\nmaxmemory-policy noeviction\n"
        );
        for (name, value) in &self.settings {
            text.push_str(&format!("{name} {value}\n"));
        }
        text
    }
}

impl Server for Redis {
    fn profile(&self) -> Profile {
        Profile {
            name: "redis",
            dir: self.dir.clone(),
            log: self.log.clone(),
            port: self.port,
            ports: vec![self.port],
            url: format!("redis://default:{}@127.0.0.1:{}", self.password, self.port),
            password: self.password.clone(),
            stop_signal: Signal::TERM,
            kin: &["redis-server"],
            probe: answers_ping,
        }
    }

    fn launch(&self) -> Result<Process, Error> {
        // A file and not arguments: everybody can read the arguments of a process.
        write_private(&self.dir.join("redis.conf"), &self.configuration())?;
        Process::spawn(Command::new(find::redis_server()?).arg("redis.conf").current_dir(&self.dir), &self.log)
    }
}

/// PING answers PONG only after the append-only file was loaded (`-LOADING` before), and only with the password.
fn answers_ping(mut connection: TcpStream, password: &str) -> std::io::Result<bool> {
    const YES: &[u8] = b"+OK\r\n+PONG\r\n";
    connection.write_all(format!("AUTH {password}\r\nPING\r\n").as_bytes())?;
    let mut answer = [0; YES.len()];
    connection.read_exact(&mut answer)?;
    Ok(answer == YES)
}
