//! The Lambda Runtime API, in two emulations: `cargo lambda watch --only-lambda-apis`, which binaries attach to and which speaks HTTP like an
//! HTTP API; and the Runtime Interface Emulator, which stops a function at its timeout as Lambda does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use connector::http::{ReqwestTransport, Response};
use serde_json::Value;

use super::aws::{http, send};
use super::files::root;
use super::process::{ChildProcess, free_port, wait_for, wait_for_port};

fn command(program: &Path, environment: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    // Nothing of the machine leaks in but what a process needs to find its libraries and certificates.
    for name in ["PATH", "HOME", "SSL_CERT_FILE", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// `cargo lambda watch` and the functions attached to it.
pub(crate) struct EmulatedRuntime {
    base: String,
    http: ReqwestTransport,
    // Dropped in this order: functions first, so that they do not complain about a runtime that is gone.
    functions: Vec<ChildProcess>,
    /// What those wrote that were killed.
    output_of_killed: String,
    _watch: ChildProcess,
}

impl EmulatedRuntime {
    /// Starts the Runtime API.
    pub(crate) async fn start() -> Self {
        let port = free_port();
        let arguments = ["lambda", "watch", "--only-lambda-apis", "-A", "127.0.0.1", "-P", &port.to_string()].map(str::to_owned);
        let mut watch = ChildProcess::start("watch", Command::new("cargo-lambda").args(arguments).current_dir(root()));
        wait_for_port(port, &mut watch).await;
        Self {
            base: format!("http://127.0.0.1:{port}"),
            http: http(),
            functions: Vec::new(),
            output_of_killed: String::new(),
            _watch: watch,
        }
    }

    /// Attaches a binary as a function, whose name must be that of a binary of the workspace.
    pub(crate) fn attach(&mut self, name: &str, binary: &Path, environment: &[(&'static str, String)]) {
        let mut command = command(binary, environment);
        command.env("AWS_LAMBDA_RUNTIME_API", format!("{}/.rt/{name}", self.base));
        for (key, value) in [("NAME", name), ("VERSION", "1"), ("MEMORY_SIZE", "128")] {
            command.env(format!("AWS_LAMBDA_FUNCTION_{key}"), value);
        }
        self.functions.push(ChildProcess::start(name, &mut command));
    }

    /// Kills a function, with no warning.
    pub(crate) fn kill(&mut self, name: &str) {
        let index = self.functions.iter().position(|function| function.name() == name);
        let mut killed = self.functions.remove(index.unwrap_or_else(|| panic!("{name} is not attached")));
        killed.stop();
        self.output_of_killed.push_str(&killed.output());
    }

    /// The process of a function.
    pub(crate) fn process(&self, name: &str) -> u32 {
        let function = self.functions.iter().find(|function| function.name() == name);
        function.unwrap_or_else(|| panic!("{name} is not attached")).id()
    }

    /// Sends an HTTP request through the HTTP API's emulation.
    pub(crate) async fn post(&mut self, name: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let url = format!("{}/lambda-url/{name}{path}", self.base);
        while_alive(&mut self.functions, send(&self.http, &url, headers, body)).await
    }

    /// Invokes a function with an event; its answer.
    pub(crate) async fn invoke(&mut self, name: &str, event: &Value) -> Value {
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.base);
        let (headers, body) = ([("content-type", "application/json")], event.to_string());
        let answer = while_alive(&mut self.functions, send(&self.http, &url, &headers, &body)).await;
        answer.json().unwrap_or(Value::Null)
    }

    /// Sends an HTTP request that a function does not survive.
    pub(crate) async fn post_until_killed(&mut self, name: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        let url = format!("{}/lambda-url/{name}{path}", self.base);
        let function = self.functions.iter_mut().find(|function| function.name() == name).unwrap();
        let crash = wait_for("the function to crash", || std::future::ready(function.has_exited().then_some(())));
        let call = async {
            let _ = send(&self.http, &url, headers, body).await;
            // No process is left to answer; a response of the emulator in its place would come too early.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = crash => {}
            () = call => {}
        }
        self.kill(name);
    }

    /// What all functions wrote, also those that were killed.
    pub(crate) fn output(&self) -> String {
        std::iter::once(self.output_of_killed.clone()).chain(self.functions.iter().map(ChildProcess::output)).collect()
    }
}

/// Waits for an answer, and not in vain: a function that ends meanwhile fails the test at once.
async fn while_alive<T>(functions: &mut [ChildProcess], work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(Duration::from_millis(50)) => functions.iter_mut().for_each(ChildProcess::assert_alive),
        }
    }
}

/// A function under the Runtime Interface Emulator. One invocation at a time: it cannot do more.
pub(crate) struct EmulatedFunction {
    url: String,
    http: ReqwestTransport,
    running: ChildProcess,
}

impl EmulatedFunction {
    /// Starts a function that is stopped after this many seconds.
    pub(crate) async fn start(name: &str, binary: &Path, environment: &[(&'static str, String)], timeout_secs: u32) -> Self {
        let (port, runtime_port) = (free_port(), free_port());
        let mut command = command(&emulator(), environment);
        command.env("AWS_LAMBDA_FUNCTION_NAME", name).env("AWS_LAMBDA_FUNCTION_TIMEOUT", timeout_secs.to_string());
        command.args(["--runtime-interface-emulator-address", &format!("127.0.0.1:{port}")]);
        command.args(["--runtime-api-address", &format!("127.0.0.1:{runtime_port}")]).arg(binary);
        let mut running = ChildProcess::start(&format!("emulated-{name}"), &mut command);
        wait_for_port(port, &mut running).await;
        Self { url: format!("http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"), http: http(), running }
    }

    /// The emulator's process, whose child is the function.
    pub(crate) fn process(&self) -> u32 {
        self.running.id()
    }

    /// What it and the function wrote.
    pub(crate) fn output(&self) -> String {
        self.running.output()
    }

    /// Invokes the function; the text that comes back, which for a timeout is no JSON.
    pub(crate) async fn invoke(&mut self, event: &Value) -> String {
        self.running.assert_alive();
        let answer = send(&self.http, &self.url, &[("content-type", "application/json")], &event.to_string()).await;
        String::from_utf8_lossy(&answer.body).into_owned()
    }
}

/// The emulator that SAM CLI brings along.
fn emulator() -> PathBuf {
    let script = "import samcli.local, pathlib; print(pathlib.Path(samcli.local.__file__).parent / 'rapid')";
    let found = Command::new("python3").args(["-c", script]).output().unwrap();
    assert!(found.status.success(), "SAM CLI is not installed: run ./test");
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim()).join(format!("aws-lambda-rie-{architecture}"))
}
