//! `cargo xtask status`: what runs.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::home::Home;
use crate::http;
use crate::progress::print;
use crate::roles::{API, ROLES};
use crate::stack::Stack;

/// Prints a line for each process, and what the API says about its health.
///
/// # Errors
/// When there is no stack.
pub fn run(home: &Path) -> Result<ExitCode> {
    let stack = Stack::require(home)?;
    let home = Home::at(home)?;
    print(format_args!("{:<12} {:>8}  {:<5} {:>5}  LOG", "NAME", "PID", "STATE", "PORT"));
    for profile in stack.servers(&home).map(|server| server.profile()) {
        print_line(&home, profile.name, Some(profile.port));
    }
    for role in ROLES {
        print_line(&home, role.name, (role.name == API).then_some(stack.api_port));
    }
    if home.process(API).is_some() {
        match http::get(stack.api_port, "/health") {
            Ok(answer) => print(format_args!("\n{}/health: {} {}", stack.api_url(), answer.status, answer.body.trim())),
            Err(error) => print(format_args!("\n{}/health: {error:#}", stack.api_url())),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_line(home: &Home, name: &str, port: Option<u16>) {
    let pid = home.process(name).map(|process| process.pid().to_string());
    let state = if pid.is_some() { "up" } else { "down" };
    let port = port.map_or_else(|| "-".to_owned(), |port| port.to_string());
    print(format_args!(
        "{name:<12} {:>8}  {state:<5} {port:>5}  {}",
        pid.as_deref().unwrap_or("-"),
        home.log(name).display()
    ));
}
