//! A private Redis that forgets nothing it has confirmed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::accounts::{APP, REDIS_RULES, password_of};
use crate::server::{absolute, app_url, holds, write_private};
use crate::{Error, Process, Profile, Server, find};

/// A private Redis: AOF with an fsync before each answer, no eviction, and two users: `default`, who may do everything,
/// and [`APP`].
#[derive(Clone, Debug)]
pub struct Redis {
    /// Its folder: configuration and append-only file.
    pub dir: PathBuf,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// Its loopback port.
    pub port: u16,
    /// The password of its default user, and the secret of [`password_of`].
    pub password: String,
    /// Further lines of redis.conf (name, value); they win over ours.
    pub settings: Vec<(String, String)>,
    /// A program that becomes the server, with its arguments; the server's command line follows. As a rule there is none.
    pub through: Vec<String>,
}

impl Redis {
    /// A Redis in `dir`, logging to `dir/redis.log`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, port: u16, password: impl Into<String>) -> Self {
        let dir = absolute(dir.into());
        Self {
            log: dir.join("redis.log"),
            dir,
            port,
            password: password.into(),
            settings: Vec::new(),
            through: Vec::new(),
        }
    }

    /// redis.conf. There is no `dir` in it: the server is started in its folder, whatever characters its path has.
    fn configuration(&self) -> String {
        let Self { port, password, .. } = self;
        let app_password = password_of(APP, password);
        let mut text = format!(
            "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndaemonize no\nsave \"\"\n\
             appendonly yes\nappendfsync always\nmaxmemory-policy noeviction\n\
             user {APP} on >{app_password} {REDIS_RULES}\n"
        );
        for (name, value) in &self.settings {
            text.push_str(&format!("{name} {value}\n"));
        }
        text
    }
}

impl Server for Redis {
    fn profile(&self) -> Profile {
        let operator_url = format!("redis://default:{}@127.0.0.1:{}", self.password, self.port);
        Profile {
            name: "redis",
            dir: self.dir.clone(),
            log: self.log.clone(),
            port: self.port,
            ports: vec![self.port],
            url: app_url(&operator_url),
            operator_url,
            password: self.password.clone(),
            stop_signal: Signal::TERM,
            kin: &["redis-server"],
            probe: answers_ping,
        }
    }

    fn has_its_accounts(&self) -> bool {
        holds(&self.dir.join("redis.conf"), &self.configuration())
    }

    fn launch(&self) -> Result<Process, Error> {
        // A file and not arguments: everybody can read the arguments of a process.
        write_private(&self.dir.join("redis.conf"), &self.configuration())?;
        let server = find::redis_server()?;
        let mut command = match self.through.split_first() {
            None => Command::new(server),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(server);
                command
            }
        };
        Process::spawn(command.arg("redis.conf").current_dir(&self.dir), &self.log)
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
