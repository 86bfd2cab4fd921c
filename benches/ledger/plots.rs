//! What was measured, as pictures (SVG).

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use super::common::median;
use super::load::{Failure, Run};

/// Runs of one kind with so many callers.
pub(crate) type Scene<'a> = (String, usize, &'a [Run]);

/// A line of a picture.
pub(crate) type Line = (String, Vec<(f64, f64)>);

const COLORS: [RGBColor; 4] =
    [RGBColor(190, 70, 20), RGBColor(235, 150, 70), RGBColor(20, 80, 160), RGBColor(90, 165, 225)];

/// Draws throughput and p99 against callers, into `folder`.
pub(crate) fn against_callers<'a>(
    folder: &Path,
    store: &str,
    scenes: impl Iterator<Item = Scene<'a>>,
) -> Result<(), Failure> {
    let (mut rates, mut waits) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
    for (name, callers, runs) in scenes.filter(|(.., runs)| !runs.is_empty()) {
        let callers = callers as f64;
        rates.entry(name.clone()).or_default().push((callers, median(runs.iter().map(Run::rate))));
        waits.entry(name).or_default().push((callers, median(runs.iter().map(|run| run.p99() / 1e3))));
    }
    let of_store = |what: &str| folder.join(format!("{store}-{what}.svg"));
    draw(&of_store("throughput"), ["callers", "pairs per second"], &Vec::from_iter(rates))?;
    draw(&of_store("p99"), ["callers", "p99 of a command, ms"], &Vec::from_iter(waits))
}

/// Draws lines over two logarithmic axes.
pub(crate) fn draw(path: &Path, [x, y]: [&str; 2], lines: &[Line]) -> Result<(), Failure> {
    picture(path, [x, y], lines).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn picture(path: &Path, [x, y]: [&str; 2], lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let range = |values: &dyn Fn(&(f64, f64)) -> f64| {
        let all = || lines.iter().flat_map(|(_, points)| points).map(values);
        all().fold(f64::MAX, f64::min) / 1.5..all().fold(0.0, f64::max) * 1.5
    };
    let area = SVGBackend::new(path, (760, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(72)
        .build_cartesian_2d(range(&|point| point.0).log_scale(), range(&|point| point.1).log_scale())?;
    let number = |value: &f64| if *value < 1.0 { format!("{value:.2}") } else { format!("{value:.0}") };
    chart.configure_mesh().x_desc(x).y_desc(y).x_label_formatter(&number).y_label_formatter(&number).draw()?;
    for ((name, points), color) in lines.iter().zip(COLORS.iter().cycle()) {
        let style = color.stroke_width(2);
        let line = LineSeries::new(points.iter().copied(), style).point_size(3);
        let sample = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style);
        chart.draw_series(line)?.label(name).legend(sample);
    }
    let mut names = chart.configure_series_labels();
    names.background_style(WHITE.mix(0.85)).border_style(BLACK.mix(0.3)).position(SeriesLabelPosition::UpperLeft);
    names.draw()?;
    area.present()?;
    Ok(())
}
