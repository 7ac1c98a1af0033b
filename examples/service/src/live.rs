//! Live updates over WebSocket.

use std::pin::pin;
use std::sync::{Arc, Mutex};

use matou_http::runtime::race;
use matou_http::websocket::{CloseCode, Message, Socket, Utf8Bytes};
use matou_sync::Queue;
use serde::Serialize;

use crate::{App, lock};

/// How many updates wait for a slow client. Then it loses the connection.
const BEHIND_MAX: usize = 64;

type Updates = Queue<Utf8Bytes>;

/// The clients that watch.
#[derive(Default)]
pub(crate) struct Hub {
    clients: Mutex<Vec<Arc<Updates>>>,
}

impl Hub {
    pub(crate) fn publish(&self, event: &str, value: &impl Serialize) {
        let update = serde_json::json!({ "event": event, "note": value }).to_string();
        let update = Utf8Bytes::from(update);
        for updates in lock(&self.clients).iter() {
            if updates.try_push(update.clone()).is_err() {
                updates.close();
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.clients).len()
    }

    fn subscribe(&self) -> Subscription<'_> {
        let updates = Arc::new(Queue::bounded(BEHIND_MAX));
        lock(&self.clients).push(Arc::clone(&updates));
        Subscription { hub: self, updates }
    }
}

/// Ends with its drop, however the task ends.
struct Subscription<'a> {
    hub: &'a Hub,
    updates: Arc<Updates>,
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        lock(&self.hub.clients).retain(|updates| !Arc::ptr_eq(updates, &self.updates));
    }
}

/// Sends the updates to a client until it leaves or the server shuts down.
pub(crate) async fn watch(app: Arc<App>, socket: Socket) {
    let subscription = app.hub.subscribe();
    let (sender, mut receiver) = socket.split();
    let send = pin!(async {
        while let Ok(update) = subscription.updates.pop().await {
            if sender.send(Message::Text(update)).await.is_err() {
                return;
            }
        }
        sender.close(CloseCode::Again, "too many updates");
    });
    // What the client sends has no meaning, but its end has.
    let gone = pin!(async { while receiver.recv().await.is_some() {} });
    race(send, gone).await;
}
