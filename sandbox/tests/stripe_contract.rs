//! The Stripe adapter and its simulator: the contract of gateways, and what is Stripe's own.

#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what tests stand on may fail loudly")]
mod stripe {
    mod answers;
    pub(crate) mod calls;
    mod events;
    mod flows;
    mod payments;
    mod purchase;
    pub(crate) mod requests;
    mod simulator;
    mod simulator_money;
    pub(crate) mod world;
}

sandbox::gateway_contract!(stripe::world::contract_world);

mod with_empty_decimals_and_two_secrets {
    sandbox::gateway_contract!(super::stripe::world::another_contract_world);
}
