//! One file for each section of a module, and for what several of them share.
//!
//! A section's file holds its keys, their defaults and the rules that are checked at load. The
//! rules that refuse a file are exactly the peer's; everything else that cannot work is a warning.

use super::decode::Context;
use super::yaml::tree::Mapping;

pub mod address;
pub mod dialogue;
pub mod dns;
pub mod grpc;
pub mod heartbeats;
pub mod http;
pub mod http_client;
pub mod icmp;
pub mod oauth2;
pub mod proxy;
pub mod tcp;
pub mod tls;
pub mod unix;
pub mod websocket;

/// Reports an error if more than one of several ways to give the same thing is used.
///
/// `uses` pairs each key with whether it has a value.
fn at_most_one<'t>(uses: &[(&str, bool)], written: &Mapping<'t>, ctx: &mut Context<'t>) {
    let mut used = uses.iter().filter(|(_, used)| *used).map(|(key, _)| *key);
    if let (Some(_), Some(second)) = (used.next(), used.next()) {
        let keys: Vec<&str> = uses.iter().map(|(key, _)| *key).collect();
        let (last, others) = keys.split_last().unwrap_or((&"", &[]));
        let rest = format!("may have only one of {} and {last}", others.join(", "));
        ctx.error_here(written.position_of(second), rest);
    }
}

/// Notes that `key` is written and does nothing; `why` completes the sentence.
fn note_unused<'t>(key: &str, why: &str, written: &Mapping<'t>, ctx: &mut Context<'t>) {
    let message = format!("{} has no effect {why}", ctx.key(key));
    ctx.note(written.position_of(key), message);
}

/// Whether `key` has a value.
fn is_written(key: &str, written: &Mapping<'_>) -> bool {
    written.get(key).is_some_and(|node| !node.is_null())
}

/// Warns about the first `*_ref` key with a value: there is no secret manager to ask.
fn refuse_refs<'t>(uses: &[(&str, &str)], breaks: bool, written: &Mapping<'t>, ctx: &mut Context<'t>) {
    for (key, value) in uses {
        if !value.is_empty() {
            let path = ctx.key(key);
            let message = format!("{path} names a secret manager's secret, and there is none");
            ctx.warn(written.position_of(key), breaks, message);
        }
    }
}
