//! The routes.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use matou_http::runtime::live_tasks;
use matou_http::websocket::WebSocketUpgrade;
use matou_http::{PeerAddr, TimeoutLayer};

use crate::store::Note;
use crate::{App, jobs, live, metrics};

const TEXT_MAX: usize = 64 << 10;

pub(crate) fn router(app: Arc<App>) -> Router {
    let limit = TimeoutLayer::new(app.config.request_limit).status(StatusCode::GATEWAY_TIMEOUT);
    Router::new()
        .route("/notes", get(list).post(add))
        .route("/notes/{id}", get(show).delete(delete))
        .layer(DefaultBodyLimit::max(TEXT_MAX))
        .layer(limit)
        .route("/live", get(watch))
        .route("/metrics", get(page))
        .route("/health", get(|peer: PeerAddr| async move { format!("hello {peer}\n") }))
        .layer(from_fn_with_state(Arc::clone(&app), metrics::count))
        .with_state(app)
}

async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<Note>>, Error> {
    Ok(Json(app.store.list(50).await?))
}

async fn show(State(app): State<Arc<App>>, Path(id): Path<i64>) -> Result<Json<Note>, Error> {
    app.store.get(id).await?.map(Json).ok_or(Error::NOT_FOUND)
}

async fn add(State(app): State<Arc<App>>, text: String) -> Result<(StatusCode, Json<Note>), Error> {
    if app.jobs.len() >= jobs::QUEUE_LEN {
        return Err(Error::BUSY);
    }
    if text.contains('\0') {
        return Err(Error::NUL);
    }
    let note = app.store.add(text).await?;
    app.hub.publish("added", &note);
    app.jobs.push(note.id).await.map_err(|_| Error::BUSY)?;
    Ok((StatusCode::CREATED, Json(note)))
}

async fn delete(State(app): State<Arc<App>>, Path(id): Path<i64>) -> Result<StatusCode, Error> {
    if !app.store.delete(id).await? {
        return Err(Error::NOT_FOUND);
    }
    app.hub.publish("deleted", &id);
    Ok(StatusCode::NO_CONTENT)
}

async fn watch(State(app): State<Arc<App>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.message_bytes_max(1024).on_upgrade(move |socket| live::watch(app, socket))
}

async fn page(State(app): State<Arc<App>>) -> impl IntoResponse {
    let text = app.metrics.render(app.jobs.len(), app.hub.len(), live_tasks());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// Why a request fails: the status and the text of the response.
#[derive(Debug)]
pub(crate) struct Error(StatusCode, &'static str);

impl Error {
    pub(crate) const NOT_FOUND: Error = Error(StatusCode::NOT_FOUND, "no such note");
    const BUSY: Error = Error(StatusCode::SERVICE_UNAVAILABLE, "too many jobs are waiting");
    /// PostgreSQL does not store this character.
    const NUL: Error = Error(StatusCode::BAD_REQUEST, "the text contains the character U+0000");
    pub(crate) const NO_DATABASE: Error =
        Error(StatusCode::SERVICE_UNAVAILABLE, "the database has failed");
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}

impl std::error::Error for Error {}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let is_short = self.0 == StatusCode::SERVICE_UNAVAILABLE;
        let retry = is_short.then_some([(RETRY_AFTER, "1")]);
        (self.0, retry, format!("{self}\n")).into_response()
    }
}
