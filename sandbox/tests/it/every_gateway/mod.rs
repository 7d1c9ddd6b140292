//! The connector's whole checklist on every gateway: one suite of rules, each a test of its own for each gateway, with the effects checked at
//! both sides. Workers crash before and after every call, and twice in a row; every write goes wrong in every way; deliveries meet.
//!
//! A gateway joins by one line at the end of this file. What only one gateway has is tested beside its own adapter.

mod clean_ups;
mod crash_points;
mod faults;
mod purchases;
mod refunds;
mod refused_captures;
mod renewals;
mod scenarios;
mod single_purchases;

macro_rules! every_rule {
    ($gateway_module:ident, $gateway:ident) => {
        mod $gateway_module {
            use connector::gateway::GatewayName;

            const GATEWAY: GatewayName = GatewayName::$gateway;

            every_rule! { @renewals:
                a_renewal_is_authorised_then_captured_and_both_sides_agree, a_renewal_is_charged_at_once,
                an_event_delivered_five_times_has_the_effect_of_one, two_concurrent_deliveries_have_the_effect_of_one_at_every_interleaving,
                a_decline_of_any_class_is_reported_and_the_next_attempt_pays, a_subscription_that_cannot_be_paid_is_terminated,
                a_lapsed_authorisation_is_never_reported_as_captured,
            }
            every_rule! { @purchases:
                a_purchase_is_paid_once_and_stores_details_that_renew, a_refused_purchase_is_reported_and_other_details_pay,
                a_purchase_without_a_return_is_finished_by_notification,
                a_return_during_the_notification_pays_once_at_every_interleaving,
                a_redirected_customer_pays_once_with_or_without_a_return, a_purchase_that_is_replaced_is_never_reported, an_order_that_lapses_during_the_redirect_holds_nothing,
                a_free_start_stores_details_without_a_charge, details_are_stored_without_a_charge_and_renew,
            }
            every_rule! { @clean_ups:
                authorisations_with_replaced_details_are_released_and_the_new_details_renew, replaced_details_are_deleted_at_both_sides_if_enabled,
                a_customer_moves_to_any_other_gateway_in_the_middle_of_an_authorised_period,
            }
            every_rule! { @refused_captures:
                an_authorisation_whose_capture_is_refused_is_released_and_the_next_attempt_pays, nothing_is_released_if_the_authorisation_is_gone,
                two_deliveries_of_a_refused_capture_release_once_at_every_interleaving, a_crash_anywhere_in_a_refused_capture_leaves_nothing_held,
                at_any_write_of_a_refused_capture, a_release_that_stays_unknown_does_not_block_the_next_attempt,
            }
            every_rule! { @refunds:
                a_full_refund_is_made_once, partial_refunds_are_made_once_each_and_never_exceed_the_captured_amount,
                a_chargeback_is_reported_once, every_movement_of_money_is_counted_once,
            }
            every_rule! { @single_purchases: an_authorised_single_purchase_is_captured_when_cleeng_asks }
            every_rule! { @crash_points:
                in_an_authorisation, in_a_capture, in_a_charge, in_a_decline, in_a_termination, in_a_clean_up, in_a_refund,
                in_the_capture_of_a_single_purchase, in_a_purchase, in_the_storing_of_details, in_the_report_of_a_chargeback,
            }
            every_rule! { @faults:
                at_any_write_of_a_renewal, at_any_write_of_a_charge, at_any_write_of_a_clean_up, at_the_gateway_in_a_refund,
                at_any_write_of_a_purchase,
            }
        }
    };
    (@$suite:ident: $($rule:ident),* $(,)?) => {
        mod $suite {
            $(
                #[tokio::test]
                async fn $rule() {
                    crate::every_gateway::$suite::$rule(super::GATEWAY).await;
                }
            )*
        }
    };
}

every_rule!(adyen, Adyen);
every_rule!(paypal, PayPal);
every_rule!(stripe, Stripe);
