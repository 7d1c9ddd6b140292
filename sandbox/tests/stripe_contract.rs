//! The Stripe adapter and its simulator: the contract of gateways, and what is Stripe's own.

#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what tests stand on may fail loudly")]
mod stripe {
    mod answer_mapping;
    pub(crate) mod calls;
    mod events;
    mod flows;
    pub(crate) mod harness;
    mod payments;
    mod purchase;
    pub(crate) mod requests;
    mod simulator;
    mod simulator_money;
}

sandbox::gateway_contract!(stripe::harness::contract_harness);

mod with_empty_decimals_and_two_secrets {
    sandbox::gateway_contract!(super::stripe::harness::another_contract_harness);
}
