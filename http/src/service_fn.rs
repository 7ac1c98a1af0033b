use std::future::Future;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use crate::body::RequestBody;

/// Makes a service of a function that answers requests.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use std::convert::Infallible;
/// use std::rc::Rc;
/// use http::Response;
/// use matou_http::service_fn;
///
/// let count = Rc::new(Cell::new(0)); // state need not be `Send`
/// let counter = service_fn(move |_request| {
///     count.set(count.get() + 1);
///     let text = format!("request {}", count.get());
///     async move { Ok::<_, Infallible>(Response::new(text)) }
/// });
/// # let _ = counter;
/// ```
pub fn service_fn<F, R, B, E>(function: F) -> ServiceFn<F>
where
    F: FnMut(Request<RequestBody>) -> R,
    R: Future<Output = Result<Response<B>, E>>,
{
    ServiceFn { function }
}

/// The service of [`service_fn`].
#[derive(Clone, Copy, Debug)]
pub struct ServiceFn<F> {
    function: F,
}

impl<F, R, B, E> Service<Request<RequestBody>> for ServiceFn<F>
where
    F: FnMut(Request<RequestBody>) -> R,
    R: Future<Output = Result<Response<B>, E>>,
{
    type Response = Response<B>;
    type Error = E;
    type Future = R;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> R {
        (self.function)(request)
    }
}
