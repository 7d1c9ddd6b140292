//! What the connector meets outside, simulated: Cleeng, the gateways, the network between them and virtual time.

pub mod adyen;
pub mod cleeng;
pub mod network;
pub mod paypal;
pub mod simulated_gateway;
pub mod stripe;
pub mod virtual_clock;
