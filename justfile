# The commands of CONTRIBUTING.md by name; each works without just as well. `just` lists them.

_list:
    @just --list --unsorted

# run the local scenario: simulated Cleeng and gateways, the real functions
demo:
    cargo run --locked

# keep the local environment running for curl or a front end
serve *arguments:
    cargo run --locked -- serve {{arguments}}

# run the tests of the shared crate, or those whose names contain the filter
unit *filter:
    cargo nextest run --locked -p connector {{filter}}

# run the tests in the local environment, or those whose names contain the filter
it *filter:
    cargo nextest run --locked -p sandbox --test it {{filter}}

# between two edits: format, lints, tests without emulators and long simulations
quick:
    ./test quick

# before a commit: end to end on lightly optimised functions as well
test:
    ./test

# what continuous integration runs
release:
    ./test release

# format and lint
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings

# simulate seeds, for example `just simulate 0..100000`
simulate seeds *arguments:
    cargo run --locked --release -p sandbox --bin simulate -- --seeds {{seeds}} {{arguments}}

# run each fuzz target for so many seconds
fuzz seconds="600":
    .ci/fuzz {{seconds}}

# look for defects in what changed since a branch that no test detects
mutants base="main":
    .ci/mutants --in-diff {{base}}

# check a deployment, resolve parked work and more (docs/cli.md)
connectorctl *arguments:
    cargo run --locked -p connectorctl -- {{arguments}}
