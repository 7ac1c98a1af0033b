//! The picture of all works: how much each runtime needs, beside what is least.

use std::path::Path;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor;

use crate::contest::Contest;
use crate::figure::{Figure, Kind};

/// Each runtime has one color in all pictures.
const COLORS: &[(&str, RGBColor)] = &[
    ("matou", RGBColor(214, 39, 40)),
    ("echo", RGBColor(255, 152, 150)),
    ("epoll", RGBColor(0, 0, 0)),
    ("tokio-ct", RGBColor(31, 119, 180)),
    ("tokio-mt", RGBColor(120, 180, 225)),
    ("smol", RGBColor(44, 160, 44)),
    ("monoio", RGBColor(148, 103, 189)),
    ("compio", RGBColor(227, 119, 194)),
    ("threads", RGBColor(140, 140, 140)),
    ("std", RGBColor(180, 180, 180)),
    ("parking_lot", RGBColor(188, 160, 34)),
    ("futures", RGBColor(23, 190, 207)),
];

const WIDTH: u32 = 960;
const ROW: u32 = 24;
const NAMES: u32 = 190;
const LEGEND: u32 = 34;

pub(super) fn color(runtime: &str) -> RGBColor {
    COLORS.iter().find(|(name, _)| *name == runtime).map_or(BLACK, |(_, color)| *color)
}

/// Servers beside the bare loop, in CPU time for each message.
pub(super) fn echo(figures: &[Figure], path: &Path) -> Result<()> {
    let mut rows =
        rows(figures, |contest| (contest.kind() == Kind::Echo).then(|| contest.of("epoll"))?);
    rows.retain(|row| row.points.iter().any(|(runtime, _)| runtime == "matou"));
    let title = "Echo servers: CPU time per message, bare epoll is 1 (left is better)";
    draw(&rows, path, title, 0.8..2.0, 0.0)
}

/// Small operations beside the best peer.
pub(super) fn primitives(figures: &[Figure], path: &Path) -> Result<()> {
    let rows = rows(figures, |contest| {
        (!contest.kind().is_server()).then_some(())?;
        let best = contest.beside_best()?;
        contest.of(best.other)
    });
    let title = "Small operations: cost, the best peer is 1 (left is better)";
    draw(&rows, path, title, 0.25..8.0, 2.0)
}

struct Row {
    name: String,
    /// The runtimes, and what they need as a multiple of the unit.
    points: Vec<(String, f64)>,
}

/// The works for which `unit` tells what is 1.
fn rows<'a>(
    figures: &'a [Figure],
    unit: impl Fn(&Contest<'a>) -> Option<&'a crate::figure::Measured>,
) -> Vec<Row> {
    let row = |contest: Contest<'a>| {
        let unit = contest.counts(unit(&contest)?)?;
        let point = |figure: &&Figure| {
            let value = contest.counts(figure.measured()?)?;
            Some((figure.subject.runtime.clone(), value.of_other(unit)?))
        };
        let points = contest.figures.iter().filter_map(point).collect();
        // All servers are measured by the same.
        let name = match contest.kind() {
            Kind::Echo => contest.work().into(),
            _ => format!("{}, {}", contest.work(), contest.unit()),
        };
        Some(Row { name, points })
    };
    Contest::all(figures).into_iter().filter_map(row).collect()
}

/// One line for each work, one dot for each runtime. What lies outside is drawn at the edge, as an
/// arrow. `base` is that of the logarithmic scale, or 0 for a linear one.
fn draw(
    rows: &[Row],
    path: &Path,
    title: &str,
    range: std::ops::Range<f64>,
    base: f64,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let height = 30 + LEGEND + 50 + ROW * rows.len() as u32;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let (head, body) = area.titled(title, ("sans-serif", 18))?.split_vertically(LEGEND);
    legend(&head, rows)?;
    let place = |value: f64| match base {
        0.0 => value.clamp(range.start, range.end),
        base => value.clamp(range.start, range.end).log(base),
    };
    let (left, right) = (place(range.start), place(range.end));
    let mut chart = ChartBuilder::on(&body)
        .margin_right(24)
        .x_label_area_size(28)
        .set_label_area_size(LabelAreaPosition::Left, 0)
        .margin_left(NAMES)
        .build_cartesian_2d(left..right, 0.0..rows.len() as f64)?;
    let tick = |at: &f64| match base {
        0.0 => format!("{at:.1}"),
        base => format!("{}", base.powf(*at)),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(WHITE)
        .x_labels(7)
        .x_label_formatter(&tick)
        .label_style(("sans-serif", 13))
        .draw()?;
    let one = place(1.0);
    let ends = [(one, 0.0), (one, rows.len() as f64)];
    chart.draw_series([PathElement::new(ends, BLACK.mix(0.6).stroke_width(1))])?;
    for (index, row) in rows.iter().enumerate() {
        let y = (rows.len() - 1 - index) as f64 + 0.5;
        let (_, top) = chart.backend_coord(&(one, y));
        let style = TextStyle::from(("sans-serif", 13).into_font());
        let style =
            style.pos(text_anchor::Pos::new(text_anchor::HPos::Right, text_anchor::VPos::Center));
        area.draw(&Text::new(row.name.clone(), (NAMES as i32 - 8, top), style))?;
        // Ours last, so that nobody's dot hides it.
        let (ours, others): (Vec<_>, Vec<_>) =
            row.points.iter().partition(|(runtime, _)| runtime == "matou");
        for (runtime, value) in others.into_iter().chain(ours) {
            let size = if runtime == "matou" { 6 } else { 4 };
            let at = (place(*value), y);
            let style = color(runtime).filled();
            if range.contains(value) {
                chart.draw_series([Circle::new(at, size, style)])?;
            } else {
                chart.draw_series([TriangleMarker::new(at, size + 2, style)])?;
            }
        }
    }
    area.present()?;
    Ok(())
}

/// One line of dots with names.
fn legend(area: &DrawingArea<SVGBackend<'_>, Shift>, rows: &[Row]) -> Result<()> {
    let there = |name: &str| rows.iter().any(|row| row.points.iter().any(|it| it.0 == name));
    let mut x = 24;
    for (name, color) in COLORS.iter().filter(|(name, _)| there(name)) {
        area.draw(&Circle::new((x, 14), 5, color.filled()))?;
        area.draw(&Text::new(*name, (x + 10, 7), ("sans-serif", 14)))?;
        x += 30 + 8 * name.len() as i32;
    }
    area.draw(&TriangleMarker::new((x, 14), 6, BLACK.filled()))?;
    area.draw(&Text::new("outside", (x + 10, 7), ("sans-serif", 14)))?;
    Ok(())
}
