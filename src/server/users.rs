//! Users of the section `heartbeats`: who may check in at `/api/pings/` and manage heartbeats.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::http::request::Parts;

use super::Server;
use super::web_config::{Gate, Users};
use crate::config::Heartbeats;

/// Users of the configuration in force, and what is known about credentials.
#[derive(Debug)]
pub struct HeartbeatUsers {
    gate: Gate,
    /// Hashes are read once for each configuration.
    read: Mutex<Option<(Arc<Heartbeats>, Arc<Users>)>>,
}

impl Default for HeartbeatUsers {
    fn default() -> Self {
        Self { gate: Gate::new(), read: Mutex::default() }
    }
}

impl HeartbeatUsers {
    fn of(&self, section: &Arc<Heartbeats>) -> Arc<Users> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, users)) = &*read
            && Arc::ptr_eq(of, section)
        {
            return Arc::clone(users);
        }
        // A section with a bad hash is not loaded.
        let users = Arc::new(Users::new(&section.users).0);
        *read = Some((Arc::clone(section), Arc::clone(&users)));
        users
    }
}

impl Server {
    /// Whether a request comes from a user of the section `heartbeats`. If that names none, the users of the
    /// web configuration are enough, who are known at this point; if there are none either, nobody is.
    pub async fn is_from_user(&self, request: &Parts) -> bool {
        let Some(section) = self.live.snapshot().heartbeats.clone() else { return false };
        if section.users.is_empty() {
            return self.web.as_ref().is_some_and(|web| web.has_users());
        }
        let users = self.heartbeat_users.of(&section);
        let authorization = request.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        self.heartbeat_users.gate.admits(&users, authorization).await
    }
}
