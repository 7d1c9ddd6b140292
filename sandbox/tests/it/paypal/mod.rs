//! The PayPal adapter and its simulator: the contract of gateways, and tests of PayPal's own behaviour.

mod access_tokens;
mod adapter;
mod answer_mapping;
mod events;
mod harness;
mod late_details;
mod payments;
mod purchase;
mod requests;
mod signatures;
mod simulator;
mod specs;

sandbox::gateway_contract!(harness::contract_harness);

mod without_decimals {
    sandbox::gateway_contract!(super::harness::harness_without_decimals);
}

mod in_two_steps {
    sandbox::gateway_contract!(super::harness::two_step_harness);
}
