//! One delivery of an event to a flow.

use crate::clock::Timestamp;

/// One delivery of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Unique per delivery: the owner of leases.
    pub id: String,
    /// When the function is stopped at the latest.
    pub deadline: Timestamp,
    /// When the webhook first arrived.
    pub received_at: Timestamp,
    /// How often the queue has delivered it, from 1.
    pub count: u32,
}
