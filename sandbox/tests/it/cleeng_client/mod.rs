//! The Core API client against the simulator of Cleeng, with faults on the network, and over real sockets.

mod answers;
mod calls;
mod dunning;
mod faults;
mod harness;
mod mutations;
mod rules;
mod sockets;
