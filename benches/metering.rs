//! How fast a stream is read: tokens counted exactly as they arrive, server-sent events parsed, memory held meanwhile.
//!
//! One core. Text is this crate's own code and prose, what a recorded stream said and a little Chinese, none of it twice,
//! for counting goes faster the second time; deltas are four characters, or what a provider sent that sends one token in
//! each. Beside it the same text counted in one go.

#[path = "common/mod.rs"]
mod common;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, process};

use clap::Parser;
use prepaid::metering::observe::{Api, ApiObserver};
use prepaid::metering::wire::{Framing, Sse};
use prepaid::tokens::{Observer, TextCounter, Vocabulary};

use self::common::{Figure, Goal, median};

type Failure = Box<dyn std::error::Error>;

/// A stream that sends one token in each delta.
const ONE_TOKEN_DELTAS: &str = "tests/data/streams/openai-chat__openai__gpt-4o-2024-08-06__1.sse";
const CHINESE: &str = "计费系统必须在流开始之前预留最坏情况下的成本，并在结束时结算实际用量。";

/// Read streams as fast as it goes.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often everything is measured, in turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Short runs, for a first look.
    #[arg(long)]
    quick: bool,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    json: bool,
    /// The file of the vocabulary that is not built in.
    #[cfg(feature = "tokenizer-file")]
    #[arg(long, default_value = "tests/data/tokenizers/words.json")]
    tokenizer: std::path::PathBuf,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let span = Duration::from_millis(if arguments.quick { 200 } else { 1_000 });
    let rounds = if arguments.quick { 1 } else { arguments.rounds };
    Vocabulary::O200k.load();
    let stream = fs::read(ONE_TOKEN_DELTAS)?;
    // First, while the allocator has nothing to give that was used before.
    let held = memory(&stream);
    let tokens = deltas(&stream);
    let mut text = [tokens.concat(), CHINESE.to_owned()].concat();
    sources(Path::new("src"), &mut text)?;
    let mut figures = counting(&tokens, &text, rounds, span);
    #[cfg(feature = "tokenizer-file")]
    figures.extend(counting_by_file(&Vocabulary::from_file(&arguments.tokenizer)?, &text, rounds, span));
    figures.extend(parsing(&stream, rounds, span));
    figures.extend(held);
    common::print(&figures, arguments.json);
    Ok(())
}

/// Million tokens a second, counted.
fn counting(tokens: &[String], text: &str, rounds: usize, span: Duration) -> Vec<Figure> {
    let four: Vec<&str> = pieces(text, 4);
    let one: Vec<&str> = (0..40).flat_map(|_| tokens.iter().map(String::as_str)).collect();
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..rounds {
        let [whole, at_four, at_one] = &mut rates;
        whole.push(rate(span, || Vocabulary::O200k.count(black_box(text))));
        at_four.push(rate(span, || count_each(&Vocabulary::O200k, &four)));
        at_one.push(rate(span, || count_each(&Vocabulary::O200k, &one)));
    }
    let against = |rates: &[f64], whole: &[f64]| median(rates.iter().zip(whole).map(|(rate, whole)| rate / whole));
    let [whole, at_four, at_one] = &rates;
    let million = |rates: &[f64]| median(rates.iter().copied()) / 1e6;
    let goal = Some(Goal::AtLeast(1.0));
    vec![
        Figure::new("text counted in one go", million(whole), "M tokens/s"),
        Figure::new("exact count at every 4 characters", million(at_four), "M tokens/s").against(
            "2 M tokens/s is the goal; M tokens/s",
            million(at_four),
            goal,
        ),
        Figure::new("exact count at every token", million(at_one), "M tokens/s").against(
            "text in one go",
            against(at_one, whole),
            None,
        ),
    ]
}

/// The same with a vocabulary from a file. A small one finds more tokens in a text, so the rate is no measure of the
/// built-in one's.
#[cfg(feature = "tokenizer-file")]
fn counting_by_file(vocabulary: &Vocabulary, text: &str, rounds: usize, span: Duration) -> [Figure; 2] {
    let four: Vec<&str> = pieces(text, 4);
    let both = |_| {
        (rate(span, || vocabulary.count(black_box(text))) / 1e6, rate(span, || count_each(vocabulary, &four)) / 1e6)
    };
    let rates: Vec<(f64, f64)> = (0..rounds).map(both).collect();
    [
        Figure::new("vocabulary from a file: in one go", median(rates.iter().map(|(whole, _)| *whole)), "M tokens/s"),
        Figure::new(
            "vocabulary from a file: at every 4 characters",
            median(rates.iter().map(|rate| rate.1)),
            "M tokens/s",
        )
        .against("text in one go", median(rates.iter().map(|(whole, four)| four / whole)), None),
    ]
}

