#![no_main]

use libfuzzer_sys::fuzz_target;
use prepaid_fuzz::{Wire, framing};

fuzz_target!(|bytes: &[u8]| framing(Wire::JsonValues, bytes));
