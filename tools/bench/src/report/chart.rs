//! Pictures of the ratios: a line for each workload, a dot for each runtime.

use std::fmt::{self, Write};
use std::ops::Range;

use crate::comparison::Comparison;
use crate::figure::{Figure, Kind, Measured};

/// Each runtime has one color in all pictures.
const COLORS: &[(&str, &str)] = &[
    ("epoll", "#000000"),
    ("echo", "#ff9896"),
    ("tokio-ct", "#1f77b4"),
    ("tokio-mt", "#78b4e1"),
    ("smol", "#2ca02c"),
    ("monoio", "#9467bd"),
    ("compio", "#e377c2"),
    ("threads", "#8c8c8c"),
    ("std", "#b4b4b4"),
    ("parking_lot", "#bca022"),
    ("futures", "#17becf"),
    // The last one is drawn above the others.
    ("matou", "#d62728"),
];

const WIDTH: f64 = 960.0;
const ROW: f64 = 24.0;
const NAMES: f64 = 190.0;
const HEAD: f64 = 64.0;

/// Servers relative to the bare epoll loop, in CPU time per message.
pub(super) fn echo(figures: &[Figure]) -> String {
    let rows = rows(figures, |it| (it.kind() == Kind::Echo).then(|| it.of("epoll"))?);
    let title = "Echo servers: CPU time per message, bare epoll is 1 (left is better)";
    draw(&rows, title, 0.8..2.0, &[0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0], |x| x)
}

/// Small operations relative to the best peer.
pub(super) fn primitives(figures: &[Figure]) -> String {
    let rows = rows(figures, |it| match it.kind().is_server() {
        true => None,
        false => it.of(it.to_best()?.other),
    });
    let title = "Small operations: cost, the best peer is 1 (left is better)";
    draw(&rows, title, 0.25..8.0, &[0.25, 0.5, 1.0, 2.0, 4.0, 8.0], f64::log2)
}

/// A workload, and the ratio of each runtime to the unit.
type Row<'a> = (String, Vec<(&'a str, f64)>);

fn rows<'a>(
    figures: &'a [Figure],
    unit: impl Fn(&Comparison<'a>) -> Option<&'a Measured>,
) -> Vec<Row<'a>> {
    let row = |comparison: Comparison<'a>| {
        let kind = comparison.kind();
        // Both ratios are those of our program to the other ones.
        let to_unit = unit(&comparison)?.ratio?;
        let point = |figure: &&'a Figure| {
            Some((figure.subject.runtime.as_str(), to_unit / figure.measured()?.ratio?))
        };
        let name = match kind {
            Kind::Echo => comparison.work().into(),
            _ => format!("{}, {}", comparison.work(), kind.unit()),
        };
        Some((name, comparison.figures.iter().filter_map(point).collect()))
    };
    Comparison::all(figures).into_iter().filter_map(row).collect()
}

/// Draws an SVG. Values outside of the range are triangles at the edge.
fn draw(
    rows: &[Row<'_>],
    title: &str,
    range: Range<f64>,
    ticks: &[f64],
    scale: fn(f64) -> f64,
) -> String {
    let height = HEAD + ROW * (rows.len() + 1) as f64;
    let x = |value: f64| {
        let (left, right) = (scale(range.start), scale(range.end));
        let value = scale(value.clamp(range.start, range.end));
        NAMES + (WIDTH - NAMES - 24.0) * (value - left) / (right - left)
    };
    let mut svg = Svg(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    ));
    svg.text(WIDTH / 2.0, 22.0, "middle", title);
    let mut legend = 24.0;
    for (name, color) in COLORS {
        if rows.iter().any(|(_, points)| points.iter().any(|point| point.0 == *name)) {
            svg.dot(legend, 46.0, 5.0, color);
            svg.text(legend + 10.0, 50.0, "start", name);
            legend += 30.0 + 8.0 * name.len() as f64;
        }
    }
    for tick in ticks {
        let (x, color) = (x(*tick), if *tick == 1.0 { "#666" } else { "#ddd" });
        svg.line(x, HEAD, height - ROW, color);
        svg.text(x, height - 8.0, "middle", &tick.to_string());
    }
    for (index, (name, points)) in rows.iter().enumerate() {
        let y = HEAD + ROW * (index as f64 + 0.5);
        svg.text(NAMES - 12.0, y + 4.0, "end", name);
        for (runtime, color) in COLORS {
            let size = if *runtime == "matou" { 6.0 } else { 4.0 };
            for (_, value) in points.iter().filter(|point| point.0 == *runtime) {
                match range.contains(value) {
                    true => svg.dot(x(*value), y, size, color),
                    false => svg.triangle(x(*value), y, size + 1.0, color),
                }
            }
        }
    }
    svg.0 + "</svg>\n"
}

struct Svg(String);

impl Svg {
    fn add(&mut self, element: fmt::Arguments<'_>) {
        writeln!(self.0, "{element}").expect("writing to a string succeeds");
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        self.add(format_args!(
            "<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn dot(&mut self, x: f64, y: f64, r: f64, color: &str) {
        self.add(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.0}\" r=\"{r}\" fill=\"{color}\"/>"));
    }

    fn triangle(&mut self, x: f64, y: f64, r: f64, color: &str) {
        let (left, right, top, bottom) = (x - r, x + r, y - r, y + r);
        let path = format!("M{left:.1} {bottom:.0}L{right:.1} {bottom:.0}L{x:.1} {top:.0}Z");
        self.add(format_args!("<path d=\"{path}\" fill=\"{color}\"/>"));
    }

    fn line(&mut self, x: f64, top: f64, bottom: f64, color: &str) {
        let path = format!("M{x:.1} {top}V{bottom}");
        self.add(format_args!("<path d=\"{path}\" stroke=\"{color}\"/>"));
    }
}
