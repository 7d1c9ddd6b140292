//! The report of stored details to Cleeng: `POST /payment_details`.

use serde_json::Value;

use super::progress::erase_sensitive_data;
use super::report;
use super::snapshot::{REPORT, Snapshot};
use crate::cleeng::{NewPaymentDetails, PaymentSource};
use crate::flow::Disposition;
use crate::ids::Id;
use crate::journal::record::Finish;
use crate::metrics::Metric;
use crate::payments::cleeng_step;
use crate::payments::obligation_context::{ObligationContext, TypedStepState};
use crate::payments::{FlowResult, retry};
use crate::reason::{ParkReason, RetryReason};

/// Reports the stored details and ends the attempt. The report moves no money, so one whose answer was lost may be repeated once.
///
/// # Errors
/// `Disposition::Retry` or `Disposition::Parked`.
pub async fn report_stored_details(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, source: PaymentSource) -> FlowResult<Disposition> {
    match ctx.step_state::<Value>(REPORT)? {
        TypedStepState::Done(_) => {}
        TypedStepState::Unknown(step) if step.repeats > 0 => return ctx.park(ParkReason::DetailsReportUnknown, false).await,
        TypedStepState::NotStarted | TypedStepState::Unknown(_) => create_details(ctx, snapshot, source).await?,
    }
    erase_sensitive_data(ctx)?;
    ctx.finish(Finish::Stored).await
}

/// What the customer's browser is shown of details: nothing of how often they may be charged. Ids are of one type.
fn shown_details(details: &Value) -> Value {
    const SHOWN: [&str; 8] =
        ["id", "customerId", "paymentMethodId", "paymentMethod", "paymentGateway", "paymentMethodSpecificParams", "active", "bound"];
    let shown = |name: &&str| {
        let value = details.get(*name)?;
        let id = (*name == "id" || name.ends_with("Id")).then(|| Id::<()>::from_json(value).ok()).flatten();
        Some(((*name).to_owned(), id.map_or_else(|| value.clone(), |id| id.to_json_number())))
    };
    SHOWN.iter().filter_map(shown).collect()
}

async fn create_details(ctx: &mut ObligationContext<'_>, snapshot: &Snapshot, source: PaymentSource) -> FlowResult<()> {
    let claimed = report::claim_token(ctx, snapshot, &source).await?;
    let known = report::known_details(snapshot, &source);
    let PaymentSource::New { token, display_params } = source else { return Err(retry(RetryReason::TokenPending)) };
    let details = NewPaymentDetails {
        customer: snapshot.customer.clone(),
        token,
        payment_method: snapshot.method.clone(),
        display_params,
        active: snapshot.active,
    };
    let call = ctx.flow_context.cleeng.create_payment_details(&details);
    match cleeng_step::run(ctx, report::REPORT_STEP, call).await? {
        Ok(created) => {
            report::record_token_details(ctx, claimed.as_ref(), Some(&created.id)).await?;
            report::record_known_details(ctx, known, Some(&created.id)).await?;
            ctx.record_result(REPORT, &shown_details(&created.public_json));
            Ok(())
        }
        Err(error) => {
            tracing::error!(obligation = %ctx.session.key(), error = %error, "Cleeng refused payment details");
            ctx.flow_context.metrics.count(Metric::Warning, &[("reason", "details_refused")]);
            ctx.park(ParkReason::CleengRefusedDetails, false).await
        }
    }
}
