//! A second process that does something dangerous: the test's own program, started again.
//!
//! The test that is the child's work returns at once unless the environment says that it is the child. What the child
//! has to say goes to its standard output, a line each, behind a mark that nothing else has.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FOLDER: &str = "PREPAID_CHILD_FOLDER";
const PLAN: &str = "PREPAID_CHILD_PLAN";
const MARK: &str = "|> ";

/// In the child: the folder to work in, and what it was told to do there.
pub fn task() -> Option<(PathBuf, String)> {
    Some((std::env::var_os(FOLDER)?.into(), std::env::var(PLAN).unwrap()))
}

/// In the child: tells the parent, in one write that is done when this returns.
pub fn tell(what: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone, or have killed us half way: then nobody listens.
    let _ = out.write_all(format!("{MARK}{what}\n").as_bytes()).and_then(|()| out.flush());
}

/// What a child told with a line of its output, if it told something with it.
pub fn told(line: &str) -> Option<&str> {
    // The first line comes behind the name of the test that runs.
    line.split_once(MARK).map(|(_, what)| what)
}

/// The child that runs the test called `work`, under the tracer if `tracer` names its arguments.
///
/// # Panics
/// When the child cannot be started at all.
pub fn command(work: &str, folder: &Path, plan: &str, tracer: Option<&[&str]>) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match tracer {
        Some(arguments) => {
            let mut strace = Command::new("strace");
            strace.args(arguments).arg(program);
            strace
        }
        None => Command::new(program),
    };
    command.args([work, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(FOLDER, folder).env(PLAN, plan).env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Says how to get what is needed where it is missing.
///
/// # Panics
/// When strace cannot be run.
pub fn needs_strace() {
    let found = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "strace cannot be run; it records and fails what a process writes: install it with `apt-get install strace` \
         (in a container it needs the capability SYS_PTRACE)"
    );
}

/// A folder for files that need not survive anything: in memory where there is such a place.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}
