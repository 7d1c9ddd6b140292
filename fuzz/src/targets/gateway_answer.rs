//! A gateway's response to any call is arbitrary: no panic, nothing of a credential or of stored details in an error, and no statement
//! about money that the response does not make. The first line is the status.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connector::clock::Clock;
use connector::gateway::{
    CancelRequest, CancelTarget, CaptureRequest, DeleteDetailsRequest, FinalizeRequest, Gateway, GatewayError, GatewayName, GatewayText,
    IdempotencyKey, InquiryRequest, MerchantInitiated, OperationKind, Outcome, PurchaseRequest, Reference, RefundRequest,
    StoreDetailsRequest, StoredToken,
};
use connector::http::{Response, StatusCode};
use connector::ids::{CustomerId, ExternalPaymentId};
use connector::money::{Currency, Money};
use connector::secret::SecretString;
use sandbox::testkit::fixtures::id;
use sandbox::testkit::gateway_fixtures::{self, SimulatedGateways};
use serde_json::{Value, json};

use crate::tools::functions::{ConstantTransport, SALT};
use crate::tools::{assert_no_secret, block_on, functions, parse_message};

type GatewayResult = Result<Outcome, GatewayError>;

pub(super) fn body(input: &[u8]) {
    let message = parse_message(input);
    let status = message.first_line.parse().ok().and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::OK);
    let answer = Response { status, headers: message.headers, body: Bytes::copy_from_slice(message.body) };
    let simulators = SimulatedGateways::open(&functions::clock());
    for fixture in simulators.fixtures() {
        let adapter = gateway_fixtures::build_adapter(
            fixture.simulator.gateway_name(),
            Arc::new(ConstantTransport(answer.clone())),
            &functions::clock(),
        );
        let case = CallCase { token: fixture.simulator.add_stored_details("338816082"), gateway: fixture.simulator.gateway_name(), status };
        let is_object = serde_json::from_slice::<Value>(message.body).is_ok_and(|value| value.is_object());
        block_on(case.call_everything(adapter.as_ref(), is_object));
    }
}

struct CallCase {
    token: String,
    gateway: GatewayName,
    status: StatusCode,
}

impl CallCase {
    async fn call_everything(&self, adapter: &dyn Gateway, is_object: bool) {
        let payment = self.payment();
        let capture = CaptureRequest {
            key: self.key(OperationKind::Capture),
            reference: self.reference(),
            external_payment_id: self.external(),
            amount: payment.amount,
            authorised_at: Some(functions::clock().now().before(Duration::from_secs(86_400))),
        };
        let refund = RefundRequest {
            key: self.key(OperationKind::Refund),
            reference: self.reference(),
            external_payment_id: self.external(),
            amount: payment.amount,
            captured: payment.amount,
        };
        let (authorised, charged) = (adapter.authorise(&payment).await, adapter.charge(&payment).await);
        let (captured, refunded) = (adapter.capture(&capture).await, adapter.refund(&refund).await);
        let purchased = adapter.start_purchase(&self.purchase(999)).await;
        for (name, answered) in [("authorise", &authorised), ("charge", &charged), ("start_purchase", &purchased)] {
            self.check_decision(name, answered, is_object);
            assert!(self.status.is_success() || !is_done_or_received(answered), "{name} is done under {} at {}", self.status, self.gateway);
        }
        for (name, answered) in [("authorise", &authorised), ("charge", &charged), ("capture", &captured)] {
            let operation = match answered {
                Ok(Outcome::Done(operation) | Outcome::Received(operation)) => operation,
                _ => continue,
            };
            assert!(operation.external_payment_id.is_some(), "{name} is done, and nobody knows by which id");
        }
        self.check_decision("capture", &captured, is_object);
        self.check_decision("refund", &refunded, is_object);
        let finalize = FinalizeRequest {
            key: self.key(OperationKind::Purchase),
            reference: self.reference(),
            amount: payment.amount,
            customer: payment.customer.clone(),
            external_payment_id: Some(self.external()),
            pending_id: Some(self.external().as_str().to_owned()),
            details: json!({ "redirectResult": "X6XtfGC3!Y" }),
        };
        self.check_decision("finalize", &adapter.finalize(&finalize).await, is_object);
        let store = StoreDetailsRequest { purchase: self.purchase(0) };
        self.check_decision("store_details", &adapter.store_details(&store).await, is_object);
        let by_name = CancelTarget::Reference { reference: self.reference(), pending_id: None };
        for target in [CancelTarget::Payment(self.external()), by_name] {
            let cancel = CancelRequest { key: self.key(OperationKind::Cancel), reference: self.reference(), target };
            self.check_no_secret(&adapter.cancel(&cancel).await);
        }
        let delete =
            DeleteDetailsRequest { key: self.key(OperationKind::Delete), token: payment.token.clone(), customer: payment.customer.clone() };
        self.check_no_secret(&adapter.delete_details(&delete).await);
        for operation in
            [OperationKind::Authorise, OperationKind::Charge, OperationKind::Capture, OperationKind::Cancel, OperationKind::Refund]
        {
            for external_payment_id in [None, Some(self.external())] {
                let inquiry = InquiryRequest {
                    operation,
                    key: self.key(operation),
                    reference: self.reference(),
                    external_payment_id,
                    operation_ref: None,
                    amount: Some(payment.amount),
                };
                if let Some(answered) = adapter.inquire(&inquiry).await.transpose() {
                    self.check_decision("inquire", &answered, is_object);
                }
            }
        }
        if let Err(error) = adapter.check_access().await {
            self.check_no_secret(&Err(error));
        }
    }

