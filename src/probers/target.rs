//! Forms and addresses of targets, as several probers share them.

use crate::config::sections::address::IpPreference;
use crate::net::resolve::{Address, Family, Preference};

/// The address family a section prefers, and whether the other will do.
pub fn preference(written: &IpPreference, fallback: bool) -> Preference {
    Preference { family: if written.is_ipv4() { Family::V4 } else { Family::V6 }, fallback }
}

/// Whether `text` can be the name or the address of a host.
///
/// A percent sign only occurs in front of the zone of an IPv6 address; anywhere else it is left
/// over from a client that encoded the target twice.
pub fn is_host(text: &str) -> bool {
    !text.contains('%') || Address::parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_belongs_to_a_zone() {
        let cases = [
            ("a.test", true),
            ("::1", true),
            ("fe80::1%lo", true),
            ("fe80::1%1", true),
            ("a%2Etest", false),
            ("%3A%3A1", false),
            ("127.0.0.1%3A53", false),
        ];
        for (text, want) in cases {
            assert_eq!(is_host(text), want, "{text}");
        }
    }
}
