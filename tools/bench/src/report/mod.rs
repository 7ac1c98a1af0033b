//! The figures as a table, as pictures, and as parts of documents.

mod chart;
mod documents;
mod markdown;
mod table;

pub(crate) use documents::{pictures, publish};
pub(crate) use table::{scaling, table};

/// A number with three significant digits.
fn short(number: f64) -> String {
    match number.abs() {
        ..0.0005 => "0".into(),
        ..0.1 => format!("{number:.3}"),
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

fn short_or_dash(number: Option<f64>) -> String {
    number.map_or_else(|| "-".into(), short)
}
