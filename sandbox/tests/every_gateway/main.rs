//! The connector's whole checklist on every gateway: one suite of rules, each a test of its own for each gateway, with the effects checked at
//! both sides. Workers die before and after every call, and twice in a row; every write goes wrong in every way; deliveries meet.
//!
//! A gateway joins by one line at the end of this file. What only one gateway has is tested beside its own adapter.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

#[path = "../support/faults.rs"]
mod all_faults;
mod clean_ups;
mod deaths;
mod faults;
mod purchases;
mod refunds;
mod refused_captures;
mod renewals;
mod scenes;
mod singles;

macro_rules! every_rule {
    ($house:ident, $gateway:ident) => {
        mod $house {
            use connector::gateway::GatewayName;

            const GATEWAY: GatewayName = GatewayName::$gateway;

            every_rule! { @renewals:
                a_renewal_is_authorised_then_captured_and_both_sides_agree, a_renewal_is_charged_at_once,
                an_event_delivered_five_times_has_the_effect_of_one, two_deliveries_at_once_have_the_effect_of_one_wherever_they_meet,
                a_decline_of_any_class_is_told_and_the_next_attempt_pays, a_subscription_that_cannot_be_paid_is_terminated,
                an_authorisation_that_lapsed_is_never_told_as_captured,
            }
            every_rule! { @purchases:
                a_purchase_is_paid_once_and_stores_details_that_renew, a_refused_purchase_is_told_and_other_details_pay,
                a_customer_who_never_comes_back_is_finished_by_the_gateways_word,
                a_customer_who_comes_back_while_the_gateway_tells_pays_once_wherever_they_meet,
                a_customer_who_is_sent_away_pays_once_whether_he_comes_back_or_not, a_purchase_that_is_replaced_is_never_reported, an_order_that_lapses_while_the_customer_is_away_holds_nothing,
                a_free_start_stores_details_without_a_charge, details_are_stored_without_a_charge_and_renew,
            }
            every_rule! { @clean_ups:
                what_is_held_with_old_details_is_released_and_the_new_ones_renew, old_details_are_deleted_at_both_sides_where_that_is_set,
                a_customer_moves_to_any_other_gateway_in_the_middle_of_an_authorised_period,
            }
            every_rule! { @refused_captures:
                what_the_gateway_refuses_to_capture_is_released_and_the_next_attempt_pays, nothing_is_released_where_the_hold_is_gone,
                two_deliveries_of_it_release_once_wherever_they_meet, whoever_dies_anywhere_over_it_leaves_nothing_held,
                at_any_write_of_it_something_goes_wrong, a_gateway_that_never_says_keeps_no_other_attempt_from_opening,
            }
            every_rule! { @refunds:
                a_whole_refund_goes_back_once, refunds_in_parts_go_back_each_once_and_never_more_than_was_taken,
                a_chargeback_is_told_once, every_movement_of_money_is_counted_once,
            }
            every_rule! { @singles: an_authorised_single_purchase_is_captured_when_cleeng_asks }
            every_rule! { @deaths:
                in_an_authorisation, in_a_capture, in_a_charge, in_a_decline, in_a_termination, in_a_clean_up, in_a_refund,
                in_the_capture_of_a_single_purchase, in_a_purchase, in_the_storing_of_details, in_the_report_of_a_chargeback,
            }
            every_rule! { @faults:
                at_any_write_of_a_renewal, at_any_write_of_a_charge, at_any_write_of_a_clean_up, at_the_gateway_in_a_refund,
                at_any_write_of_a_purchase,
            }
        }
    };
    (@$room:ident: $($rule:ident),* $(,)?) => {
        mod $room {
            $(
                #[tokio::test]
                async fn $rule() {
                    crate::$room::$rule(super::GATEWAY).await;
                }
            )*
        }
    };
}

every_rule!(adyen, Adyen);
every_rule!(paypal, PayPal);
every_rule!(stripe, Stripe);
