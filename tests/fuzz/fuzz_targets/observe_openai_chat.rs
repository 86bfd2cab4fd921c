#![no_main]

use libfuzzer_sys::fuzz_target;
use prepaid::metering::observe::Api;
use prepaid_fuzz::observer;

fuzz_target!(|bytes: &[u8]| observer(Api::OpenAiChat, bytes));
