//! The Core API client against the simulator of Cleeng, with faults in the way, and over real sockets.

mod calls;
mod dunning;
mod faults;
mod mutations;
mod rules;
mod sockets;
mod world;
