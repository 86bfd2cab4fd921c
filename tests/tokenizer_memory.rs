//! What an open stream holds does not depend on where its vocabulary comes from: less than 64 kB.
//!
//! A file of its own, so that no other test takes memory meanwhile.

#![cfg(all(target_os = "linux", feature = "testing", feature = "tokenizer-file"))]

use std::fs;
use std::sync::Arc;

use prepaid::metering::observe::{Api, ApiObserver, Observer};
use prepaid::tokens::{Vocabularies, Vocabulary};

const STREAMS: u64 = 4_000;
const STREAM: &str = "tests/data/streams/openai-chat__openai__gpt-4o-2024-08-06__1.sse";

#[test]
fn open_stream_with_a_loaded_vocabulary_holds_less_than_64_kb() {
    let stream = fs::read(STREAM).unwrap();
    let (half, _) = stream.split_at(stream.len() / 2);
    for file in ["words.json", "pieces.json"] {
        let vocabulary = Vocabulary::from_file(format!("tests/data/tokenizers/{file}")).unwrap();
        let vocabularies = Arc::new(Vocabularies::new().with("gpt-4o", vocabulary));
        let open = || {
            let mut observer =
                ApiObserver::new(Api::OpenAiChat).model("gpt-4o").vocabularies(Arc::clone(&vocabularies));
            half.chunks(1_400).for_each(|chunk| observer.feed(chunk));
            assert!(observer.delivered().is_exact && observer.delivered().output > 100);
            observer
        };
        let before = resident_kb();
        let open: Vec<ApiObserver> = (0..STREAMS).map(|_| open()).collect();
        let held = resident_kb().saturating_sub(before) * 1_024 / STREAMS;
        println!("{file}: {held} bytes for each of {} open streams", open.len());
        assert!(held < 64 * 1_024, "{file}: {held} bytes");
    }
}

fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
