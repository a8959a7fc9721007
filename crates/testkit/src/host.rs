//! One server of a system: the one all tests share, or a private one to kill, freeze and wipe.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, kill_process};
use servers::{RabbitMq, Redis, Running, Server, Signal, inhabitants, poll};

/// Longer than any server takes to start or to end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, shared or this system's own.
pub enum Host<S> {
    /// The URL of the server that all tests share.
    Shared(String),
    /// This system's own.
    Own(Box<Private<S>>),
}

/// A server of a system's own. Dropping it kills it.
pub struct Private<S> {
    server: S,
    running: Running,
    url: String,
    operator_url: String,
}

impl<S: Server> Host<S> {
    /// Starts a server of one's own and waits until it answers.
    ///
    /// # Panics
    /// It does not start.
    pub fn own(server: S) -> Self {
        let mut running = server.start().expect("the server starts");
        running.wait_ready(PATIENCE).expect("the server is ready");
        let (url, operator_url) = (running.url().to_owned(), running.operator_url().to_owned());
        Self::Own(Box::new(Private { server, running, url, operator_url }))
    }

    /// Where the processes of this system connect, whether or not the server runs.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Shared(url) => url,
            Self::Own(own) => &own.url,
        }
    }

    /// The same as somebody who may do everything. A shared server answers with the URL it was given.
    #[must_use]
    pub fn operator_url(&self) -> &str {
        match self {
            Self::Shared(url) => url,
            Self::Own(own) => &own.operator_url,
        }
    }

    /// Whether it belongs to this system.
    #[must_use]
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }

    fn private(&mut self) -> &mut Private<S> {
        match self {
            Self::Own(own) => own,
            Self::Shared(_) => panic!("this server belongs to all tests"),
        }
    }

    /// The server's folder.
    ///
    /// # Panics
    /// It belongs to all tests, as with everything below.
    pub fn dir(&mut self) -> PathBuf {
        self.private().server.profile().dir
    }

    /// Its first process.
    pub fn pid(&mut self) -> Pid {
        pid(self.private().running.pid())
    }

    /// Changes how it is started from the next time on.
    pub fn change(&mut self, change: impl FnOnce(&mut S)) {
        change(&mut self.private().server);
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// It does not.
    pub fn died(&mut self) {
        let own = self.private();
        assert!(poll(PATIENCE, || !own.running.is_alive()), "the server ends by itself");
        own.running.kill().expect("nothing of it stays");
    }

    /// SIGKILL for every process it has.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill(&mut self) {
        let own = self.private();
        assert!(own.running.is_alive(), "the server to be killed runs");
        own.running.kill().expect("it can be killed");
    }

    /// Ends it by this signal to its first process, and waits until it is gone.
    ///
    /// # Panics
    /// It does not run, or does not end.
    pub fn end_by(&mut self, signal: Signal) {
        let own = self.private();
        kill_process(pid(own.running.pid()), signal).expect("the server to be ended runs");
        assert!(poll(PATIENCE, || !own.running.is_alive()), "the server ends by {signal:?}");
        own.running.kill().expect("nothing of it stays");
    }

    /// Starts it again over the data it has, and waits until it answers.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&mut self) {
        let own = self.private();
        own.running = own.server.start().expect("the server starts again");
        own.running.wait_ready(PATIENCE).expect("the server is ready again");
    }

    /// Stops every process of it from running: it keeps its connections and answers nothing.
    ///
    /// # Panics
    /// It does not run.
    pub fn freeze(&mut self) {
        assert!(self.signal_all(Signal::STOP) > 0, "the server to be frozen runs");
    }

    /// Ends [`Host::freeze`].
    pub fn thaw(&mut self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&mut self, signal: Signal) -> usize {
        let dir = self.dir();
        let all = inhabitants(&dir);
        // One of them may end meanwhile.
        for &one in &all {
            let _ = kill_process(pid(one), signal);
        }
        all.len()
    }
}

impl<S: Server> Host<S> {
    /// Kills it, deletes `what` in its folder, and starts it again.
    ///
    /// # Panics
    /// It does not run, or does not start.
    pub fn kill_and_lose(&mut self, what: &Path) {
        self.kill();
        let path = self.dir().join(what);
        let lost = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        lost.unwrap_or_else(|error| panic!("{} cannot be deleted: {error}", path.display()));
        self.start();
    }
}

impl Host<Redis> {
    /// Cuts the last bytes off the append-only file of a Redis that is down, as a disk does that had not written them;
    /// returns how long it was.
    ///
    /// # Panics
    /// There is no such file, or it cannot be cut.
    pub fn lose_tail(&mut self, bytes: u64) -> u64 {
        let folder = self.dir().join("appendonlydir");
        let files = std::fs::read_dir(&folder).expect("the folder of the append-only file").flatten();
        // A rewrite has begun another one; the one written last is the tail.
        let tail = files
            .map(|file| file.path())
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .max_by_key(|path| path.metadata().and_then(|file| file.modified()).expect("its time"));
        let path = tail.expect("an append-only file");
        let file = std::fs::OpenOptions::new().write(true).open(path).expect("it can be written");
        let length = file.metadata().expect("its length").len();
        file.set_len(length.saturating_sub(bytes)).expect("it can be cut");
        length
    }

    /// Sends one command, words without blanks, as the operator, and returns the first line of the answer.
    ///
    /// # Panics
    /// It belongs to all tests, or refuses.
    pub fn tell(&mut self, command: &str) -> String {
        let own = self.private();
        let (port, password) = (own.server.port, own.server.password.clone());
        let ask = || -> std::io::Result<String> {
            let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.write_all(format!("AUTH {password}\r\n{command}\r\n").as_bytes())?;
            let mut answers = BufReader::new(connection).lines();
            answers.next().transpose()?;
            Ok(answers.next().transpose()?.unwrap_or_default())
        };
        let answer = ask().expect("Redis answers");
        assert!(!answer.starts_with('-'), "{command}: {answer}");
        answer
    }
}

impl Host<RabbitMq> {
    /// Runs `rabbitmqctl` with these arguments and returns what it prints. Takes a second or two.
    ///
    /// # Panics
    /// It belongs to all tests, or refuses.
    pub fn control(&mut self, arguments: &[&str]) -> String {
        let mut command = self.private().server.control().expect("rabbitmqctl is installed with the server");
        let output = command.args(arguments).output().expect("rabbitmqctl runs");
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "rabbitmqctl {arguments:?}: {said}");
        said
    }
}

fn pid(number: u32) -> Pid {
    i32::try_from(number).ok().and_then(Pid::from_raw).expect("a process id")
}
