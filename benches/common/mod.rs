//! What every benchmark prints: one table, or one JSON object per line.

use comfy_table::{Table, presets};
use mimalloc::MiMalloc;

/// What gateways use: with the system's, a pair costs about a seventh more CPU.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// One thing that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    against: Option<Against>,
}

/// What a figure is compared with.
#[derive(Clone, Debug)]
struct Against {
    baseline: String,
    ratio: f64,
    goal: Option<Goal>,
}

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "not every benchmark has a goal of each kind")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { name: name.into(), value, unit, against: None }
    }

    /// Says what it is measured by. The ratio is the median of the rounds' ratios, not the ratio of the medians: what
    /// else the machine does in a round slows both down.
    pub(crate) fn against(self, baseline: impl Into<String>, ratio: f64, goal: Option<Goal>) -> Self {
        Self { against: Some(Against { baseline: baseline.into(), ratio, goal }), ..self }
    }

    fn row(&self) -> [String; 6] {
        let against = self.against.as_ref();
        [
            self.name.clone(),
            readable(self.value),
            self.unit.to_owned(),
            against.map(|against| readable(against.ratio)).unwrap_or_default(),
            against.map(|against| against.baseline.clone()).unwrap_or_default(),
            against.and_then(Against::verdict).unwrap_or_default(),
        ]
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "ratio": self.against.as_ref().map(|against| against.ratio),
            "baseline": self.against.as_ref().map(|against| &against.baseline),
        })
    }
}

impl Against {
    fn verdict(&self) -> Option<String> {
        let (met, sign, goal) = match self.goal? {
            Goal::AtLeast(goal) => (self.ratio >= goal, "≥", goal),
            Goal::AtMost(goal) => (self.ratio <= goal, "≤", goal),
        };
        Some(format!("{sign} {goal}: {}", if met { "met" } else { "missed" }))
    }
}

/// Prints what was measured.
#[allow(clippy::print_stdout, reason = "what a benchmark is for")]
pub(crate) fn print(figures: &[Figure], json: bool) {
    if json {
        figures.iter().for_each(|figure| println!("{}", figure.json()));
        return;
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["measured", "value", "unit", "ratio", "to", "goal"]);
    table.add_rows(figures.iter().map(Figure::row));
    println!("{table}");
}

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn readable(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middling if middling >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
