//! The pages for people: HTML rendered here, without scripts, that needs nothing but the style sheet beside it.
//!
//! maud escapes whatever is put into a page; what a peer or a client chose goes through `Foreign` besides,
//! which shows characters that would do something instead of being seen.

pub mod configuration;
pub mod heartbeat;
pub mod heartbeats;
pub mod probe;
pub mod start;

mod certificate;
mod text;
mod waterfall;

use std::time::SystemTime;

use maud::{DOCTYPE, Markup, html};

use self::text::{Foreign, clock};
use crate::metrics::own::VERSION;

/// The style sheet of all pages.
pub const STYLE: &str = include_str!("style.css");
/// The picture in the tab of the browser.
pub const ICON: &str = include_str!("icon.svg");

/// What a browser may do with a page: show it with our style sheet and send its forms to us.
///
/// Whatever slipped through the escaping could neither run nor load anything.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

/// Where a page stands.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The way from this page to the start page, for relative links: empty, or some `../`. Links are
    /// relative since a proxy in front may serve the pages below a path that is unknown here.
    pub root: &'static str,
    /// Whether there is a page of heartbeats.
    pub has_heartbeats: bool,
    /// When the page was asked for.
    pub now: SystemTime,
}

/// A page that says what is wrong with the request.
pub fn complaint(place: Place, title: &str, message: &str) -> String {
    page(
        place,
        title,
        None,
        &html! {
            h1 { (title) }
            p { (Foreign(message)) }
            p { a href={ (place.root) "./" } { "To the start page" } }
        },
    )
}

/// The frame of every page; `current` is the entry of the navigation that leads here.
fn page(place: Place, title: &str, current: Option<&str>, content: &Markup) -> String {
    let root = place.root;
    let entries = [
        ("Probes", "./"),
        ("Heartbeats", "heartbeats"),
        ("Configuration", "configuration"),
        ("Metrics", "metrics"),
    ];
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (Foreign(title)) " – heartbeat_exporter" }
                link rel="icon" type="image/svg+xml" href={ (root) "icon.svg" };
                link rel="stylesheet" href={ (root) "style.css" };
            }
            body {
                a class="skip" href="#content" { "Skip to the content" }
                header {
                    a class="brand" href={ (root) "./" } {
                        svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true" focusable="false" {
                            path d="M2 17h7l3-9 6 17 4-12 2 4h6" fill="none" stroke="currentColor"
                                stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round";
                        }
                        "heartbeat_exporter"
                    }
                    nav aria-label="Pages" {
                        @for (name, path) in entries.into_iter().filter(|(name, _)| *name != "Heartbeats" || place.has_heartbeats) {
                            a href={ (root) (path) } aria-current=[(current == Some(name)).then_some("page")] { (name) }
                        }
                    }
                }
                main id="content" { (content) }
                footer {
                    "heartbeat_exporter " (VERSION) ", as of " (clock(place.now))
                }
            }
        }
    };
    markup.into_string()
}
