//! The sources of errors whose type is known only at run time.

use std::any::{Any, type_name};
use std::error::Error;
use std::{fmt, io, iter};

/// Returns the source of the error of a task, if its type is one of the usual ones.
///
/// The error of a task need not implement [`Error`], and a boxed one does not, so no bound helps.
pub(crate) fn source_of<E: 'static>(error: &E) -> Option<&(dyn Error + 'static)> {
    let error: &dyn Any = error;
    if let Some(error) = error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        error.source()
    } else if let Some(error) = error.downcast_ref::<io::Error>() {
        error.source()
    } else if let Some(error) = error.downcast_ref::<Box<dyn Error + Send>>() {
        error.source()
    } else {
        error.downcast_ref::<Box<dyn Error>>()?.source()
    }
}

/// An error and its sources as text: one line each.
pub(crate) struct WithSources<'a, E>(pub(crate) &'a E);

impl<E: fmt::Display + 'static> fmt::Display for WithSources<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = self.0;
        if prints_sources::<E>() {
            return write!(f, "{error:#}");
        }
        let mut above = error.to_string();
        f.write_str(&above)?;
        for source in iter::successors(source_of(error), |error| (*error).source()) {
            let text = source.to_string();
            // Many errors print their source themselves.
            if !above.ends_with(&text) {
                write!(f, "\n  caused by: {text}")?;
            }
            above = text;
        }
        Ok(())
    }
}

/// Returns whether errors of the type print their sources if the alternate form is requested, as
/// those of `anyhow` and `eyre` do, which this crate does not depend on.
fn prints_sources<E>() -> bool {
    matches!(type_name::<E>(), "anyhow::Error" | "eyre::Report")
}
