//! Refunds, settled by what the gateway tells.
