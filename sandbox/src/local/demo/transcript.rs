//! What is printed: a heading per scenario and per scene, and a line per thing that happened.

use std::ffi::OsStr;
use std::io::{self, Write};

use connector::clock::Timestamp;

/// Who brings a message that was delivered before.
pub(super) const QUEUE: &str = "queue";

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

/// What the output can show besides plain text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Whether colour codes are written.
    pub color: bool,
    /// Whether a line that is overwritten shows how time passes.
    pub progress: bool,
}

impl Terminal {
    /// Plain text unless the output is a terminal; no colour if the environment has a `NO_COLOR` that is not empty (no-color.org).
    #[must_use]
    pub fn detect(is_terminal: bool, no_color: Option<&OsStr>) -> Self {
        Self { color: is_terminal && no_color.is_none_or(OsStr::is_empty), progress: is_terminal }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) who: String,
    pub(super) what: String,
    pub(super) result: String,
    /// The connector's calls that changed something, in a word each.
    pub(super) steps: Vec<String>,
    /// A row for each request, for `--verbose`.
    pub(super) details: Vec<String>,
    /// How many calls only read.
    pub(super) reads: u32,
    /// Whether it changed nothing; only `--verbose` prints it.
    pub(super) background: bool,
    /// Whether it continues later; the next line about the same `what` then continues this one.
    pub(super) waits: bool,
}

impl Line {
    pub(super) fn new(at: Timestamp, who: &str, what: impl Into<String>, result: impl Into<String>) -> Self {
        Self {
            at,
            who: who.to_owned(),
            what: what.into(),
            result: result.into(),
            steps: Vec::new(),
            details: Vec::new(),
            reads: 0,
            background: false,
            waits: false,
        }
    }

    fn says_the_same_as(&self, other: &Self) -> bool {
        (&self.who, &self.what, &self.result, &self.steps) == (&other.who, &other.what, &other.result, &other.steps)
    }
}

/// Lines that say the same, in a row: the first one.
struct Repeated {
    line: Line,
    times: u32,
}

/// The text as it is written. A scene is written when it is over.
pub(super) struct Transcript<'a> {
    out: &'a mut dyn Write,
    terminal: Terminal,
    verbose: bool,
    lines: Vec<Repeated>,
    unmet: Vec<&'static str>,
    /// How many lines changed nothing, since the scenario began.
    pub(super) background: u32,
    /// Whether every expectation of every scene was met.
    pub(super) all_met: bool,
}

impl<'a> Transcript<'a> {
    pub(super) fn new(out: &'a mut dyn Write, terminal: Terminal, verbose: bool) -> Self {
        Self { out, terminal, verbose, lines: Vec::new(), unmet: Vec::new(), background: 0, all_met: true }
    }

    /// A line as it is.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        self.clear_progress()?;
        writeln!(self.out, "{text}")
    }

    /// The title of a scenario.
    pub(super) fn begin_scenario(&mut self, title: &str) -> io::Result<()> {
        self.background = 0;
        let title = self.paint(BOLD, &format!("Scenario: {title}"));
        self.print(&format!("\n{title}"))
    }

    /// A result, good or bad.
    pub(super) fn print_result(&mut self, good: bool, text: &str) -> io::Result<()> {
        let line = if good { self.paint(GREEN, &format!("✓ {text}")) } else { self.paint(RED, &format!("✗ {text}")) };
        self.print(&line)
    }

    /// Something that must hold at the end of the scene.
    pub(super) fn expect(&mut self, holds: bool, what: &'static str) {
        if !holds {
            self.unmet.push(what);
        }
    }

    /// Adds what happened to the scene.
    pub(super) fn tell(&mut self, line: Line) {
        self.background = self.background.saturating_add(u32::from(line.background));
        if line.background && !self.verbose {
            return;
        }
        let continued = self.lines.iter_mut().rev().find(|open| open.line.waits && open.line.what == line.what);
        if let Some(Repeated { line: open, .. }) = continued.filter(|_| !line.background) {
            let cause = if line.who == QUEUE { "(later)".to_owned() } else { format!("({} confirms)", line.who) };
            open.steps.push(cause);
            open.steps.extend(line.steps);
            open.details.extend(line.details);
            (open.result, open.waits) = (line.result, line.waits);
            return;
        }
        let folds = !self.verbose || line.background;
        match self.lines.last_mut().filter(|last| folds && last.line.says_the_same_as(&line)) {
            Some(last) => {
                last.times = last.times.saturating_add(1);
                last.line.reads = last.line.reads.saturating_add(line.reads);
            }
            None => self.lines.push(Repeated { line, times: 1 }),
        }
    }

    /// Writes the scene: whether it went as expected, and its lines.
    pub(super) fn end_scene(&mut self, title: &str) -> io::Result<()> {
        let unmet = std::mem::take(&mut self.unmet);
        self.all_met &= unmet.is_empty();
        self.print_result(unmet.is_empty(), title)?;
        for expectation in unmet {
            let unmet = self.paint(RED, &format!("  NOT AS EXPECTED: {expectation}"));
            self.print(&unmet)?;
        }
        for repeated in std::mem::take(&mut self.lines) {
            self.print_line(&repeated)?;
        }
        Ok(())
    }

    fn print_line(&mut self, Repeated { line, times }: &Repeated) -> io::Result<()> {
        let result = if *times > 1 { format!("{}, {times} times", line.result) } else { line.result.clone() };
        let notes = if line.background && line.reads > 0 { format!("only reads: {}", line.reads) } else { line.steps.join(", ") };
        let notes = self.paint(DIM, &notes);
        let text = format!("  {}  {:<8} {:<28} {result:<20} {notes}", time_of(line.at), line.who, line.what);
        self.print(text.trim_end())?;
        let details = if self.verbose { line.details.as_slice() } else { &[] };
        for detail in details {
            let detail = self.paint(DIM, &format!("{:20}> {detail}", ""));
            self.print(&detail)?;
        }
        Ok(())
    }

    /// Shows how far the time is, if the output is a terminal.
    pub(super) fn show_progress(&mut self, now: Timestamp) -> io::Result<()> {
        if self.terminal.progress {
            write!(self.out, "\r  {} ...", time_of(now))?;
            self.out.flush()?;
        }
        Ok(())
    }

    fn clear_progress(&mut self) -> io::Result<()> {
        if self.terminal.progress {
            write!(self.out, "\r\x1b[K")?;
        }
        Ok(())
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.terminal.color && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Date and minute, in UTC.
fn time_of(at: Timestamp) -> String {
    at.to_rfc3339().chars().take(16).map(|char| if char == 'T' { ' ' } else { char }).collect()
}
