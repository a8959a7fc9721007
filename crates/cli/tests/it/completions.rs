//! `flashsale completions`, and what a reader who leaves early sees.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::desk::{bare, told};

#[test]
fn each_shell_gets_a_script_with_every_command_and_bash_understands_it() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, complaints) = told(&bare(&["completions", shell]).output().unwrap());
        assert_eq!((code, complaints.as_str()), (0, ""), "{shell}");
        for word in ["simulate", "doctor", "add-stock", "dead-letters", "pay-failures"] {
            assert!(script.contains(word), "{shell} has no {word}");
        }
        if shell == "bash" {
            let folder = std::env::temp_dir().join(format!("flashsale-{}.bash", std::process::id()));
            std::fs::write(&folder, &script).unwrap();
            let checked = Command::new("bash").arg("-n").arg(&folder).output().unwrap();
            std::fs::remove_file(&folder).unwrap();
            assert!(checked.status.success(), "{checked:?}");
        }
    }
    assert_eq!(told(&bare(&["completions", "cmd"]).output().unwrap()).0, 2);
}

#[test]
fn a_reader_who_leaves_early_is_no_error() {
    let mut child = bare(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let (code, _, complaints) = told(&child.wait_with_output().unwrap());
    assert_eq!((code, complaints.as_str()), (0, ""));
}
