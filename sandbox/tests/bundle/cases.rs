//! The table of the cases that were reported from outside: which test plays each of them at which gateway and in which billing mode, with a
//! reason for each blank. `docs/cases.md` is written from it: `CONNECTOR_WRITE_CASES=1 cargo test -p sandbox --test bundle cases`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::support::files::{read, root};

const DOCUMENT: &str = "docs/cases.md";

/// What has no test at a gateway or in a billing mode, and why.
const ADYEN_ONLY: &str = "only Adyen does this";
const PAYPAL_ONLY: &str = "only PayPal does this";
const NONE: &str = "";
/// The gateway or the billing mode makes no difference: it is decided before either is known.
const BEFORE_GATEWAYS: &str = "decided before a gateway is chosen; played at Adyen";
const NO_HOLD: &str = "a first purchase is charged at once, in either billing mode of its renewals";
const HOLD_ONLY: &str = "without a hold there is nothing that could be so";
const TAKEN_ONLY: &str = "only money that is taken can be lost, refunded or disputed; how it was taken makes no difference";

/// A case: its number, what it is about, where it is played, and why not elsewhere. A place is the first letter of a gateway, and `h` for a
/// payment that is held first or `c` for one that is charged at once.
struct ReportedCase(u8, &'static str, &'static [(&'static str, &'static str, &'static str)], &'static str);

const EVERYWHERE: &str = "ah ac ph pc sh sc";

const CASES: [ReportedCase; 32] = [
    ReportedCase(
        1,
        "a renewal that is not due any more after a wait",
        &[("every_gateway", "nothing_is_taken_or_kept_if_it_is_not_due_any_more_after_a_wait", EVERYWHERE)],
        NONE,
    ),
    ReportedCase(
        2,
        "a dead letter is redriven after the customer stopped",
        &[
            ("every_gateway", "nothing_is_taken_or_kept_if_it_is_not_due_any_more_after_a_wait", EVERYWHERE),
            ("flows/stale_events.rs", "a_dead_letter_redriven_after_the_renewal_charges_nothing", "ah"),
        ],
        NONE,
    ),
    ReportedCase(
        3,
        "a delayed event names replaced details",
        &[("every_gateway", "a_delayed_event_with_replaced_details_takes_nothing_and_the_period_is_paid_with_the_new_ones", EVERYWHERE)],
        NONE,
    ),
    ReportedCase(
        4,
        "the order lapses, and the price changes",
        &[("every_gateway", "an_order_that_lapsed_before_the_money_was_asked_for_is_replaced_by_one_with_the_price_of_today", EVERYWHERE)],
        NONE,
    ),
    ReportedCase(
        5,
        "a success after a refusal under one id",
        &[("money/late/successes.rs", "rule_2_case_5_a_success_after_a_refusal_is_the_periods_payment", "ah ac")],
        ADYEN_ONLY,
    ),
    ReportedCase(
        6,
        "news about a hold that was renewed",
        &[(
            "money/late/captures.rs",
            "rule_3_case_6_news_about_the_authorisation_that_was_renewed_decides_nothing_about_its_capture",
            "ph",
        )],
        PAYPAL_ONLY,
    ),
    ReportedCase(
        7,
        "a capture stays undecided",
        &[("money/late/undecided.rs", "rule_4_case_7_a_capture_that_stays_undecided_is_told_when_it_is_decided", "ph")],
        "only PayPal declares a capture undecided; Adyen acknowledges it, and Stripe decides it at once",
    ),
    ReportedCase(
        8,
        "a payment stays undecided",
        &[("money/late/undecided.rs", "rule_4_case_8_a_payment_that_stays_undecided_for_days_is_told_when_it_is_decided", EVERYWHERE)],
        NONE,
    ),
    ReportedCase(
        9,
        "a hold that was told captured expires",
        &[("money/late/losses.rs", "rule_4_case_9_a_hold_that_was_told_captured_and_expires_is_a_loss", "ah")],
        "only a receipt of Adyen's is told as captured before it is decided",
    ),
    ReportedCase(
        10,
        "a give-back fails later",
        &[("money/late/give_backs.rs", "rule_5_case_10_a_give_back_that_fails_later_is_parked_and_can_be_asked_for_again", "ac pc sc")],
        NO_HOLD,
    ),
    ReportedCase(
        11,
        "an undecided purchase whose order lapses",
        &[(
            "money/late/give_backs.rs",
            "rule_5_case_11_an_undecided_purchase_whose_order_lapses_is_cancelled_and_its_success_given_back",
            "ac",
        )],
        "PayPal's orders and Stripe's intents are cancelled by name; a first purchase is charged at once",
    ),
    ReportedCase(
        12,
        "never again means never again",
        &[
            ("every_gateway", "details_that_must_not_be_tried_again_are_told_rejected_without_a_call", EVERYWHERE),
            ("every_gateway", "attempts_before_the_time_that_the_advice_names_are_told_rejected", "ah ac sh sc"),
            ("every_gateway", "a_token_is_declined_no_more_often_than_the_limit", EVERYWHERE),
        ],
        NONE,
    ),
    ReportedCase(
        13,
        "an amount below the minimum, a request called malformed",
        &[
            ("stripe/amounts.rs", "an_amount_below_the_minimum_of_a_gateway_is_told_rejected_and_locks_nothing", "sh sc"),
            ("stripe/amounts.rs", "a_request_that_the_gateway_calls_malformed_is_parked_within_hours", "sh sc"),
            ("adyen/amounts.rs", "an_amount_that_adyen_does_not_take_is_told_rejected_and_locks_nothing", "ah ac"),
        ],
        "PayPal documents no minimum, and a refusal of its that is not listed counts as a decline",
    ),
    ReportedCase(
        14,
        "Cleeng's floats",
        &[
            ("every_gateway", "an_order_whose_amount_cannot_be_read_is_parked_and_made_once", EVERYWHERE),
            ("every_gateway", "a_parked_order_keeps_no_subscription_from_ending", EVERYWHERE),
        ],
        NONE,
    ),
    ReportedCase(
        15,
        "abandoned, and replayed",
        &[
            ("every_gateway", "what_was_abandoned_can_be_tried_again_by_the_same_event", EVERYWHERE),
            ("every_gateway", "abandon_retry_replay_and_redrive_work_in_every_order", EVERYWHERE),
        ],
        NONE,
    ),
    ReportedCase(
        16,
        "a customer removes details",
        &[("money/removed_details.rs", "what_is_held_with_removed_details_is_released_when_the_next_authorisation_comes", "ah ph sh")],
        HOLD_ONLY,
    ),
    ReportedCase(
        17,
        "a free trial whose first event is late",
        &[(
            "reconciliation/recovered_events.rs",
            "a_free_trial_bought_here_is_renewed_once_although_its_first_event_comes_an_hour_late",
            "ah ph sh",
        )],
        "the recovered event is the same for a charge at once",
    ),
    ReportedCase(
        18,
        "a failed refund is asked for again",
        &[("money/late/give_backs.rs", "rule_5_case_18_a_refund_that_failed_may_be_asked_for_again", "ac pc sc")],
        TAKEN_ONLY,
    ),
    ReportedCase(
        19,
        "a renewal that was paid late, and the next period",
        &[("flows/charged_recently.rs", "a_period_that_ends_a_cycle_later_is_paid_however_late_the_one_before_was_paid", EVERYWHERE)],
        NONE,
    ),
    ReportedCase(
        20,
        "a second loss",
        &[
            ("money/late/losses.rs", "rule_9_case_20_a_second_loss_after_a_won_one_is_heard", "ac pc sc"),
            ("money/late/losses.rs", "rule_9_a_whole_reversal_after_a_partial_one_is_heard", "pc"),
        ],
        TAKEN_ONLY,
    ),
    ReportedCase(
        21,
        "large notifications",
        &[("notifications/ingress.rs", "a_large_notification_is_taken_and_a_signed_one_that_is_too_large_rings", "ah")],
        "the limit is one for all gateways, and knows no billing mode",
    ),
    ReportedCase(
        22,
        "reports that nobody signs",
        &[("notifications/ingress.rs", "reports_and_notices_of_change_that_nobody_signs_hold_back_nothing", "ah")],
        "only Adyen sends unsigned reports; a notification knows no billing mode",
    ),
    ReportedCase(
        23,
        "kinds of news that nobody knows",
        &[("notifications/ingress.rs", "an_item_about_a_payment_of_ours_that_is_not_understood_rings", "ah")],
        "the others' kinds are tested beside their verifiers; a notification knows no billing mode",
    ),
    ReportedCase(
        24,
        "details that come later than their purchase",
        &[
            ("paypal/late_details.rs", "details_that_come_later_are_found_by_reading_the_order_though_their_notification_is_lost", "pc"),
            ("paypal/late_details.rs", "details_that_come_later_finish_the_purchase_by_the_notification_as_paypal_prints_it", "pc"),
        ],
        "Adyen and Stripe store details with the answer, or tell them by their own id; a first purchase is charged at once",
    ),
    ReportedCase(
        25,
        "details that never come",
        &[("paypal/late_details.rs", "a_subscription_whose_details_never_come_says_so_and_rings_after_half_an_hour", "pc")],
        "Adyen and Stripe store details with the payment; a first purchase is charged at once",
    ),
    ReportedCase(
        26,
        "a stale access token",
        &[("paypal/access_tokens.rs", "a_token_that_is_older_than_a_permission_is_renewed_once", "ph")],
        "only PayPal has access tokens; a call knows no billing mode",
    ),
    ReportedCase(
        27,
        "details that the gateway does not have or take",
        &[("adyen/adapter.rs", "details_that_adyen_does_not_have_or_take_need_new_ones", "ah")],
        "the codes are Adyen's; both billing modes read them in one place",
    ),
    ReportedCase(
        28,
        "an account that captures by request alone",
        &[
            ("adyen/manual_account.rs", "a_purchase_is_captured_by_request_and_reported_on_its_receipt", "ac"),
            ("adyen/manual_account.rs", "a_renewal_that_is_charged_at_once_is_captured_by_request", "ac"),
        ],
        "only Adyen's accounts decide when money is taken; a hold is captured by request anyway",
    ),
    ReportedCase(
        29,
        "an order or a period that was paid elsewhere",
        &[
            ("money/late/undecided.rs", "rule_2_case_29_a_renewal_that_cleeng_refuses_because_it_is_over_is_given_back", EVERYWHERE),
            ("every_gateway", "an_order_that_cleeng_refuses_is_given_back_and_not_paid_again", "ac pc sc"),
        ],
        NONE,
    ),
    ReportedCase(
        30,
        "payments from before this connector",
        &[(
            "money/refund_preexisting.rs",
            "case_30_a_preexisting_payment_is_refunded_in_whole_by_its_order_if_the_event_names_no_amount",
            "ah",
        )],
        BEFORE_GATEWAYS,
    ),
    ReportedCase(
        31,
        "a connection that broke while the function was frozen",
        &[("cleeng_client/sockets.rs", "a_report_after_a_freeze_reaches_cleeng_over_a_connection_of_its_own", "ah")],
        "a report to Cleeng knows neither gateway nor billing mode",
    ),
    ReportedCase(
        32,
        "something in between answers in Cleeng's place",
        &[
            ("money/answers_in_between.rs", "a_charge_is_reported_once_after_eight_hours_of_answers_from_in_between", "ac"),
            (
                "money/answers_in_between.rs",
                "an_authorisation_and_its_capture_are_reported_once_after_hours_of_answers_from_in_between",
                "ah",
            ),
        ],
        "a report to Cleeng does not depend on the gateway",
    ),
];

const PLACES: [(&str, &str); 6] = [
    ("ah", "Adyen, held"),
    ("ac", "Adyen, charged"),
    ("ph", "PayPal, held"),
    ("pc", "PayPal, charged"),
    ("sh", "Stripe, held"),
    ("sc", "Stripe, charged"),
];

impl ReportedCase {
    fn covers(&self, place: &str) -> bool {
        self.2.iter().any(|(_, _, places)| places.split(' ').any(|other| other == place))
    }
}

/// The document, as the table says it.
fn rendered() -> String {
    let mut text = String::from(
        "# Cases\n\nWhat people reported of real gateways and of Cleeng, by number, and where a test plays it: at which gateway, and for a\n\
         payment that is held first or charged at once. The table is written and checked by `sandbox/tests/bundle/cases.rs`,\n\
         which names the tests. A blank has its reason in the last column.\n\n",
    );
    let heads: Vec<&str> = PLACES.iter().map(|(_, head)| *head).collect();
    let _ = writeln!(text, "| | case | {} | tests in | blank because |", heads.join(" | "));
    let _ = writeln!(text, "|---|---|{}---|---|", "---|".repeat(PLACES.len()));
    for case in &CASES {
        let ReportedCase(number, about, tests, reason) = case;
        let cells: Vec<&str> = PLACES.iter().map(|(place, _)| if case.covers(place) { "x" } else { "" }).collect();
        let files: BTreeSet<String> = tests.iter().map(|(file, ..)| format!("`sandbox/tests/it/{file}`")).collect();
        let files = files.into_iter().collect::<Vec<_>>();
        let _ = writeln!(text, "| {number} | {about} | {} | {} | {reason} |", cells.join(" | "), files.join(", "));
    }
    text
}

#[test]
fn the_table_of_cases_is_up_to_date() {
    if std::env::var_os("CONNECTOR_WRITE_CASES").is_some() {
        std::fs::write(root().join(DOCUMENT), rendered()).unwrap();
    }
    assert_eq!(read(DOCUMENT), rendered());
}

#[test]
fn every_case_has_a_test_and_every_blank_a_reason() {
    let numbers: Vec<u8> = CASES.iter().map(|case| case.0).collect();
    assert_eq!(numbers, (1..=32).collect::<Vec<_>>());
    let known = BTreeSet::from(PLACES.map(|(place, _)| place));
    for case in &CASES {
        assert!(!case.2.is_empty(), "case {}", case.0);
        let is_whole = PLACES.iter().all(|(place, _)| case.covers(place));
        assert_eq!(is_whole, case.3.is_empty(), "case {}: a reason for each blank, and none without one", case.0);
        assert!(case.2.iter().flat_map(|(_, _, places)| places.split(' ')).all(|place| known.contains(place)), "case {}", case.0);
    }
}

/// A test that stands for several gateways goes through all of them, and one of a single gateway lies beside its adapter or names it.
#[test]
fn every_test_of_a_case_exists_and_is_played_where_the_table_says() {
    let suite = read("sandbox/tests/it/every_gateway/mod.rs");
    for ReportedCase(number, _, tests, _) in &CASES {
        for (file, name, places) in *tests {
            let gateways: BTreeSet<&str> = places.split(' ').filter_map(|place| place.get(..1)).collect();
            if *file == "every_gateway" {
                let is_rule = suite.contains(&format!(" {name},")) || suite.contains(&format!(" {name}\n"));
                assert!(is_rule, "case {number}: {name} is no rule of every gateway");
                continue;
            }
            let source = read(&format!("sandbox/tests/it/{file}"));
            assert!(source.contains(&format!("fn {name}(")), "case {number}: no {name} in {file}");
            let goes_through = ["GatewayName::ALL", "Renewal::all()"].iter().any(|all| source.contains(all));
            let own = [("adyen/", "a"), ("paypal/", "p"), ("stripe/", "s")].into_iter().find(|(folder, _)| file.starts_with(folder));
            match own {
                Some((_, letter)) => assert_eq!(gateways, BTreeSet::from([letter]), "case {number}: {name}"),
                None => assert!(gateways.len() == 1 || goes_through, "case {number}: {name} names no other gateways"),
            }
        }
    }
}
