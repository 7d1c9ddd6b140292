//! One output for everything, and the log lines.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use super::Redactor;

/// Libraries whose lines below a warning are noise, or, at their most talkative, hold what must not be seen.
const QUIET: [&str; 9] = ["aws_", "lambda_runtime", "hyper", "reqwest", "rustls", "h2", "tower", "tokio", "mio"];

/// Where lines go, each as a whole and cleaned.
#[derive(Clone)]
pub struct Output {
    sink: Arc<Mutex<Box<dyn Write + Send>>>,
    redactor: Arc<Redactor>,
}

impl Output {
    /// Writes to this sink, in a function to standard output.
    #[must_use]
    pub fn new(sink: Box<dyn Write + Send>, redactor: Arc<Redactor>) -> Self {
        Self { sink: Arc::new(Mutex::new(sink)), redactor }
    }

    /// Writes one line. A failure of the output cannot be logged, so it is ignored.
    pub fn line(&self, line: &str) {
        let clean = self.redactor.redact(line);
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = sink.write_all(clean.trim_end_matches('\n').as_bytes()).and_then(|()| sink.write_all(b"\n")).and_then(|()| sink.flush());
    }
}

/// Collects one event and writes it when it is complete, so that nothing can hide across two writes.
pub struct LineWriter {
    output: Output,
    line: Vec<u8>,
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.output.line(&String::from_utf8_lossy(&self.line));
        }
    }
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { output: self.clone(), line: Vec::with_capacity(512) }
    }
}

/// JSON log lines: timestamp, level, target, a constant message, and fields beside it.
pub fn subscriber(output: Output, level: LevelFilter) -> impl Subscriber + Send + Sync {
    let quiet = level.min(LevelFilter::WARN);
    let filter = Targets::new().with_default(level).with_targets(QUIET.map(|target| (target, quiet)));
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(output)
        .with_filter(filter);
    tracing_subscriber::registry().with(layer)
}
