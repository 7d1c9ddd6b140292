//! The ExampleGateway adapter and its simulator: the contract of gateways, and what is ExampleGateway's own.

mod harness;

sandbox::gateway_contract!(harness::contract_harness);
