//! The picture of the curves: a panel for each operation.

use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use super::chart::color;
use crate::curves::{CURVES, Curve, Point};

const COLUMNS: usize = 3;
const PANEL: (u32, u32) = (330, 230);

pub(super) fn draw(points: &[Point], path: &Path) -> Result<()> {
    let there = |curve: &&Curve| points.iter().any(|point| point.curve == curve.name);
    let curves: Vec<_> = CURVES.iter().filter(there).collect();
    if curves.is_empty() {
        return Ok(());
    }
    let rows = curves.len().div_ceil(COLUMNS);
    let size = (PANEL.0 * COLUMNS as u32, 60 + PANEL.1 * rows as u32);
    let area = SVGBackend::new(path, size).into_drawing_area();
    area.fill(&WHITE)?;
    let title = "CPU time of an operation in ns (upwards), with so many others alive (rightwards)";
    let (head, body) = area.titled(title, ("sans-serif", 18))?.split_vertically(26);
    let mut x = 24;
    for runtime in runtimes(points) {
        let line = [(x, 12), (x + 20, 12)];
        head.draw(&PathElement::new(line, color(runtime).stroke_width(3)))?;
        head.draw(&Text::new(runtime.to_owned(), (x + 26, 5), ("sans-serif", 14)))?;
        x += 60 + 8 * runtime.len() as i32;
    }
    for (curve, panel) in curves.iter().zip(body.split_evenly((rows, COLUMNS))) {
        draw_panel(curve, points, &panel)?;
    }
    area.present()?;
    Ok(())
}

fn runtimes(points: &[Point]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for point in points {
        if !names.contains(&point.runtime.as_str()) {
            names.push(&point.runtime);
        }
    }
    names
}

fn draw_panel(
    curve: &Curve,
    points: &[Point],
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<()> {
    let mine: Vec<_> = points.iter().filter(|point| point.curve == curve.name).collect();
    let values = mine.iter().filter_map(|point| Some(point.cpu_ns.as_ref()?.median));
    let most = values.clone().fold(10.0, f64::max);
    let least = values.fold(most, f64::min);
    // Whole powers of ten, so that a flat line looks flat.
    let low = 10_f64.powf((least / 1.2).max(1.0).log10().floor());
    let high = 10_f64.powf(most.log10().ceil()).max(low * 10.0);
    let mut chart = ChartBuilder::on(area)
        .caption(curve.about, ("sans-serif", 13))
        .margin(6)
        .margin_right(16)
        .x_label_area_size(24)
        .y_label_area_size(48)
        .build_cartesian_2d((10_f64..1e6).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_labels(6)
        .y_labels(4)
        .x_label_formatter(&|x| count(*x))
        .y_label_formatter(&|y| count(*y))
        .label_style(("sans-serif", 12))
        .draw()?;
    for runtime in runtimes(points) {
        let mut places: Vec<(f64, f64)> = mine
            .iter()
            .filter(|point| point.runtime == runtime)
            .filter_map(|point| Some((point.crowd as f64, point.cpu_ns.as_ref()?.median)))
            .collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        let style = color(runtime).stroke_width(2);
        chart.draw_series(LineSeries::new(places.iter().copied(), style))?;
        let dot = |place: &(f64, f64)| Circle::new(*place, 3, color(runtime).filled());
        chart.draw_series(places.iter().map(dot))?;
    }
    Ok(())
}

fn count(number: f64) -> String {
    match number {
        1e6.. => format!("{}M", number / 1e6),
        1e3.. => format!("{}k", number / 1e3),
        _ => format!("{number}"),
    }
}
