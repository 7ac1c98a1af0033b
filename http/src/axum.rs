//! Extractors for the handlers of axum.

use axum_core::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;

use crate::current::peer_addr;
use crate::listener::PeerAddr;

/// The address of the client, as an extractor of axum: what `ConnectInfo` is with `axum::serve`.
///
/// It is refused with the status 500 outside [`serve`](crate::serve).
///
/// # Examples
///
/// ```
/// use axum::{Router, routing::get};
/// use matou_http::PeerAddr;
///
/// async fn whoami(peer: PeerAddr) -> String {
///     peer.to_string()
/// }
/// let router: Router = Router::new().route("/whoami", get(whoami));
/// # let _ = router;
/// ```
impl<S: Sync> FromRequestParts<S> for PeerAddr {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<PeerAddr, Self::Rejection> {
        let refused = "the address of the client is only known in a handler of matou_http::serve";
        peer_addr().ok_or((StatusCode::INTERNAL_SERVER_ERROR, refused))
    }
}

#[cfg(feature = "websocket")]
mod websocket {
    use axum_core::body::Body;
    use axum_core::extract::FromRequestParts;
    use axum_core::response::{IntoResponse, Response};
    use http::request::Parts;

    use crate::websocket::{WebSocketRejection, WebSocketUpgrade};

    impl<S: Sync> FromRequestParts<S> for WebSocketUpgrade {
        type Rejection = WebSocketRejection;

        async fn from_request_parts(
            parts: &mut Parts,
            _: &S,
        ) -> Result<WebSocketUpgrade, WebSocketRejection> {
            WebSocketUpgrade::from_parts(parts)
        }
    }

    impl IntoResponse for WebSocketRejection {
        fn into_response(self) -> Response {
            WebSocketRejection::into_response::<Body>(self)
        }
    }
}
