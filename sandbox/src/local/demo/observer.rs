//! What the functions did since the last look: their calls over HTTP, and what they counted.

use connector::http::Method;
use connector::metrics::Metric;

use crate::local::LocalWorld;
use crate::simulators::network::{NetworkCall, SimulatedServer};

/// What the functions did.
pub(super) struct Observation {
    /// The calls that changed something, in a word each: those to Cleeng by their route, those to a gateway by the operation that the
    /// connector measured.
    pub(super) steps: Vec<String>,
    /// A row for each call.
    pub(super) details: Vec<String>,
    /// How many calls only read.
    pub(super) reads: u32,
    /// Whether a call changed something.
    pub(super) writes: bool,
    /// How the last delivery ended, in words.
    pub(super) result: String,
    /// Whether the last delivery will be repeated.
    pub(super) deferred: bool,
    /// Whether an operator has to decide.
    pub(super) parked: bool,
}

/// Looks at what the functions do.
pub(super) struct Observer<'a> {
    world: &'a LocalWorld,
    /// How many calls were seen.
    pub(super) calls: usize,
    metrics: usize,
}

impl<'a> Observer<'a> {
    pub(super) const fn new(world: &'a LocalWorld) -> Self {
        Self { world, calls: 0, metrics: 0 }
    }

    /// Everything since the last time.
    pub(super) fn observe(&mut self) -> Observation {
        let calls = self.world.network.calls_since(self.calls);
        let metrics = self.world.functions.metrics.recorded_since(self.metrics);
        self.calls = self.calls.saturating_add(calls.len());
        self.metrics = self.metrics.saturating_add(metrics.len());
        let dimensions_of =
            |wanted: Metric| metrics.iter().filter(move |(metric, ..)| *metric == wanted).map(|(.., dimensions)| dimensions);
        let operations = dimensions_of(Metric::GatewayLatency).filter_map(|dimensions| dimensions.get("operation").cloned());
        let reason =
            |metric| dimensions_of(metric).next_back().and_then(|dimensions| dimensions.values().next()).map(|code| code.replace('_', " "));
        let (parked, deferred) = (reason(Metric::Parked), reason(Metric::Deferred));
        let writes = calls.iter().filter(|call| is_write(call)).count();
        Observation {
            steps: steps(&calls, operations, self.world.cleeng.name()),
            details: rows(&calls),
            reads: u32::try_from(calls.len().saturating_sub(writes)).unwrap_or(u32::MAX),
            writes: writes > 0,
            deferred: deferred.is_some(),
            parked: parked.is_some(),
            result: parked
                .map(|reason| format!("parked: {reason}"))
                .or_else(|| deferred.map(|reason| format!("waits: {reason}")))
                .or_else(|| reason(Metric::Settled))
                .unwrap_or_default(),
        }
    }
}

/// The calls in a word each. Calls to a gateway in a row belong to one operation; what asks a gateway and what deletes details is not measured.
fn steps(calls: &[NetworkCall], mut operations: impl Iterator<Item = String>, cleeng: &str) -> Vec<String> {
    let mut steps = Vec::new();
    for group in calls.chunk_by(|one, next| one.server == next.server) {
        let server = group.first().map_or(cleeng, |call| call.server);
        if server == cleeng {
            steps.extend(group.iter().filter(|call| is_write(call)).map(|call| cleeng_step(call).to_owned()));
        } else {
            let unmeasured = || format!("{} {server}", if group.iter().any(is_write) { "delete at" } else { "ask" });
            steps.push(operations.next().unwrap_or_else(unmeasured));
        }
    }
    steps.extend(operations);
    steps
}

fn cleeng_step(call: &NetworkCall) -> &'static str {
    let path = call.path.trim_start_matches("/3.1/");
    match path.split('/').next() {
        Some("orders") => "order",
        Some("payment_details") if call.method == Method::DELETE => "delete",
        Some("payments" | "payment_details") => "report",
        Some("subscriptions") => "terminate",
        _ => "write",
    }
}

/// Whether a call changes something. Signing in (OAuth 2.0, RFC 6749) does not, and neither does Cleeng's list, whatever its method.
fn is_write(call: &NetworkCall) -> bool {
    call.method != Method::GET && !call.path.contains("/oauth2/") && !call.path.ends_with("/authorised_payments")
}

/// A row for each call; the same ones after each other share one.
fn rows(calls: &[NetworkCall]) -> Vec<String> {
    let rows: Vec<String> = calls.iter().map(row).collect();
    let folded = rows.chunk_by(|one, next| one == next).filter_map(|same| match same {
        [] => None,
        [row] => Some(row.clone()),
        [row, ..] => Some(format!("{row}, {} times", same.len())),
    });
    folded.collect()
}

fn row(NetworkCall { server, method, path, status, .. }: &NetworkCall) -> String {
    let (method, status) = (method.as_str(), status.map_or_else(|| "no answer".to_owned(), |status| status.to_string()));
    format!("{server:<8} {method:<5} {path:<58} {status}")
}
