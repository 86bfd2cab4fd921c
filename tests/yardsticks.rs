//! The shipped numbers of models without a public vocabulary are what recordings show by one rule, and that rule, held
//! against streams that it has not seen, is right as often as it says.
//!
//! `tests/data/lessons.jsonl` has what each recording teaches, those included that are not in `tests/data/streams`.
//! `PREPAID_STREAMS` names the folder that they come from: then all of them are checked, and `PREPAID_LESSONS` names a
//! file to write them to.

#![cfg(all(
    feature = "testing",
    feature = "o200k",
    feature = "cl100k",
    feature = "deepseek",
    feature = "gemma",
    feature = "glm",
    feature = "kimi",
    feature = "llama3",
    feature = "minimax",
    feature = "mistral",
    feature = "qwen"
))]

mod common;

use std::path::Path;
use std::{env, fs};

use prepaid::tokens::{Calibration, Delivered, Scatter, TokenClass, Usage, Yardstick};

use common::fitting::{self, Lesson};
use common::random::{self, Random};
use common::streams::{self, Recording};

fn recordings() -> Vec<Recording> {
    let folder = env::var_os("PREPAID_STREAMS").unwrap_or_else(|| "tests/data/streams".into());
    streams::of_folder(Path::new(&folder))
}

fn lessons() -> Vec<Lesson> {
    let lines = fs::read_to_string("tests/data/lessons.jsonl").unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lessons_are_what_the_recordings_teach() {
    let taught: Vec<Lesson> = recordings().iter().filter(|it| !it.is_contradictory()).map(Lesson::of).collect();
    if let Some(file) = env::var_os("PREPAID_LESSONS") {
        let lines = taught.iter().map(|lesson| serde_json::to_string(lesson).unwrap() + "\n");
        fs::write(file, lines.collect::<String>()).unwrap();
    }
    let kept = lessons();
    for lesson in &taught {
        assert_eq!(kept.iter().find(|it| it.file == lesson.file), Some(lesson));
    }
    if env::var_os("PREPAID_STREAMS").is_some() {
        assert_eq!(kept.len(), taught.len());
    }
}

/// One model of each row that comes from recordings alone; the last one is nobody's.
const MODELS: [&str; 6] = ["claude-opus-4-7", "claude-sonnet-4-5", "grok-4", "nova-lite", "command-r", "any"];

#[test]
fn shipped_numbers_are_what_the_rule_gives() {
    let lessons = lessons();
    let row = |it: Yardstick| [it.text, it.call].map(|span| [span.low, span.point, span.high]);
    let rows = |of: &dyn Fn(&str) -> Yardstick| MODELS.map(|model| format!("{model}: {:?}", row(of(model)))).join("\n");
    let (shipped, fitted) = (rows(&Yardstick::of_model), rows(&|model| fitting::to_all(model, &lessons)));
    assert!(shipped == fitted, "text per mille and call, shipped:\n{shipped}\nand fitted:\n{fitted}");
}

#[test]
fn no_stream_is_judged_by_what_itself_teaches() {
    let (recordings, lessons) = (recordings(), lessons());
    let mut matter = 0;
    for recording in &recordings {
        let bent = |is_bent: fn(&str, &str) -> bool| -> Yardstick {
            let mut lessons = lessons.clone();
            let bent = lessons.iter_mut().filter(|it| is_bent(&it.file, &recording.file));
            bent.for_each(Lesson::double);
            fitting::without(recording, &lessons)
        };
        let fitted = fitting::without(recording, &lessons);
        assert_eq!(bent(|file, own| file == own), fitted, "{}: its own lesson matters", recording.file);
        matter += usize::from(bent(|file, own| file != own) != fitted);
    }
    assert_eq!(matter, recordings.len(), "the lessons of the others matter");
}

#[test]
fn fitted_points_are_in_the_middle() {
    let lessons = lessons();
    let recordings = recordings();
    let [mut billed, mut fitted, mut count] = [0, 0, 0];
    for recording in recordings.iter().filter(|it| !it.is_contradictory()) {
        let lesson = lessons.iter().find(|it| it.file == recording.file).unwrap();
        if let Some(counted) = lesson.strange_text() {
            billed += lesson.billed * 1_000 / counted;
            fitted += fitting::without(recording, &lessons).text.point;
            count += 1;
        }
    }
    assert!(count >= 15, "{count} streams");
    assert!(
        fitted.abs_diff(billed) * 20 < billed,
        "of {count} streams {fitted} thousandths are fitted, {billed} billed"
    );
}

#[test]
fn what_is_learnt_at_run_time_bounds_the_next_stream() {
    let mut calibration = Calibration::default();
    let mut outside = Vec::new();
    // A family's streams one after the other, as those of one model.
    for lesson in lessons() {
        let Some(counted) = lesson.strange_text() else { continue };
        let mut delivered = Delivered::default();
        (delivered.output, delivered.has_ended) = (counted, true);
        let span = calibration.yardstick("provider", lesson.family()).output(&delivered);
        if !(span.low..=span.high).contains(&lesson.billed) {
            outside.push(format!("{}: {} is not in {span:?}", lesson.file, lesson.billed));
        }
        let billed = Usage::new().with(TokenClass::Output, lesson.billed);
        calibration.learn("provider", lesson.family(), &delivered, &billed);
    }
    assert!(outside.is_empty(), "{}", outside.join("\n"));
}

#[test]
fn one_of_a_hundred_lies_outside_however_few_were_seen() {
    let seed = common::number("PREPAID_SEED", random::fresh_seed());
    let mut random = Random(seed);
    // Nearly normal: twelve uniform numbers added up.
    let mut number = || (0..12).map(|_| random.next() % 10_000).sum::<u64>();
    const TRIALS: u64 = 100_000;
    for seen in [2, 3, 5, 9, 31] {
        let outside = (0..TRIALS).filter(|_| {
            let span = (0..seen).map(|_| number()).collect::<Scatter>().next().unwrap();
            !(span.low..=span.high).contains(&number())
        });
        let outside = outside.count() as u64;
        assert!(outside.abs_diff(TRIALS / 100) < TRIALS / 400, "PREPAID_SEED={seed}: {outside} after {seen}");
    }
}
