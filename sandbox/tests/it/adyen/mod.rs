//! The Adyen adapter and its simulator: the contract of gateways, and tests of Adyen's own behaviour.

mod adapter;
mod amounts;
mod answer_mapping;
mod harness;
mod manual_account;
mod purchase;
mod simulator;
mod specs;

sandbox::gateway_contract!(harness::contract_harness);

mod automatic_capture {
    sandbox::gateway_contract!(super::harness::automatic_capture_harness);
}
