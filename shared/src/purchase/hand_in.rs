//! What the customer brought back goes to the gateway, where something waits for it.

use serde_json::Value;

use super::ask;
use super::facts::{Round, Snapshot};
use super::position::{Position, keep_snapshot, position, snapshot};
use super::settle::{close, go_on};
use crate::billing::case::Case;
use crate::billing::{Story, later};
use crate::flow::Verdict;
use crate::journal::record::Finish;

/// Hands in what the customer brought back, for the open attempt. The same again gets the same answer. `no_longer` may say by a word why what
/// still waits is not handed in any more; the attempt ends then.
///
/// # Errors
/// Later or parked.
pub async fn hand_in(
    case: &mut Case<'_>,
    back: &Value,
    no_longer: impl Fn(&Case<'_>, &Snapshot) -> Option<&'static str> + Send,
) -> Story<Verdict> {
    let mut kept = snapshot(case)?;
    let print = ask::fingerprint_of(case, back);
    let answered = match position(case)? {
        Position::NotStarted => return Ok(Verdict::Settled("nothing_waits")),
        Position::StartUnknown => return Err(later("start_unknown")),
        Position::Pending => return Err(later("payment_pending")),
        Position::Decided(answered) => answered,
        Position::RoundUnknown(round) => ask::finish(case, &kept, round).await?,
        Position::Waiting { round, .. } => {
            let answered_already = round.checked_sub(1).and_then(|last| kept.rounds.get(last));
            if answered_already.is_some_and(|last| last.fingerprint == print) {
                return Ok(Verdict::Settled("action"));
            }
            if let Some(word) = no_longer(case, &kept) {
                let finish = if word == "order_changed" { Finish::Superseded } else { Finish::Stale { reason: word.to_owned() } };
                close(case, finish)?;
                case.pause().await?;
                return Ok(Verdict::Settled(word));
            }
            kept.rounds.truncate(round);
            kept.rounds.push(Round { fingerprint: print, details: back.clone() });
            keep_snapshot(case, &kept);
            ask::finish(case, &kept, round).await?
        }
    };
    go_on(case, &kept, answered).await
}
