//! The Adyen adapter and its simulator: the contract of gateways, and what is Adyen's own.

#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what tests stand on may fail loudly")]
mod adyen {
    mod adapter;
    mod answer_mapping;
    pub(crate) mod harness;
    mod purchase;
    mod simulator;
}

sandbox::gateway_contract!(adyen::harness::contract_harness);

mod automatic_capture {
    sandbox::gateway_contract!(super::adyen::harness::automatic_capture_harness);
}
