//! Heartbeats: jobs and nodes report in, and silence is a failure.
//!
//! The rules are pure: a [`Definition`] says what is expected, a [`Record`] what is remembered,
//! [`state`] what both mean at a moment. Everything with a clock, a socket or a file stands around them.

pub mod clock;
pub mod current;
pub mod definition;
pub mod event;
pub mod few;
pub mod hidden;
pub mod histogram;
pub mod key;
pub mod keywords;
pub mod manage;
pub mod metrics;
pub mod on_miss;
pub mod phi;
pub mod receiver;
pub mod record;
pub mod registry;
pub mod schedule;
pub mod sd;
pub mod service;
pub mod shift;
pub mod state;
pub mod store;

pub use current::Current;
pub use definition::Definition;
pub use event::{Event, Signal};
pub use key::Key;
pub use record::Record;
pub use schedule::Time;
pub use service::Service;
