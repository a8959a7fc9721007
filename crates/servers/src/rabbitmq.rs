//! A private RabbitMQ node, with an Erlang port mapper of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::accounts::{APP, OPERATOR, password_of, rabbitmq_definitions};
use crate::server::{absolute, app_url, holds, loopback, write_private};
use crate::{Error, Process, Profile, Server, find, free_port, poll};

/// How long the port mapper may take to listen; it needs a few milliseconds.
const EPMD_TIMEOUT: Duration = Duration::from_secs(10);

/// The file with the accounts, in the node's folder, which is where the node runs.
const DEFINITIONS: &str = "definitions.json";

/// The loopback ports of one node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RabbitMqPorts {
    /// For AMQP clients.
    pub amqp: u16,
    /// For Erlang's distribution (`rabbitmqctl`, clustering).
    pub dist: u16,
    /// For the port mapper that tells the distribution port.
    pub epmd: u16,
}

impl RabbitMqPorts {
    /// Three ports nobody listens on now.
    ///
    /// # Errors
    /// As [`free_port`].
    pub fn free() -> Result<Self, Error> {
        Ok(Self { amqp: free_port()?, dist: free_port()?, epmd: free_port()? })
    }
}

/// A private RabbitMQ node that answers on 127.0.0.1 only, with two users: the administrator `operator`, and [`APP`].
#[derive(Clone, Debug)]
pub struct RabbitMq {
    /// Its folder: configuration, cookie and data.
    pub dir: PathBuf,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// Its loopback ports.
    pub ports: RabbitMqPorts,
    /// The administrator's password, the secret of [`password_of`], and the node's Erlang cookie.
    pub password: String,
    /// Further lines of rabbitmq.conf (name, value); they win over ours.
    pub settings: Vec<(String, String)>,
}

impl RabbitMq {
    /// A node in `dir`, logging to `dir/rabbitmq.log`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, ports: RabbitMqPorts, password: impl Into<String>) -> Self {
        let dir = absolute(dir.into());
        Self { log: dir.join("rabbitmq.log"), dir, ports, password: password.into(), settings: Vec::new() }
    }

    /// rabbitmq.conf. Logs go to the console, which is our file. A fresh node preallocates its Raft log, 512 MiB unless
    /// told otherwise; 64 MiB hold more reservations than a private node ever sees between two snapshots.
    fn configuration(&self) -> String {
        let mut text = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\nload_definitions = {DEFINITIONS}\n\
             raft.wal_max_size_bytes = 67108864\n\
             log.file = false\nlog.console = true\nlog.console.level = info\nlog.console.use_colors = off\n",
            self.ports.amqp
        );
        for (name, value) in &self.settings {
            text.push_str(&format!("{name} = {value}\n"));
        }
        text
    }

    fn definitions(&self) -> String {
        rabbitmq_definitions(&self.password, &password_of(APP, &self.password))
    }

    /// The command with everything that would otherwise come from /etc, /var or the caller's environment.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("RABBITMQ_") || name.starts_with("ERL_")) {
                command.env_remove(name);
            }
        }
        let inside = |name: &str| self.dir.join(name);
        command
            .current_dir(&self.dir)
            .env("HOME", &self.dir)
            .env("LANG", "C.UTF-8")
            .env("RABBITMQ_NODENAME", format!("flashsale-{}@localhost", self.ports.amqp))
            .env("RABBITMQ_DIST_PORT", self.ports.dist.to_string())
            .env("RABBITMQ_CONFIG_FILE", inside("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", inside("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", inside("data"))
            .env("RABBITMQ_LOG_BASE", inside("data"))
            .env("RABBITMQ_SCHEMA_DIR", inside("data"))
            .env("RABBITMQ_PID_FILE", inside("rabbitmq.pid"))
            // Files that do not exist, so that the ones in /etc/rabbitmq are not read.
            .env("RABBITMQ_CONF_ENV_FILE", inside("rabbitmq-env.conf"))
            .env("RABBITMQ_CONFIG_FILES", inside("conf.d"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", inside("advanced.config"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.ports.epmd.to_string())
            .env("ERL_CRASH_DUMP_SECONDS", "0")
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}")
            // The start script then becomes the server instead of waiting for it, so that the process we started is
            // the one to signal. Nothing is reported to systemd: that needs NOTIFY_SOCKET.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env_remove("NOTIFY_SOCKET");
        command
    }

    /// `rabbitmqctl`, about to speak to this node as one who may do everything.
    ///
    /// # Errors
    /// [`Error::NotInstalled`].
    pub fn control(&self) -> Result<Command, Error> {
        let mut command = self.command(&find::rabbitmqctl()?);
        command.env("RABBITMQ_CTL_ERL_ARGS", "-start_epmd false");
        Ok(command)
    }

    /// The port mapper, in the foreground: one that Erlang starts for itself would outlive the node.
    fn launch_epmd(&self) -> Result<Process, Error> {
        let port = self.ports.epmd;
        let mut command = self.command(&find::epmd()?);
        let mut epmd = Process::spawn(command.args(["-address", "127.0.0.1", "-port", &port.to_string()]), &self.log)?;
        let listens = || TcpStream::connect_timeout(&loopback(port), EPMD_TIMEOUT).is_ok();
        poll(EPMD_TIMEOUT, || !epmd.is_alive() || listens());
        if epmd.is_alive() { Ok(epmd) } else { Err(Error::Ended { name: "epmd", log: self.log.clone() }) }
    }
}

impl Server for RabbitMq {
    fn profile(&self) -> Profile {
        let operator_url = format!("amqp://{OPERATOR}:{}@127.0.0.1:{}/%2f", self.password, self.ports.amqp);
        Profile {
            name: "rabbitmq",
            dir: self.dir.clone(),
            log: self.log.clone(),
            port: self.ports.amqp,
            ports: vec![self.ports.amqp, self.ports.dist, self.ports.epmd],
            url: app_url(&operator_url),
            operator_url,
            password: self.password.clone(),
            stop_signal: Signal::TERM,
            kin: &["beam.smp", "erl_child_setup", "inet_gethost", "epmd"],
            probe: greets,
        }
    }

    fn has_its_accounts(&self) -> bool {
        holds(&self.dir.join(DEFINITIONS), &self.definitions())
    }

    fn launch(&self) -> Result<Process, Error> {
        let server = find::rabbitmq_server()?;
        write_private(&self.dir.join("rabbitmq.conf"), &self.configuration())?;
        write_private(&self.dir.join(DEFINITIONS), &self.definitions())?;
        write_private(&self.dir.join("enabled_plugins"), "[].\n")?;
        write_private(&self.dir.join(".erlang.cookie"), &self.password)?;
        self.launch_epmd()?.spawn_beside(&mut self.command(&server), &self.log)
    }
}

/// The node opens its listener last; from then on it answers the AMQP header with a method frame (connection.start).
fn greets(mut connection: TcpStream, _password: &str) -> std::io::Result<bool> {
    const METHOD_FRAME: u8 = 1;
    connection.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut frame_type = [0];
    connection.read_exact(&mut frame_type)?;
    Ok(frame_type == [METHOD_FRAME])
}
