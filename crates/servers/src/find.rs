//! Where the servers' programs are.

use std::path::{Path, PathBuf};

use crate::Error;

/// Folders that hold servers without being on every user's PATH.
const FOLDERS: [&str; 7] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/opt/homebrew/bin",
    "/opt/homebrew/sbin",
    "/usr/lib/erlang/bin",
];

/// RabbitMQ's own start script. Debian also puts a wrapper into /usr/sbin that insists on the user `rabbitmq`; these
/// come first so that the wrapper is never taken.
const RABBITMQ: [&str; 5] = [
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/sbin/rabbitmq-server",
];

/// Folders with one folder per major version of PostgreSQL, and what stands around the version in its name.
const POSTGRES: [(&str, &str, &str); 4] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/usr", "pgsql-", "bin"),
];

/// The names of the servers that are not installed: `redis`, `rabbitmq`, `postgres`.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    let found = [
        ("redis", redis_server().is_ok()),
        ("rabbitmq", rabbitmq_server().is_ok() && epmd().is_ok()),
        ("postgres", postgres_bin(None).is_ok()),
    ];
    found.into_iter().filter(|(_, found)| !found).map(|(name, _)| name).collect()
}

/// `redis-server`.
pub(crate) fn redis_server() -> Result<PathBuf, Error> {
    on_path("redis-server")
}

/// `rabbitmq-server`, the script that becomes the server.
pub(crate) fn rabbitmq_server() -> Result<PathBuf, Error> {
    let known = RABBITMQ.iter().map(PathBuf::from).find(|path| path.is_file());
    known.map_or_else(|| on_path("rabbitmq-server"), Ok)
}

/// `rabbitmqctl`, which stands beside the server's script.
pub(crate) fn rabbitmqctl() -> Result<PathBuf, Error> {
    let beside = rabbitmq_server()?.with_file_name("rabbitmqctl");
    if beside.is_file() { Ok(beside) } else { on_path("rabbitmqctl") }
}

/// `epmd`, Erlang's port mapper.
pub(crate) fn epmd() -> Result<PathBuf, Error> {
    on_path("epmd")
}

/// The folder with `initdb` and `postgres`: of this major version, or else the newest.
pub(crate) fn postgres_bin(version: Option<&str>) -> Result<PathBuf, Error> {
    let mut installed: Vec<(u32, PathBuf)> = POSTGRES
        .iter()
        .flat_map(|(parent, prefix, below)| versions_in(Path::new(parent), prefix, below))
        .filter(|(major, _)| version.is_none_or(|wanted| wanted == major.to_string()))
        .collect();
    installed.sort();
    if let Some((_, newest)) = installed.pop() {
        return Ok(newest);
    }
    let folder = on_path("initdb")?;
    Ok(folder.parent().map(Path::to_path_buf).unwrap_or_default())
}

fn versions_in(parent: &Path, prefix: &str, below: &str) -> Vec<(u32, PathBuf)> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            let bin = entry.path().join(below);
            (bin.join("initdb").is_file() && bin.join("postgres").is_file()).then_some((major, bin))
        })
        .collect()
}

fn on_path(program: &'static str) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| Error::NotInstalled { program, looked_in: format!("PATH and {}", FOLDERS.join(", ")) })
}
