//! `flashsale completions`: what a shell needs to complete these commands. Asks nobody.

use std::io::{Write, stdout};
use std::process::ExitCode;

use clap::{Args, Command as Program, ValueEnum};
use clap_complete::{Shell, generate};

/// For which shell.
#[derive(Args)]
pub(crate) struct Command {
    /// Source what is printed: bash: source <(flashsale completions bash); zsh: the same; fish: flashsale completions
    /// fish | source
    shell: Kind,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(command: &Command, mut program: Program) -> ExitCode {
    let shell = match command.shell {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut program, "flashsale", &mut script);
    // A reader that has gone is no error.
    let _ = stdout().lock().write_all(&script);
    ExitCode::SUCCESS
}
