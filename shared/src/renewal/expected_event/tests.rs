use crate::cleeng::LatestPayment;
use crate::gateway::Reference;
use crate::ids::PaymentDetailsId;
use crate::ids::{CustomerId, OfferId, SubscriptionId};
use crate::journal::record::{Attempt, Finish};
use crate::money::Currency;
use crate::payments::subscription_state::LiveAuthorisation;
use crate::renewal::expected_event::*;

const END: Timestamp = Timestamp::from_secs(1_790_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

fn details(id: &str) -> PaymentDetailsId {
    PaymentDetailsId::new(id).unwrap()
}

fn last_event() -> LastBillingEvent {
    LastBillingEvent {
        subscription: SubscriptionId::new("1").unwrap(),
        customer: CustomerId::new("2").unwrap(),
        offer: OfferId::new("S3").unwrap(),
        details: details("55"),
        currency: Currency::new("EUR").ok(),
        country: Some("PL".to_owned()),
        token: Some("secret".to_owned()),
        expected_event: None,
    }
}

fn subscription(status: SubscriptionStatus) -> Subscription {
    Subscription {
        id: SubscriptionId::new("1").unwrap(),
        status,
        paid_until: END,
        customer: None,
        offer: None,
        payment_details: None,
        payment_method: None,
        next_payment_action: None,
        country: None,
        next_payment_action_date: None,
        switch_pending: false,
        latest_payment: LatestPayment::NotReported,
        cycle: None,
    }
}

fn authorised_until(expiration: Timestamp) -> SubscriptionState {
    let reference = Reference::parse("clg-00112233-4455-8677-8899-aabbccddeeff").unwrap();
    SubscriptionState {
        live_authorisation: Some(LiveAuthorisation { reference, details: details("77"), expiration }),
        ..SubscriptionState::default()
    }
}

const fn expected_event(action: BillingAction, at: Timestamp, exact: bool) -> ExpectedEvent {
    ExpectedEvent { action, at, expiration: END, exact }
}

fn obligation_with_attempt(kind: AttemptKind, due: Timestamp, opened_at: Timestamp) -> Obligation {
    let mut obligation = Obligation::new();
    obligation.push(Attempt { finish: Some(Finish::Authorised), ..Attempt::opened(kind, due, opened_at) });
    obligation
}

#[test]
fn the_next_event_is_what_cleeng_says_unless_the_money_is_authorised_or_charged_at_once() {
    use BillingAction::{Authorise, Capture};
    let both = BillingMode::AuthoriseThenCapture;
    for (next_action, head, billing, action) in [
        (Some("authorise"), SubscriptionState::default(), both, Authorise),
        (Some("authorize"), SubscriptionState::default(), both, Authorise),
        (Some("capture"), SubscriptionState::default(), both, Capture),
        (Some("something"), SubscriptionState::default(), both, Authorise),
        (None, SubscriptionState::default(), both, Authorise),
        (Some("authorise"), authorised_until(END), both, Capture),
        (Some("authorise"), authorised_until(END.before(DAY)), both, Authorise),
        (Some("authorise"), SubscriptionState::default(), BillingMode::CaptureOnly, Capture),
    ] {
        let next_action_name = next_action.map(str::to_owned);
        let subscription = Subscription { next_payment_action: next_action_name, ..subscription(SubscriptionStatus::Active) };
        let context = format!("{:?} {:?} {billing:?}", subscription.next_payment_action, head.live_authorisation);
        assert_eq!(ExpectedEvent::next(&subscription, &head, billing), Some(expected_event(action, END, false)), "{context}");
        let at = END.before(3 * DAY);
        let dated = Subscription { next_payment_action_date: Some(at), ..subscription };
        assert_eq!(ExpectedEvent::next(&dated, &head, billing), Some(expected_event(action, at, true)), "{context}");
    }
}

#[test]
fn a_stopped_subscription_expects_its_termination_and_one_that_ended_or_is_paused_expects_nothing() {
    let next = |status| ExpectedEvent::next(&subscription(status), &SubscriptionState::default(), BillingMode::AuthoriseThenCapture);
    assert_eq!(next(SubscriptionStatus::Stopped), Some(expected_event(BillingAction::Terminate, END, false)));
    for status in [SubscriptionStatus::Terminated, SubscriptionStatus::Paused, SubscriptionStatus::Other("odd".to_owned())] {
        assert_eq!(next(status), None);
    }
}

#[test]
fn an_event_is_missing_only_as_long_as_the_subscription_and_its_period_are_those_that_it_was_expected_for() {
    use BillingAction::{Authorise, Capture, Terminate};
    for (action, status, stands) in [
        (Authorise, SubscriptionStatus::Active, true),
        (Capture, SubscriptionStatus::Active, true),
        (Terminate, SubscriptionStatus::Active, false),
        (Authorise, SubscriptionStatus::Stopped, false),
        (Capture, SubscriptionStatus::Stopped, false),
        (Terminate, SubscriptionStatus::Stopped, true),
        (Capture, SubscriptionStatus::Terminated, false),
        (Terminate, SubscriptionStatus::Terminated, false),
    ] {
        let now = subscription(status);
        assert_eq!(expected_event(action, END, false).is_still_expected(&now), stands, "{action:?} {:?}", now.status);
        let paid = Subscription { paid_until: END.after(DAY), ..now };
        assert!(!expected_event(action, END, false).is_still_expected(&paid), "{action:?}: paid in another way");
    }
}

#[test]
fn an_event_was_received_if_an_attempt_of_its_kind_is_in_the_journal() {
    use AttemptKind as A;
    let all = [A::Authorise, A::Capture, A::Charge, A::Terminate, A::Release];
    for (action, by) in [
        (BillingAction::Authorise, &[A::Authorise, A::Capture, A::Charge][..]),
        (BillingAction::Capture, &[A::Capture, A::Charge][..]),
        (BillingAction::Terminate, &[A::Terminate][..]),
    ] {
        for kind in all {
            let heard = expected_event(action, END, true)
                .was_received(&SubscriptionState::default(), Some(&obligation_with_attempt(kind, END, END)));
            assert_eq!(heard, by.contains(&kind), "{action:?} {kind:?}");
        }
        assert!(!expected_event(action, END, true).was_received(&SubscriptionState::default(), None), "{action:?}");
    }
}

#[test]
fn an_attempt_before_the_time_that_cleeng_named_is_an_earlier_one() {
    let (take, end) = (BillingAction::Capture, BillingAction::Terminate);
    let heard = |expected: ExpectedEvent, due, opened_at| {
        let kind = if expected.action == end { AttemptKind::Terminate } else { AttemptKind::Charge };
        expected.was_received(&SubscriptionState::default(), Some(&obligation_with_attempt(kind, due, opened_at)))
    };
    let first = END.before(DATE_TOLERANCE);
    let before = first.before(SECOND);
    for named in [expected_event(take, END, true), expected_event(end, END, true), expected_event(end, END, false)] {
        assert!(!heard(named.clone(), before, before), "{named:?}");
        assert!(heard(named.clone(), first, before), "{named:?}: its own date counts");
        assert!(heard(named.clone(), before, first), "{named:?}: or when it came");
    }
    assert!(
        heard(expected_event(take, END, false), before.before(30 * DAY), before.before(30 * DAY)),
        "no time was named: any of the period will do"
    );
}

#[test]
fn what_is_authorised_for_the_period_is_not_captured() {
    for (action, expiration, heard) in [
        (BillingAction::Authorise, END, true),
        (BillingAction::Authorise, END.before(DAY), false),
        (BillingAction::Capture, END, false),
        (BillingAction::Terminate, END, false),
    ] {
        assert_eq!(expected_event(action, END, true).was_received(&authorised_until(expiration), None), heard, "{action:?}");
    }
}

fn rebuilt_webhook(expected: &ExpectedEvent, watch: &LastBillingEvent, head: &SubscriptionState, named: Option<&str>) -> Option<Value> {
    let subscription = Subscription { payment_details: named.map(details), ..subscription(SubscriptionStatus::Active) };
    let (publisher, method) = (PublisherId::new("8").unwrap(), PaymentMethodId::new("9").unwrap());
    let text = expected.to_webhook(watch, head, &subscription, &publisher, &method)?;
    serde_json::from_str(&text).ok()
}

#[test]
fn a_missed_event_is_rebuilt_with_the_current_details_and_only_with_their_own_token() {
    let (bare, take) = (LastBillingEvent { token: None, ..last_event() }, expected_event(BillingAction::Capture, END, true));
    for (watch, head, named, told) in [
        (last_event(), SubscriptionState::default(), None, Some(("55", Some("secret")))),
        (last_event(), SubscriptionState::default(), Some("55"), Some(("55", Some("secret")))),
        (last_event(), SubscriptionState::default(), Some("66"), None),
        (bare.clone(), SubscriptionState::default(), None, None),
        // An authorisation needs no token. It was made with details of its own.
        (last_event(), authorised_until(END), None, Some(("77", None))),
        (bare.clone(), authorised_until(END), Some("66"), Some(("66", None))),
        (last_event(), authorised_until(END), Some("55"), Some(("55", Some("secret")))),
        (bare, authorised_until(END.before(DAY)), None, None),
        (last_event(), authorised_until(END.before(DAY)), None, Some(("55", Some("secret")))),
    ] {
        for take in [&take, &ExpectedEvent { action: BillingAction::Authorise, ..take.clone() }] {
            let event = rebuilt_webhook(take, &watch, &head, named);
            let details_and_token =
                event.as_ref().map(|event| (event["data"]["paymentDetailsId"].to_string(), event["data"]["token"].as_str()));
            let said = details_and_token.as_ref().map(|(details, token)| (details.trim_matches('"'), *token));
            assert_eq!(said, told, "{named:?} {:?} {:?}", head.live_authorisation, watch.token);
        }
        assert!(
            rebuilt_webhook(&expected_event(BillingAction::Terminate, END, false), &watch, &head, named).is_some(),
            "to end it needs no details"
        );
    }
}

#[test]
fn a_token_is_remembered_for_the_details_that_it_belongs_to() {
    let mut data = json!({
        "subscriptionId": "1", "offerId": "S3", "customerId": "2", "paymentDetailsId": "55",
        "dunningAttemptDate": END.to_rfc3339(), "expirationDate": END.to_rfc3339(),
    });
    let mut read = |details: &str, token: Value| {
        (data["paymentDetailsId"], data["token"]) = (Value::from(details), token);
        let body = json!({ "topic": Topic::SubscriptionReadyForPaymentCapture.as_str(), "broadcasterId": "8", "data": data });
        BillingEvent::read(&crate::cleeng::webhook::Webhook::parse(body.to_string().as_bytes()).unwrap()).unwrap()
    };
    let before = LastBillingEvent { expected_event: Some(expected_event(BillingAction::Capture, END, true)), ..last_event() };
    for (event, token) in [
        (read("55", Value::Null), Some("secret")),
        (read("55", Value::from("new")), Some("new")),
        (read("66", Value::Null), None),
        (read("66", Value::from("new")), Some("new")),
    ] {
        let after = LastBillingEvent::from_event(&event, Some(&before));
        assert_eq!((&after.details, after.token.as_deref()), (&event.payment_details, token));
        assert_eq!(
            (after.currency, after.country.as_deref(), after.expected_event),
            (before.currency, Some("PL"), before.expected_event.clone())
        );
        assert_eq!(LastBillingEvent::from_event(&event, None).token, event.token.as_ref().map(|token| token.expose().to_owned()));
    }
}
