//! The figures as a table and as a chart.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use plotters::prelude::*;

use crate::rounds::Figure;

const OURS: &str = "matou";

/// The figures of each work, in the order in which they were measured.
fn by_work(figures: &[Figure]) -> Vec<Vec<&Figure>> {
    let mut works: Vec<Vec<&Figure>> = Vec::new();
    for figure in figures {
        match works.last_mut().filter(|work| work[0].work == figure.work) {
            Some(work) => work.push(figure),
            None => works.push(vec![figure]),
        }
    }
    works
}

/// How we stand beside the best peer, in CPU time; 1 if there is none.
fn ratio(work: &[&Figure]) -> Option<f64> {
    let ours = work.iter().find(|figure| figure.runtime.starts_with(OURS))?;
    let peers = work.iter().filter(|figure| !figure.runtime.starts_with(OURS));
    let best = peers.map(|figure| figure.cpu_ns.median).min_by(f64::total_cmp)?;
    Some(ours.cpu_ns.median / best)
}

pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::new();
    for work in by_work(figures) {
        let beside = ratio(&work).map(|ratio| format!(" (CPU {ratio:.2} of the best peer)"));
        let _ =
            writeln!(text, "\n{}: {}{}", work[0].work, work[0].about, beside.unwrap_or_default());
        let _ = writeln!(
            text,
            "  {:14} {:>11} {:>23} {:>11} {:>7} {:>8} {:>9}",
            "", "wall ns", "min..max", "CPU ns", "allocs", "syscalls", "bytes",
        );
        for figure in work {
            let range = format!("{:.0}..{:.0}", figure.wall_ns.min, figure.wall_ns.max);
            let calls = figure.system_calls.map_or("-".into(), |calls| format!("{calls:.2}"));
            let late = match figure.late_us {
                0.0 => String::new(),
                late => format!("  p99 {late:.0} us"),
            };
            let _ = writeln!(
                text,
                "  {:14} {:>11.1} {:>23} {:>11.1} {:>7.2} {:>8} {:>9.1}{late}",
                figure.runtime,
                figure.wall_ns.median,
                range,
                figure.cpu_ns.median,
                figure.allocations,
                calls,
                figure.bytes,
            );
        }
    }
    text
}

/// Draws the CPU time of each runtime for each work, as a multiple of the least of the peers'.
pub(crate) fn chart(figures: &[Figure], path: &Path) -> Result<()> {
    let works = by_work(figures);
    let works: Vec<_> = works.into_iter().filter(|work| ratio(work).is_some()).collect();
    let runtimes: BTreeSet<&str> =
        works.iter().flatten().map(|figure| figure.runtime.as_str()).collect();
    let height = 90 + 26 * works.len() as u32;
    let area = SVGBackend::new(path, (960, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = "CPU time per operation; the best peer is 1 (left is better)";
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(150)
        .build_cartesian_2d((0.125_f64..16.0).log_scale().base(2.0), 0.0..works.len() as f64)?;
    let count = works.len();
    let name = |y: &f64| {
        works.get(count - 1 - (*y as usize).min(count - 1)).map_or("", |w| &w[0].work).to_owned()
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh().y_labels(count).y_label_formatter(&name);
    mesh.x_label_formatter(&|x| format!("{x}")).draw()?;
    for (color, runtime) in runtimes.iter().enumerate() {
        let style = Palette99::pick(color).filled();
        let points = works.iter().enumerate().flat_map(|(row, work)| {
            let best = work.iter().filter(|figure| !figure.runtime.starts_with(OURS));
            let best = best.map(|figure| figure.cpu_ns.median).fold(f64::MAX, f64::min);
            let figures = work.iter().filter(|figure| figure.runtime == *runtime);
            figures.map(move |figure| {
                let x = (figure.cpu_ns.median / best).clamp(0.125, 16.0);
                (x, (count - 1 - row) as f64 + 0.5)
            })
        });
        let size = if runtime.starts_with(OURS) { 7 } else { 4 };
        chart
            .draw_series(points.map(|point| Circle::new(point, size, style)))?
            .label(*runtime)
            .legend(move |(x, y)| Circle::new((x + 5, y), 4, style));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
