#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::targets::wire::remote_write_v1(input));
