//! A terminal in which buyers are simulated.

use std::path::Path;
use std::process::Stdio;

use crate::stage::Stage;

/// Columns and rows that hold the whole report.
const TERMINAL: &str = "96x33";
/// No spinner turns faster, in milliseconds.
const SHORTEST_FRAME: &str = "30";
/// How long the end is to be seen, in milliseconds.
const LAST_FRAME: &str = "8000";

/// Records `flashsale simulate` as a picture that moves.
///
/// # Panics
/// The recorder or the simulation fails.
pub(crate) fn make(stage: &Stage, recorder: &Path, picture: &Path) {
    let line = "simulate --buyers 500 --stock 10";
    let script =
        format!("printf '\\033[32m$\\033[0m cargo flashsale {line}\\n'; sleep 1; exec '{}' {line}", Stage::program());
    let folder = tempfile::tempdir().expect("a folder for the script");
    let file = folder.path().join("record.sh");
    std::fs::write(&file, script).expect("the script");
    let mut recording = stage.command(&recorder.to_string_lossy());
    recording.arg(picture).args(["--template", "window_frame", "--screen-geometry", TERMINAL]);
    recording.args(["--min-frame-duration", SHORTEST_FRAME, "--loop-delay", LAST_FRAME]);
    recording.arg("--command").arg(format!("sh {}", file.display()));
    // It ends at the end of its input, and before that with its command.
    let child = recording.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let status = child.and_then(|mut child| {
        let _input = child.stdin.take();
        child.wait()
    });
    assert!(status.expect("the recorder runs").success(), "the recorder fails");
    let text = std::fs::read_to_string(picture).expect("the picture");
    assert!(text.contains("PASS"), "the simulation ends in PASS");
    println!("{} ({} kB)", picture.display(), text.len() / 1_000);
}
