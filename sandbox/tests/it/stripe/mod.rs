//! The Stripe adapter and its simulator: the contract of gateways, and tests of Stripe's own behaviour.

mod amounts;
mod answer_mapping;
mod calls;
mod events;
mod flows;
mod harness;
mod payments;
mod purchase;
mod requests;
mod simulator;
mod simulator_money;
mod specs;

sandbox::gateway_contract!(harness::contract_harness);

mod with_empty_decimals_and_two_secrets {
    sandbox::gateway_contract!(super::harness::another_contract_harness);
}
