use super::*;
use crate::billing::head::Live;
use crate::cleeng::LatestPayment;
use crate::gateway::Reference;
use crate::journal::record::{Attempt, Finish};

const END: Timestamp = Timestamp::from_secs(1_790_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const SECOND: Duration = Duration::from_secs(1);

fn details(id: &str) -> PaymentDetailsId {
    PaymentDetailsId::new(id).unwrap()
}

fn watch() -> Watch {
    Watch {
        subscription: SubscriptionId::new("1").unwrap(),
        customer: CustomerId::new("2").unwrap(),
        offer: OfferId::new("S3").unwrap(),
        details: details("55"),
        currency: Currency::new("EUR").ok(),
        country: Some("PL".to_owned()),
        token: Some("secret".to_owned()),
        expected: None,
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
        latest_payment: LatestPayment::NotTold,
        cycle: None,
    }
}

fn held(expiration: Timestamp) -> Head {
    let reference = Reference::parse("clg-00112233-4455-8677-8899-aabbccddeeff").unwrap();
    Head { live: Some(Live { reference, details: details("77"), expiration }), ..Head::default() }
}

const fn expected(action: Expectation, at: Timestamp, exact: bool) -> Expected {
    Expected { action, at, expiration: END, exact }
}

fn tried(kind: AttemptKind, due: Timestamp, opened_at: Timestamp) -> Obligation {
    let mut obligation = Obligation::new();
    obligation.push(Attempt {
        kind,
        due,
        opened_at,
        details: None,
        reference: None,
        steps: Vec::new(),
        finish: Some(Finish::Authorised),
        waiting_event: None,
        queued_until: None,
    });
    obligation
}

#[test]
fn what_comes_next_is_what_cleeng_says_unless_the_money_is_held_or_taken_at_once() {
    use Expectation::{Authorise, Take};
    let both = Billing::AuthoriseThenCapture;
    for (told, head, billing, action) in [
        (Some("authorise"), Head::default(), both, Authorise),
        (Some("authorize"), Head::default(), both, Authorise),
        (Some("capture"), Head::default(), both, Take),
        (Some("something"), Head::default(), both, Authorise),
        (None, Head::default(), both, Authorise),
        (Some("authorise"), held(END), both, Take),
        (Some("authorise"), held(END.before(DAY)), both, Authorise),
        (Some("authorise"), Head::default(), Billing::CaptureOnly, Take),
    ] {
        let told = told.map(str::to_owned);
        let subscription = Subscription { next_payment_action: told, ..subscription(SubscriptionStatus::Active) };
        let context = format!("{:?} {:?} {billing:?}", subscription.next_payment_action, head.live);
        assert_eq!(Expected::next(&subscription, &head, billing), Some(expected(action, END, false)), "{context}");
        let at = END.before(3 * DAY);
        let dated = Subscription { next_payment_action_date: Some(at), ..subscription };
        assert_eq!(Expected::next(&dated, &head, billing), Some(expected(action, at, true)), "{context}");
    }
}

#[test]
fn a_stopped_subscription_is_to_be_terminated_and_of_one_that_ended_or_rests_nothing_comes() {
    let next = |status| Expected::next(&subscription(status), &Head::default(), Billing::AuthoriseThenCapture);
    assert_eq!(next(SubscriptionStatus::Stopped), Some(expected(Expectation::Terminate, END, false)));
    for status in [SubscriptionStatus::Terminated, SubscriptionStatus::Paused, SubscriptionStatus::Other("odd".to_owned())] {
        assert_eq!(next(status), None);
    }
}

#[test]
fn an_event_is_missing_only_as_long_as_the_subscription_and_its_period_are_those_that_it_was_expected_for() {
    use Expectation::{Authorise, Take, Terminate};
    for (action, status, stands) in [
        (Authorise, SubscriptionStatus::Active, true),
        (Take, SubscriptionStatus::Active, true),
        (Terminate, SubscriptionStatus::Active, false),
        (Authorise, SubscriptionStatus::Stopped, false),
        (Take, SubscriptionStatus::Stopped, false),
        (Terminate, SubscriptionStatus::Stopped, true),
        (Take, SubscriptionStatus::Terminated, false),
        (Terminate, SubscriptionStatus::Terminated, false),
    ] {
        let now = subscription(status);
        assert_eq!(expected(action, END, false).still_stands(&now), stands, "{action:?} {:?}", now.status);
        let paid = Subscription { paid_until: END.after(DAY), ..now };
        assert!(!expected(action, END, false).still_stands(&paid), "{action:?}: paid in another way");
    }
}

#[test]
fn an_event_was_heard_if_an_attempt_of_its_kind_is_in_the_journal() {
    use AttemptKind as A;
    let all = [A::Authorise, A::Capture, A::Charge, A::Terminate, A::Release];
    for (action, by) in [
        (Expectation::Authorise, &[A::Authorise, A::Capture, A::Charge][..]),
        (Expectation::Take, &[A::Capture, A::Charge][..]),
        (Expectation::Terminate, &[A::Terminate][..]),
    ] {
        for kind in all {
            let heard = expected(action, END, true).was_heard(&Head::default(), Some(&tried(kind, END, END)));
            assert_eq!(heard, by.contains(&kind), "{action:?} {kind:?}");
        }
        assert!(!expected(action, END, true).was_heard(&Head::default(), None), "{action:?}");
    }
}

#[test]
fn an_attempt_before_the_time_that_cleeng_named_is_an_earlier_one() {
    let (take, end) = (Expectation::Take, Expectation::Terminate);
    let heard = |expected: Expected, due, opened_at| {
        let kind = if expected.action == end { AttemptKind::Terminate } else { AttemptKind::Charge };
        expected.was_heard(&Head::default(), Some(&tried(kind, due, opened_at)))
    };
    let first = END.before(TOLERANCE);
    let before = first.before(SECOND);
    for named in [expected(take, END, true), expected(end, END, true), expected(end, END, false)] {
        assert!(!heard(named.clone(), before, before), "{named:?}");
        assert!(heard(named.clone(), first, before), "{named:?}: its own date counts");
        assert!(heard(named.clone(), before, first), "{named:?}: or when it came");
    }
    assert!(
        heard(expected(take, END, false), before.before(30 * DAY), before.before(30 * DAY)),
        "no time was named: any of the period will do"
    );
}

#[test]
fn what_is_held_for_the_period_was_authorised_and_is_not_taken() {
    for (action, expiration, heard) in [
        (Expectation::Authorise, END, true),
        (Expectation::Authorise, END.before(DAY), false),
        (Expectation::Take, END, false),
        (Expectation::Terminate, END, false),
    ] {
        assert_eq!(expected(action, END, true).was_heard(&held(expiration), None), heard, "{action:?}");
    }
}

fn made_up(expected: &Expected, watch: &Watch, head: &Head, named: Option<&str>) -> Option<Value> {
    let subscription = Subscription { payment_details: named.map(details), ..subscription(SubscriptionStatus::Active) };
    let (publisher, method) = (PublisherId::new("8").unwrap(), PaymentMethodId::new("9").unwrap());
    let text = expected.event(watch, head, &subscription, &publisher, &method)?;
    serde_json::from_str(&text).ok()
}

#[test]
fn an_event_is_made_up_with_the_details_that_count_now_and_only_with_their_own_token() {
    let (bare, take) = (Watch { token: None, ..watch() }, expected(Expectation::Take, END, true));
    for (watch, head, named, told) in [
        (watch(), Head::default(), None, Some(("55", Some("secret")))),
        (watch(), Head::default(), Some("55"), Some(("55", Some("secret")))),
        (watch(), Head::default(), Some("66"), None),
        (bare.clone(), Head::default(), None, None),
        // What is held needs no token. It was made with details of its own.
        (watch(), held(END), None, Some(("77", None))),
        (bare.clone(), held(END), Some("66"), Some(("66", None))),
        (watch(), held(END), Some("55"), Some(("55", Some("secret")))),
        (bare, held(END.before(DAY)), None, None),
        (watch(), held(END.before(DAY)), None, Some(("55", Some("secret")))),
    ] {
        for take in [&take, &Expected { action: Expectation::Authorise, ..take.clone() }] {
            let event = made_up(take, &watch, &head, named);
            let said = event.as_ref().map(|event| (event["data"]["paymentDetailsId"].to_string(), event["data"]["token"].as_str()));
            let said = said.as_ref().map(|(details, token)| (details.trim_matches('"'), *token));
            assert_eq!(said, told, "{named:?} {:?} {:?}", head.live, watch.token);
        }
        assert!(made_up(&expected(Expectation::Terminate, END, false), &watch, &head, named).is_some(), "to end it needs no details");
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
    let before = Watch { expected: Some(expected(Expectation::Take, END, true)), ..watch() };
    for (event, token) in [
        (read("55", Value::Null), Some("secret")),
        (read("55", Value::from("new")), Some("new")),
        (read("66", Value::Null), None),
        (read("66", Value::from("new")), Some("new")),
    ] {
        let after = Watch::of(&event, Some(&before));
        assert_eq!((&after.details, after.token.as_deref()), (&event.payment_details, token));
        assert_eq!((after.currency, after.country.as_deref(), after.expected), (before.currency, Some("PL"), before.expected.clone()));
        assert_eq!(Watch::of(&event, None).token, event.token.as_ref().map(|token| token.expose().to_owned()));
    }
}
