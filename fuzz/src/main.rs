//! All fuzz targets in one binary: `FUZZ_TARGET` names the one to run.
#![no_main]

mod targets;
mod tools;

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

static BODY: LazyLock<targets::Body> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = targets::ALL.iter().find(|(name, _)| *name == wanted);
    let names: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    found.unwrap_or_else(|| panic!("FUZZ_TARGET={wanted} is none of {}", names.join(" "))).1
});

fuzz_target!(|input: &[u8]| BODY(input));

// Every other time a change that knows JSON and lines, else libFuzzer's own.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 2 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let changed = tools::mutate::mutate(u64::from(seed), &data[..size]);
    let length = changed.len().min(max_size);
    data[..length].copy_from_slice(&changed[..length]);
    length
});
