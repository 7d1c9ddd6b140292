//! What adapters have in common, so that a new one writes down only what is its gateway's own. Must never name a gateway.
//!
//! | module | purpose |
//! |---|---|
//! | `call` | what a missing answer and a status mean, and [`call::CallError`], with which `?` ends an operation |
//! | `rotating_keys`, `time_budget` | the current and the previous API key; the time that all calls of one operation share |
//! | `amounts` | checks of amounts before a call, and [`amounts::MinorUnits`], a gateway's own table of currencies |
//! | `code_table` | [`code_table::CodeTable`], the classes of a gateway's codes |
//! | `network_advice` | [`network_advice::NetworkAnswer`], what the card network says about trying again |
//! | `display` | [`display::DisplayedCard`], what "my account" may show of a card |
//! | `page_data` | [`page_data::pick`], what is passed on of the data of a page |
//! | `secrets` | API keys and signing secrets of the deployment's secret |
//! | `signature` | [`signature::HmacKeys`], which check notifications |

pub(crate) mod amounts;
pub(crate) mod call;
pub(crate) mod code_table;
pub(crate) mod display;
pub(crate) mod network_advice;
pub(crate) mod page_data;
pub(crate) mod rotating_keys;
pub(crate) mod secrets;
pub(crate) mod signature;
pub(crate) mod time_budget;
