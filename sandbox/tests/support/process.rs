//! Processes of a test: started with a log, awaited without fixed sleeps, and killed when the test ends.

use std::fs::File;
use std::future::Future;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take to come about.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(60);

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A number that no other part of this run has.
pub(crate) fn unique() -> String {
    format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running process. Dropping it kills it.
pub(crate) struct ChildProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl ChildProcess {
    /// Starts a command with its output in a file.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.log", unique()));
        let file = File::create(&log).unwrap();
        let command = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, log }
    }

    /// The name that it was started under.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, with no warning.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it has ended.
    pub(crate) fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// What it wrote so far.
    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Fails the test if it has ended.
    pub(crate) fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} ended with {status}:\n{}", self.name, self.output());
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- output of {}:\n{}", self.name, self.output());
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Kills a process of the test's own, with no warning.
pub(crate) fn kill(process: u32) {
    let status = Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap();
    assert!(status.success(), "process {process} is not killed");
}

/// Kills what a process of the test's own has started, with no warning.
pub(crate) fn kill_children(parent: u32) {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_child = |process: &u32| {
        // Behind the name in brackets: the state, and the parent's id (proc(5), "/proc/pid/stat").
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let parent_of = |text: &str| text.split_whitespace().nth(1)?.parse::<u32>().ok();
        stat.rsplit_once(')').and_then(|(_, rest)| parent_of(rest)) == Some(parent)
    };
    let children: Vec<u32> = processes.filter(is_child).collect();
    assert!(!children.is_empty(), "process {parent} has no children");
    children.into_iter().for_each(kill);
}

/// Asks again and again until there is an answer, at most [`MAX_WAIT`].
pub(crate) async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + MAX_WAIT;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until somebody listens on this port.
pub(crate) async fn wait_for_port(port: u16, running: &mut ChildProcess) {
    wait_for(&format!("{} to listen on {port}", running.name.clone()), || {
        running.assert_alive();
        async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok() }
    })
    .await;
}