    /// An answer that is no JSON object says nothing, and a server's error is no decision.
    fn check_decision(&self, name: &str, answered: &GatewayResult, is_object: bool) {
        self.check_no_secret(answered);
        let decided = is_done_or_received(answered) || matches!(answered, Ok(Outcome::Declined(_)));
        assert!(is_object || !decided, "{name} is decided by no answer at {}", self.gateway);
        assert!(!self.status.is_server_error() || !decided, "{name} is decided under {} at {}", self.status, self.gateway);
    }

    fn check_no_secret(&self, answered: &GatewayResult) {
        let said = match answered {
            Err(error) => format!("{error} {error:?}"),
            Ok(Outcome::Unknown(cause)) => format!("{cause} {cause:?}"),
            Ok(Outcome::Declined(decline)) => format!("{decline} {decline:?}"),
            Ok(_) => return,
        };
        let kept = gateway_fixtures::gateway_secrets();
        let kept = kept.as_object().into_iter().flat_map(|gateways| gateways.values());
        let lists = kept.filter_map(Value::as_object).flat_map(|names| names.values()).filter_map(Value::as_array);
        let mut secrets: Vec<&str> = lists.flatten().filter_map(Value::as_str).collect();
        secrets.extend([self.token.as_str(), "A21AA-fuzz-access-token", SALT]);
        assert_no_secret(&said, &secrets);
    }

    fn key(&self, operation: OperationKind) -> IdempotencyKey {
        IdempotencyKey::derive(&SecretString::new(SALT), GatewayText(self.gateway.as_str()), operation, "332332332#1790000000", "1")
    }

    fn reference(&self) -> Reference {
        Reference::from_key(&self.key(OperationKind::Authorise))
    }

    fn external(&self) -> ExternalPaymentId {
        id(gateway_fixtures::account_of(self.gateway).example_payment_id)
    }

    fn payment(&self) -> MerchantInitiated {
        MerchantInitiated {
            key: self.key(OperationKind::Authorise),
            reference: self.reference(),
            amount: money(999),
            token: StoredToken(SecretString::new(self.token.as_str())),
            customer: id::<connector::ids::kind::Customer>("338816082"),
        }
    }

    fn purchase(&self, minor: i64) -> PurchaseRequest {
        PurchaseRequest {
            key: self.key(OperationKind::Purchase),
            reference: self.reference(),
            amount: money(minor),
            customer: CustomerId::new("338816082").expect("an id"),
            payment_data: json!({ "paymentMethod": { "type": "scheme", "id": "pm_1Fuzz0123456789abcdefgh" } }),
            store: true,
            return_url: "https://shop.example.com/back".to_owned(),
            cancel_url: None,
            origin: Some("https://shop.example.com".to_owned()),
            customer_ip: None,
            customer_email: None,
        }
    }
}

fn is_done_or_received(answered: &GatewayResult) -> bool {
    matches!(answered, Ok(Outcome::Done(_) | Outcome::Received(_)))
}

fn money(minor: i64) -> Money {
    Money::new(minor, Currency::new("USD").expect("dollars"))
}
