//! The connector's whole checklist on every gateway: one suite of rules, each a test of its own for each gateway, with the effects checked at
//! both sides. Workers crash before and after every call, and twice in a row; every write goes wrong in every way; deliveries meet.
//!
//! A gateway joins by one line at the end of this file. What only one gateway has is tested beside its own adapter.

mod clean_ups;
mod crash_points;
mod faults;
pub(crate) mod obstacles;
mod preconditions;
mod purchases;
mod refunds;
mod refused_captures;
mod renewals;
mod retry_limits;
pub(crate) mod scenarios;
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
            every_rule! { @obstacles:
                an_order_whose_amount_cannot_be_read_is_parked_and_made_once, a_parked_order_keeps_no_subscription_from_ending,
                what_was_abandoned_can_be_tried_again_by_the_same_event, abandon_retry_replay_and_redrive_work_in_every_order,
                an_outage_of_hours_waits_in_the_journal_and_rings_for_the_gateway,
                an_outage_of_a_day_parks_and_a_retry_asks_cleeng_first, a_termination_waits_for_an_unknown_payment_and_not_for_ever,
            }
            every_rule! { @preconditions:
                nothing_is_taken_or_kept_if_it_is_not_due_any_more_after_a_wait, what_is_still_due_after_a_wait_is_taken_once,
                nothing_is_taken_while_cleeng_cannot_be_asked,
                a_delayed_event_with_replaced_details_takes_nothing_and_the_period_is_paid_with_the_new_ones,
                an_order_that_lapsed_before_the_money_was_asked_for_is_replaced_by_one_with_the_price_of_today,
            }
            every_rule! { @retry_limits:
                details_that_must_not_be_tried_again_are_told_rejected_without_a_call, details_that_were_updated_are_tried_again,
                attempts_before_the_time_that_the_advice_names_are_told_rejected, a_token_is_declined_no_more_often_than_the_limit,
                details_unknown_to_the_gateway_of_several_subscribers_are_our_own_mistake,
                details_unknown_to_the_gateway_of_one_subscriber_are_gone,
            }
            every_rule! { @purchases:
                a_purchase_is_paid_once_and_stores_details_that_renew, a_refused_purchase_is_reported_and_other_details_pay,
                a_purchase_without_a_return_is_finished_by_notification,
                a_return_during_the_notification_pays_once_at_every_interleaving,
                a_redirected_customer_pays_once_with_or_without_a_return, a_purchase_that_is_replaced_is_never_reported, an_order_that_lapses_during_the_redirect_holds_nothing,
                an_order_that_cleeng_refuses_is_given_back_and_not_paid_again, an_order_that_an_earlier_report_may_have_paid_is_compared,
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
