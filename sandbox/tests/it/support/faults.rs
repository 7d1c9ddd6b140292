//! Faults of a call, once for all suites.

use sandbox::simulators::network::Fault;

/// Every fault that passes: before the effect and after it, known and unknown. The last one, refused credentials, is of our own making.
pub(crate) const FAULTS: [Fault; 9] = [
    Fault::NotSent,
    Fault::TimeoutBefore,
    Fault::TimeoutAfter,
    Fault::StatusBefore(500),
    Fault::StatusAfter(500),
    Fault::StatusAfter(502),
    Fault::StatusBefore(503),
    Fault::StatusBefore(429),
    Fault::StatusBefore(401),
];
