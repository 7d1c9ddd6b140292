//! ExampleGateway as one of the [`SimulatedGateway`]s.

use connector::clock::Timestamp;
use connector::gateway::{DeclineClass, GatewayName, OperationKind};
use connector::http::Method;
use connector::ids::ExternalPaymentId;
use serde_json::{Value, json};

use crate::simulators::example_gateway::ExampleGatewaySimulator;
use crate::simulators::simulated_gateway::{EnteredDetails, LedgerEntry, NotificationRequest, SimulatedGateway};

impl SimulatedGateway for ExampleGatewaySimulator {
    fn gateway_name(&self) -> GatewayName {
        GatewayName::ExampleGateway
    }

    fn add_stored_details(&self, customer: &str) -> String {
        self.store_details(customer)
    }

    fn has_stored_details(&self, token: &str) -> bool {
        self.lock().details.contains_key(token)
    }

    /// TODO: the test value of the class.
    fn decline_next(&self, _token: &str, _class: DeclineClass) -> bool {
        false
    }

    /// TODO: what the front-end component sends.
    fn payment_data(&self, entry: EnteredDetails, number: u32) -> Value {
        json!({ "paymentMethod": { "type": "token", "token": format!("tok_{entry:?}_{number}") } })
    }

    /// TODO: the customer completes the action.
    fn complete_action(&self, _action: &Value) -> Value {
        Value::Null
    }

    /// TODO: what is only acknowledged is done now.
    fn process(&self) {}

    fn take_notifications(&self) -> Vec<NotificationRequest> {
        let events = std::mem::take(&mut self.lock().notifications);
        events.iter().map(|event| self.notification(event)).collect()
    }

    fn ledger(&self) -> Vec<LedgerEntry> {
        self.lock().ledger.clone()
    }

    /// TODO: true, if the gateway declares payments undecided (pending, processing).
    fn leave_next_undecided(&self, _token: &str, _operation: OperationKind, _until: Timestamp, _approves: bool) -> bool {
        false
    }

    /// TODO: true, if a refused payment can succeed under the same id.
    fn approve_after_refusal(&self, _payment: &ExternalPaymentId) -> bool {
        false
    }

    /// TODO: true, if refunds are acknowledged first.
    fn fail_next_refund(&self) -> bool {
        false
    }

    /// TODO: the status and the event of a chargeback that was won.
    fn return_charge_back(&self, _payment: &ExternalPaymentId) {}

    /// TODO: the status and the event of a chargeback.
    fn charge_back(&self, _payment: &ExternalPaymentId) {}

    /// TODO: the status and the event of an authorisation that lapses.
    fn expire(&self, _payment: &ExternalPaymentId) {}

    fn sign_notifications_with(&self, key: &str) {
        self.lock().config.webhook_secret = key.to_owned();
    }

    /// TODO: the calls with which the adapter releases an authorisation.
    fn is_release(&self, method: &Method, path: &str) -> bool {
        *method == Method::POST && path.ends_with("/voids")
    }

    /// TODO: true, if captures and refunds are only acknowledged.
    fn fail_next_operation(&self) -> bool {
        false
    }

    /// TODO: true, if a declined capture leaves the authorisation.
    fn decline_next_capture(&self) -> bool {
        false
    }
}