/// Megabytes a second, parsed and read.
fn parsing(stream: &[u8], rounds: usize, span: Duration) -> Vec<Figure> {
    let body = stream.repeat(16);
    let line = |megabytes: usize| [b"data: ".to_vec(), vec![b'x'; megabytes << 20], b"\n\n".to_vec()].concat();
    let (short, long) = (line(1), line(4));
    let megabytes =
        |bytes: &[u8], chunk: usize| median((0..rounds).map(|_| rate(span, || parse(black_box(bytes), chunk)))) / 1e6;
    let parsed = megabytes(&body, 16 << 10);
    let packets = megabytes(&body, 1_400);
    let (one, four) = (megabytes(&short, 1_024), megabytes(&long, 1_024));
    let observed = median((0..rounds).map(|_| rate(span, || observe(black_box(stream))))) / 1e6;
    let goal = Some(Goal::AtLeast(1.0));
    vec![
        Figure::new("server-sent events parsed, 16 kB at a time", parsed, "MB/s").against(
            "200 MB/s is the goal; MB/s",
            parsed,
            goal,
        ),
        Figure::new("server-sent events parsed, 1,400 bytes at a time", packets, "MB/s"),
        Figure::new("a line of 4 MB, 1 kB at a time", four, "MB/s").against(
            "a line of 1 MB",
            four / one,
            Some(Goal::AtLeast(0.5)),
        ),
        Figure::new("observed: parsed, read and counted", observed, "MB/s"),
    ]
}

/// Kilobytes that an open stream holds, half way through. Only where the system says what the process holds.
fn memory(stream: &[u8]) -> Option<Figure> {
    const STREAMS: usize = 5_000;
    let (half, _) = stream.split_at(stream.len() / 2);
    let before = resident()?;
    let open: Vec<ApiObserver> = (0..STREAMS)
        .map(|_| {
            let mut observer = ApiObserver::new(Api::OpenAiChat).model("gpt-4o");
            half.chunks(1_400).for_each(|chunk| observer.feed(chunk));
            observer
        })
        .collect();
    let held = resident()?.saturating_sub(before) as f64 / open.len() as f64;
    let goal = Some(Goal::AtMost(1.0));
    Some(Figure::new("memory of an open stream", held, "kB").against("64 kB", held / 64.0, goal))
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process::id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Counts after every delta, as a meter does that must know at any time.
fn count_each(vocabulary: &Vocabulary, deltas: &[&str]) -> u64 {
    let mut counter = TextCounter::new(vocabulary.clone());
    for delta in deltas {
        counter.push(delta);
        black_box(counter.count());
    }
    counter.count()
}

fn parse(bytes: &[u8], chunk: usize) -> u64 {
    let mut framing = Sse::new();
    let mut events = 0;
    bytes.chunks(chunk).for_each(|chunk| framing.feed(chunk, &mut |event| events += black_box(event.data.len())));
    framing.finish(&mut |_| {});
    assert!(black_box(events) * 10 > bytes.len() * 9, "hardly any data was found");
    bytes.len() as u64
}

fn observe(bytes: &[u8]) -> u64 {
    let mut observer = ApiObserver::new(Api::OpenAiChat).model("gpt-4o");
    bytes.chunks(1_400).for_each(|chunk| observer.feed(chunk));
    black_box(observer.report());
    bytes.len() as u64
}

/// Every source file below `folder`, one after another.
fn sources(folder: &Path, text: &mut String) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, text)?;
        } else {
            text.push_str(&fs::read_to_string(path)?);
        }
    }
    Ok(())
}

/// How much is done in a second: what `work` says it did, again and again for a while.
fn rate(span: Duration, mut work: impl FnMut() -> u64) -> f64 {
    let (begun, mut done) = (Instant::now(), 0);
    while begun.elapsed() < span {
        done += work();
    }
    done as f64 / begun.elapsed().as_secs_f64()
}

/// What each delta of a chat stream said.
fn deltas(stream: &[u8]) -> Vec<String> {
    let mut said = Vec::new();
    let mut framing = Sse::new();
    framing.feed(stream, &mut |event| {
        let event: serde_json::Value = serde_json::from_slice(event.data).unwrap_or_default();
        said.extend(event.pointer("/choices/0/delta/content").and_then(|text| text.as_str()).map(str::to_owned));
    });
    said
}

fn pieces(text: &str, characters: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.char_indices().nth(characters).map_or(rest.len(), |(at, _)| at);
        let (piece, later) = rest.split_at(at);
        pieces.push(piece);
        rest = later;
    }
    pieces
}
