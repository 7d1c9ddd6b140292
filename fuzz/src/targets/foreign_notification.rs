//! A notification that its gateway did not sign is rejected, at every gateway.

use connector::gateway::GatewayName;

use crate::tools::{block_on, functions, parse_message};

pub(super) fn body(input: &[u8]) {
    let message = parse_message(input);
    for name in GatewayName::ALL {
        if let Ok(items) = block_on(functions::gateway(*name).read_notification(&message.headers, message.body)) {
            assert!(items.iter().all(Result::is_err), "an unsigned notification is believed by {name}");
        }
    }
}
