//! The Adyen adapter and its simulator: the contract of gateways, and what is Adyen's own.

#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what tests stand on may fail loudly")]
mod adyen {
    mod adapter;
    mod answers;
    mod purchase;
    mod simulator;
    pub(crate) mod world;
}

sandbox::gateway_contract!(adyen::world::contract_world);

mod automatic_capture {
    sandbox::gateway_contract!(super::adyen::world::automatic_world);
}
