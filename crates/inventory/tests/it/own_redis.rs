//! A Redis that a test may break: its own process, port and folder.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use inventory::{Config, Inventory};
use tempfile::TempDir;

use crate::sale::{config, raw};

pub(crate) struct OwnRedis {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl OwnRedis {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = servers::free_port().unwrap();
        let redis = Self { process: spawn(port, &folder), port, folder };
        redis.wait_until_it_answers().await;
        redis
    }

    /// Ends the process as `kill -9` does and starts it again over the same files.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.kill();
        self.process = spawn(self.port, &self.folder);
        self.wait_until_it_answers().await;
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn inventory(&self) -> Inventory {
        Inventory::new(&config(&self.url())).unwrap()
    }

    pub(crate) fn impatient_inventory(&self, response_timeout_ms: u64) -> Inventory {
        Inventory::new(&Config { response_timeout_ms, ..config(&self.url()) }).unwrap()
    }

    pub(crate) async fn raw<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        raw(&self.url(), command).await
    }

    /// How many connections were ever made, the one that asks included.
    pub(crate) async fn connections_made(&self) -> u64 {
        let stats: String = self.raw(&["INFO", "stats"]).await;
        let made = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        made.unwrap().parse().unwrap()
    }

    /// While writes are paused: waits until a client has sent another script call behind the one that waits. Only
    /// what has not been looked at yet counts into a client's `qbuf`.
    pub(crate) async fn wait_for_a_second_script_call(&self) {
        let is_queued = |client: &str| client.contains("cmd=evalsha") && !client.contains(" qbuf=0 ");
        let queued = async {
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            while !self.raw::<String>(&["CLIENT", "LIST"]).await.lines().any(is_queued) {
                tick.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), queued).await.expect("a second call within 10 s");
    }

    async fn wait_until_it_answers(&self) {
        let inventory = self.inventory();
        let answers = async {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            while inventory.ping().await.is_err() {
                tick.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answers).await.expect("Redis answers within 10 s");
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes"])
        .args(["--appendfsync", "always", "--dir"])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}
