//! The sources of errors whose type is known only at run time.

use std::any::Any;
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
///
/// The error is written in its alternate form, in which a [`TaskError`](crate::TaskError) and the
/// errors of `anyhow` and `eyre` contain their sources.
pub(crate) struct WithSources<'a, E>(pub(crate) &'a E);

impl<E: fmt::Display + 'static> fmt::Display for WithSources<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:#}", self.0);
        f.write_str(&text)?;
        let sources = iter::successors(source_of(self.0), |error| (*error).source());
        let sources: Vec<String> = sources.map(ToString::to_string).collect();
        // An error whose text ends with its last source has written all of them.
        // fault: written-sources-repeated
        if sources.last().is_some_and(|last| text.ends_with(last.as_str())) {
            return Ok(());
        }
        let mut above = &text;
        for source in &sources {
            // Many errors contain the text of their source.
            if !above.ends_with(source.as_str()) {
                write!(f, "\n  caused by: {source}")?;
            }
            above = source;
        }
        Ok(())
    }
}
