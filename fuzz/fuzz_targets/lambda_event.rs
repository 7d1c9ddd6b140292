//! Whatever Lambda hands over is an event or an error.
#![no_main]

use connector::lambda::event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = event::read(text);
});
