//! What is published: the table of all metrics, the samples of one probe, and their text.
//!
//! No probe logic and no I/O lives here.

pub mod durations;
pub mod names;
pub mod negotiate;
pub mod own;
pub mod samples;
pub mod text;

pub use names::Metric;
pub use samples::{Labels, Samples};
