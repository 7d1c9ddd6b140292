//! The Adyen adapter and its simulator: the contract of gateways, and what is Adyen's own.

mod adapter;
mod answer_mapping;
mod harness;
mod purchase;
mod simulator;
mod specs;

sandbox::gateway_contract!(harness::contract_harness);

mod automatic_capture {
    sandbox::gateway_contract!(super::harness::automatic_capture_harness);
}
