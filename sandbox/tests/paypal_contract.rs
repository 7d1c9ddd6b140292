//! The PayPal adapter and its simulator: the contract of gateways, and what is PayPal's own.

#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what tests stand on may fail loudly")]
mod paypal {
    mod access_tokens;
    mod adapter;
    mod answer_mapping;
    mod events;
    pub(crate) mod harness;
    mod payments;
    mod purchase;
    pub(crate) mod requests;
    mod signatures;
    mod simulator;
}

sandbox::gateway_contract!(paypal::harness::contract_harness);

mod without_decimals {
    sandbox::gateway_contract!(super::paypal::harness::harness_without_decimals);
}

mod in_two_steps {
    sandbox::gateway_contract!(super::paypal::harness::two_step_harness);
}
