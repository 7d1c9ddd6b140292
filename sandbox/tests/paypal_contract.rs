//! The PayPal adapter and its simulator: the contract of gateways, and what is PayPal's own.

#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what tests stand on may fail loudly")]
mod paypal {
    mod access;
    mod adapter;
    mod answers;
    mod events;
    mod payments;
    mod purchase;
    pub(crate) mod requests;
    mod signatures;
    mod simulator;
    pub(crate) mod world;
}

sandbox::gateway_contract!(paypal::world::contract_world);

mod without_decimals {
    sandbox::gateway_contract!(super::paypal::world::world_without_decimals);
}

mod in_two_steps {
    sandbox::gateway_contract!(super::paypal::world::two_step_world);
}
