//! Who watches what: one channel for each thing that is watched, which holds its newest state and nothing older.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

/// Channels by what they tell of.
pub(super) struct Board<K, V> {
    /// `None` once the process stops: nobody can begin to watch any more.
    channels: Mutex<Option<HashMap<K, watch::Sender<V>>>>,
    begun: Notify,
}

impl<K: Copy + Eq + Hash, V> Board<K, V> {
    pub(super) fn new() -> Self {
        Self { channels: Mutex::new(Some(HashMap::new())), begun: Notify::new() }
    }

    /// Begins to watch `key`, whose state is `now` unless it is watched already; `None` where the process stops.
    pub(super) fn watch(&self, key: K, now: impl FnOnce() -> V) -> Option<watch::Receiver<V>> {
        let mut channels = self.lock();
        let channel = channels.as_mut()?.entry(key).or_insert_with(|| watch::Sender::new(now()));
        self.begun.notify_one();
        Some(channel.subscribe())
    }

    /// Everything that somebody watches, as soon as that is anything at all. What nobody watches is forgotten.
    pub(super) async fn watched(&self) -> Vec<K> {
        loop {
            let keys: Vec<K> = match self.lock().as_mut() {
                None => Vec::new(),
                Some(channels) => {
                    channels.retain(|_, channel| !channel.is_closed());
                    channels.keys().copied().collect()
                }
            };
            if !keys.is_empty() {
                return keys;
            }
            self.begun.notified().await;
        }
    }

    /// Tells those who watch `key` of its state, if `differs` from what they were told.
    pub(super) fn tell(&self, key: K, state: V, differs: impl FnOnce(&V, &V) -> bool) {
        if let Some(channel) = self.lock().as_ref().and_then(|channels| channels.get(&key)) {
            channel.send_if_modified(|last| {
                let differs = differs(last, &state);
                if differs {
                    *last = state;
                }
                differs
            });
        }
    }

    /// Ends every channel, and lets nobody begin.
    pub(super) fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<K, watch::Sender<V>>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
