//! The local world with sockets, which `cargo run` and `cargo run -- serve` open: the functions are the real ones with the real handlers,
//! settings, clients and adapters; only AWS is simulated.
//!
//! | module | purpose |
//! |---|---|
//! | `world` | simulators, functions and HTTP API put together, with one clock for all |
//! | `functions` | the functions as Lambda would run them, with journal and secrets in memory |
//! | `queue` | the functions' queues in memory |
//! | `crash` | a crash of a function |
//! | `browser_world` | what a test in a real browser asks of it |
//! | `http_api` | the HTTP API in front of the functions |
//! | [`demo`] | `cargo run`: a scenario per gateway |
//! | [`serve`] | `cargo run -- serve`: the local world in real time |

mod browser_world;
mod crash;
pub mod demo;
mod functions;
mod http_api;
mod queue;
pub mod serve;
mod world;

pub use browser_world::BrowserWorld;
pub use crash::CrashTrigger;
pub use functions::{FunctionResponse, Functions, IDEMPOTENCY_SALT, PATH_KEY, StartError};
pub use queue::{LocalMessage, QueueSet};
pub use world::{Addresses, LocalWorld};
