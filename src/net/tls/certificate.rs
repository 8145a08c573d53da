//! What a certificate says about itself, in the formats of the metric labels.
//!
//! Nothing here decides about trust. Each function looks at one certificate by itself, so one that
//! cannot be parsed never hides the others.

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::asn1_rs::{Any, FromDer as _, Tag};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::nom::Parser as _;
use x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AttributeTypeAndValue, X509Name, X509Version};

/// Values of the labels of `probe_ssl_last_chain_info`, all about the leaf.
///
/// Every field is empty where the certificate does not say it, and an empty label is an absent one
/// to Prometheus. The fingerprint is there even if the rest cannot be parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeafLabels {
    /// SHA-256 of the DER encoding: 64 lower-case hexadecimal digits.
    pub fingerprint_sha256: String,
    /// Subject in the order and with the escapes of the Go exporter.
    pub subject: String,
    /// Issuer, written like the subject.
    pub issuer: String,
    /// DNS names of the subject alternative name, in certificate order, joined by `,`. Addresses,
    /// e-mail and URI names are left out.
    pub subjectalternative: String,
    /// Magnitude bytes in lower-case hexadecimal, two digits for each byte; empty for zero.
    pub serialnumber: String,
}

/// First and last second a certificate is valid, as unix seconds (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First valid second, unix time.
    pub not_before: i64,
    /// Last valid second, unix time.
    pub not_after: i64,
}

/// Labels of the leaf, the first certificate a server sends.
pub fn leaf_labels(leaf: &CertificateDer<'_>) -> LeafLabels {
    let fingerprint_sha256 = hex(digest::digest(&digest::SHA256, leaf).as_ref());
    let Some(parsed) = parse(leaf) else {
        return LeafLabels { fingerprint_sha256, ..LeafLabels::default() };
    };
    LeafLabels {
        fingerprint_sha256,
        subject: distinguished_name(parsed.subject()),
        issuer: distinguished_name(parsed.issuer()),
        subjectalternative: dns_names(&parsed).join(","),
        serialnumber: hex(&magnitude(parsed.raw_serial())),
    }
}

/// Dates of one certificate; `None` if it cannot be parsed.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let parsed = parse(certificate)?;
    Some(Validity {
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
    })
}

/// Smallest notAfter in unix seconds among all certificates a server sent, related or not.
///
/// Certificates that cannot be parsed are passed over; `None` if that leaves nothing.
pub fn earliest_expiry(presented: &[CertificateDer<'_>]) -> Option<i64> {
    presented.iter().filter_map(validity).map(|validity| validity.not_after).min()
}

/// Whether it is of X.509 version 1 or 2, which have no extensions and so no names.
pub(super) fn is_old(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_some_and(|parsed| parsed.version() != X509Version::V3)
}

/// The public key with its algorithm; `None` if the certificate cannot be parsed.
pub(super) fn public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    Some(SubjectPublicKeyInfoDer::from(parse(certificate)?.public_key().raw.to_vec()))
}

/// Size of the RSA modulus in bits; `None` for other keys.
pub(super) fn rsa_bits(certificate: &CertificateDer<'_>) -> Option<usize> {
    match parse(certificate)?.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => Some(key.key_size()),
        _ => None,
    }
}

/// Extensions stay unparsed: it is faster, and a broken one must not hide the dates.
fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (_, parsed) =
        X509CertificateParser::new().with_deep_parse_extensions(false).parse(certificate.as_ref()).ok()?;
    Some(parsed)
}

/// Host names and addresses of the subject alternative name, as text, in certificate order.
pub(super) fn host_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Some(parsed) = parse(certificate) else {
        return Vec::new();
    };
    let text = |name| match name {
        GeneralName::DNSName(name) => Some(name.to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = bytes.try_into().map(<[u8; 4]>::into);
            let v6 = bytes.try_into().map(<[u8; 16]>::into);
            let address: IpAddr = v4.or(v6).ok()?;
            Some(address.to_string())
        }
        _ => None,
    };
    alternative_names(&parsed).into_iter().filter_map(text).collect()
}

fn dns_names<'a>(certificate: &X509Certificate<'a>) -> Vec<&'a str> {
    let dns = |name| match name {
        GeneralName::DNSName(name) => Some(name),
        _ => None,
    };
    alternative_names(certificate).into_iter().filter_map(dns).collect()
}

fn alternative_names<'a>(certificate: &X509Certificate<'a>) -> Vec<GeneralName<'a>> {
    certificate
        .iter_extensions()
        .find(|extension| extension.oid == OID_X509_EXT_SUBJECT_ALT_NAME)
        .and_then(|extension| SubjectAlternativeName::from_der(extension.value).ok())
        .map_or_else(Vec::new, |(_, names)| names.general_names)
}

/// Attribute types that have a name, in the order in which the Go exporter writes them. Of the
/// common name and the serial number only the last value counts, and only if it is not empty.
/// Values that are no strings do not count (measured).
const NAMED_ATTRIBUTES: [(&str, &[u8], Repeated); 9] = [
    ("SERIALNUMBER", &[0x55, 4, 5], Repeated::LastWins),
    ("CN", &[0x55, 4, 3], Repeated::LastWins),
    ("OU", &[0x55, 4, 11], Repeated::Joined),
    ("O", &[0x55, 4, 10], Repeated::Joined),
    ("POSTALCODE", &[0x55, 4, 17], Repeated::Joined),
    ("STREET", &[0x55, 4, 9], Repeated::Joined),
    ("L", &[0x55, 4, 7], Repeated::Joined),
    ("ST", &[0x55, 4, 8], Repeated::Joined),
    ("C", &[0x55, 4, 6], Repeated::Joined),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeated {
    LastWins,
    Joined,
}

/// Writes a name as the Go exporter does: RFC 4514 escapes, but regrouped by attribute type.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for (label, oid, repeated) in NAMED_ATTRIBUTES {
        let mut values = name
            .iter_attributes()
            .filter(|attribute| attribute.attr_type().as_bytes() == oid)
            .filter_map(attribute_text);
        if repeated == Repeated::LastWins {
            if let Some(value) = values.last().filter(|value| !value.is_empty()) {
                push_attribute(&mut text, ',', label, &value);
            }
        } else if let Some(first) = values.next() {
            push_attribute(&mut text, ',', label, &first);
            for value in values {
                push_attribute(&mut text, '+', label, &value);
            }
        }
    }
    let mut others: Vec<_> = name
        .iter_attributes()
        .filter(|attribute| {
            let oid = attribute.attr_type().as_bytes();
            NAMED_ATTRIBUTES.iter().all(|(_, named, _)| *named != oid)
        })
        .collect();
    others.reverse();
    for attribute in others {
        let oid = attribute.attr_type().to_id_string();
        match attribute_text(attribute) {
            Some(value) => push_attribute(&mut text, ',', &oid, &value),
            None => push_bytes(&mut text, &oid, attribute.attr_value()),
        }
    }
    text
}

/// A value that is no string: `#` and its whole DER encoding in hexadecimal (RFC 4514 §2.4).
fn push_bytes(text: &mut String, label: &str, value: &Any<'_>) {
    if !text.is_empty() {
        text.push(',');
    }
    let tag = value.header.raw_tag().unwrap_or_default();
    let length = value.data.len();
    let length = match u8::try_from(length) {
        Ok(short @ 0..0x80) => vec![short],
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
            let digits = bytes.get(zeros..).unwrap_or_default();
            let mut long = vec![0x80 | digits.len().to_le_bytes()[0]];
            long.extend_from_slice(digits);
            long
        }
    };
    // Writing to a String cannot fail.
    let _ = write!(text, "{label}=#{}{}{}", hex(tag), hex(&length), hex(value.data));
}

fn push_attribute(text: &mut String, separator: char, label: &str, value: &str) {
    if !text.is_empty() {
        text.push(separator);
    }
    text.push_str(label);
    text.push('=');
    for (index, character) in value.char_indices() {
        let escaped = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => index == 0 || index == value.len() - 1,
            '#' => index == 0,
            _ => false,
        };
        if escaped {
            text.push('\\');
        }
        text.push(character);
    }
}

/// Text of one attribute, `None` if it is no string. T.61 is read as Latin-1, as everyone does.
fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = attribute.attr_value();
    let bytes = value.data;
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        Tag::T61String => Some(bytes.iter().map(|&byte| char::from(byte)).collect()),
        Tag::BmpString => {
            let units = bytes.chunks_exact(2).map(|pair| match pair {
                &[high, low] => u16::from_be_bytes([high, low]),
                _ => 0,
            });
            let text = char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER));
            Some(text.collect())
        }
        _ => None,
    }
}

/// Absolute value of a DER INTEGER in big-endian bytes, without leading zero bytes.
fn magnitude(integer: &[u8]) -> Vec<u8> {
    let mut bytes = integer.to_vec();
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            let (negated, overflow) = (!*byte).overflowing_add(u8::from(carry));
            *byte = negated;
            carry = overflow;
        }
    }
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    bytes.split_off(zeros)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    /// OID content, string tag, value.
    type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

    /// A DN in DER; each inner list is one RDN.
    fn name_der(rdns: &[&[Attribute<'_>]]) -> Vec<u8> {
        fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
            let length = u8::try_from(content.len()).unwrap();
            let mut out = vec![tag];
            if length >= 0x80 {
                out.push(0x81);
            }
            out.push(length);
            out.extend_from_slice(content);
            out
        }
        let mut sequence = Vec::new();
        for rdn in rdns {
            let mut set = Vec::new();
            for (oid, tag, value) in *rdn {
                let mut pair = tlv(0x06, oid);
                pair.extend(tlv(*tag, value));
                set.extend(tlv(0x30, &pair));
            }
            sequence.extend(tlv(0x31, &set));
        }
        tlv(0x30, &sequence)
    }

    const C: &[u8] = &[0x55, 4, 6];
    const ST: &[u8] = &[0x55, 4, 8];
    const L: &[u8] = &[0x55, 4, 7];
    const O: &[u8] = &[0x55, 4, 10];
    const OU: &[u8] = &[0x55, 4, 11];
    const CN: &[u8] = &[0x55, 4, 3];
    const STREET: &[u8] = &[0x55, 4, 9];
    const POSTAL: &[u8] = &[0x55, 4, 17];
    const SERIAL: &[u8] = &[0x55, 4, 5];
    const TITLE: &[u8] = &[0x55, 4, 12];
    const EMAIL: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
    const DC: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25];
    const UTF8: u8 = 0x0c;
    const IA5: u8 = 0x16;

    #[test]
    fn names_are_regrouped_and_escaped() {
        type Case<'a> = (&'a str, &'a [&'a [Attribute<'a>]], &'a str);
        let cases: &[Case<'_>] = &[
            ("nothing", &[], ""),
            (
                "the documented example",
                &[
                    &[(EMAIL, IA5, b"a@b.c")],
                    &[(C, 0x13, b"US")],
                    &[(ST, UTF8, b"Cali")],
                    &[(L, UTF8, b"SF")],
                    &[(O, UTF8, b"Acme, Inc.")],
                    &[(OU, UTF8, b"A+B")],
                    &[(CN, UTF8, b"a.test")],
                ],
                r"CN=a.test,OU=A\+B,O=Acme\, Inc.,L=SF,ST=Cali,C=US,1.2.840.113549.1.9.1=a@b.c",
            ),
            (
                "every named type, torn out of one RDN",
                &[&[
                    (C, UTF8, b"c"),
                    (ST, UTF8, b"st"),
                    (L, UTF8, b"l"),
                    (STREET, UTF8, b"street"),
                    (POSTAL, UTF8, b"postal"),
                    (O, UTF8, b"o"),
                    (OU, UTF8, b"ou"),
                    (CN, UTF8, b"cn"),
                    (SERIAL, UTF8, b"7"),
                ]],
                "SERIALNUMBER=7,CN=cn,OU=ou,O=o,POSTALCODE=postal,STREET=street,L=l,ST=st,C=c",
            ),
            (
                "repeated values",
                &[
                    &[(OU, UTF8, b"ou1")],
                    &[(CN, UTF8, b"first")],
                    &[(OU, UTF8, b"ou2")],
                    &[(CN, UTF8, b"last")],
                ],
                "CN=last,OU=ou1+OU=ou2",
            ),
            (
                "an empty common name goes, an empty unit stays",
                &[&[(CN, UTF8, b"")], &[(OU, UTF8, b"")]],
                "OU=",
            ),
            (
                "other types come last and backwards",
                &[
                    &[(DC, IA5, b"example")],
                    &[(DC, IA5, b"corp")],
                    &[(TITLE, UTF8, b"x")],
                    &[(CN, UTF8, b"h")],
                ],
                "CN=h,2.5.4.12=x,0.9.2342.19200300.100.1.25=corp,0.9.2342.19200300.100.1.25=example",
            ),
            ("every escape", &[&[(CN, UTF8, br#"# ,+"\<>;# "#)]], r#"CN=\# \,\+\"\\\<\>\;#\ "#),
            ("outer spaces", &[&[(CN, UTF8, b" a b ")]], r"CN=\ a b\ "),
            ("UTF-8 is kept", &[&[(L, UTF8, "München".as_bytes())]], "L=München"),
            ("Latin-1 in T.61", &[&[(L, 0x14, b"M\xfcnchen")]], "L=München"),
            ("UCS-2", &[&[(CN, 0x1e, b"\x00a\x20\xac")]], "CN=a€"),
            // From here on as blackbox_exporter 0.28.0 wrote them.
            (
                "no strings",
                &[
                    &[(TITLE, 0x03, b"\x00\x02\x03\x04\x05")],
                    &[(TITLE, 0x1c, b"\0\0\0u")],
                    &[(DC, 0x30, b"\x02\x03\x01\x02\x03")],
                    &[(OU, UTF8, b"unit")],
                ],
                "OU=unit,0.9.2342.19200300.100.1.25=#30050203010203,2.5.4.12=#1c0400000075,2.5.4.12=#03050002030405",
            ),
            ("a named type that is no string", &[&[(CN, UTF8, b"a")], &[(CN, 0x04, b"\x01\xab")]], "CN=a"),
            (
                "a long one",
                &[&[(TITLE, 0x04, &[7; 200])]],
                concat!(
                    "2.5.4.12=#0481c8",
                    "0707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707",
                    "0707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707",
                    "0707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707",
                    "0707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707070707",
                ),
            ),
        ];
        for (case, rdns, want) in cases {
            let der = name_der(rdns);
            let (_, name) = X509Name::from_der(&der).unwrap();
            assert_eq!(distinguished_name(&name), *want, "{case}");
        }
    }

    #[test]
    fn serials_are_magnitude_bytes() {
        let cases: &[(&[u8], &str)] = &[
            (&[0x00], ""),
            (&[0x0f], "0f"),
            (&[0x00, 0xab, 0x01], "ab01"),
            (&[0x00, 0x80, 0xff, 0x00], "80ff00"),
            (&[0xff], "01"),
            (&[0xff, 0x00], "0100"),
            (&[0x80], "80"),
            (&[], ""),
        ];
        for (integer, want) in cases {
            assert_eq!(hex(&magnitude(integer)), *want, "{integer:02x?}");
        }
    }

    fn certificate(edit: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn labels_come_from_the_leaf() {
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "a.test");
            params.serial_number = Some(vec![0x00, 0x0a, 0x1b].into());
            params.subject_alt_names = vec![
                SanType::DnsName("b.test".try_into().unwrap()),
                SanType::IpAddress([127, 0, 0, 1].into()),
                SanType::Rfc822Name("x@b.test".try_into().unwrap()),
                SanType::URI("spiffe://x/y".try_into().unwrap()),
                SanType::DnsName("a.test".try_into().unwrap()),
            ];
        });
        let labels = leaf_labels(&der);
        assert_eq!(
            labels,
            LeafLabels {
                fingerprint_sha256: hex(digest::digest(&digest::SHA256, &der).as_ref()),
                subject: "CN=a.test".to_owned(),
                issuer: "CN=a.test".to_owned(),
                subjectalternative: "b.test,a.test".to_owned(),
                serialnumber: "0a1b".to_owned(),
            }
        );
        assert_eq!(labels.fingerprint_sha256.len(), 64);
    }

    #[test]
    fn a_broken_extension_hides_nothing_else() {
        let der = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "a.test");
            params.custom_extensions =
                vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], b"no DER at all".to_vec())];
        });
        let labels = leaf_labels(&der);
        assert_eq!(labels.subject, "CN=a.test");
        assert_eq!(labels.subjectalternative, "");
    }

    #[test]
    fn junk_among_the_presented_is_passed_over() {
        let good = certificate(|_| {});
        let earlier = certificate(|params| params.not_after = rcgen::date_time_ymd(2025, 1, 1));
        let junk = CertificateDer::from(&b"junk"[..]);
        let dates = Validity { not_before: 1_577_836_800, not_after: 1_893_456_000 };

        assert_eq!(validity(&good), Some(dates));
        assert_eq!(validity(&junk), None);
        assert_eq!(earliest_expiry(&[junk.clone(), good, earlier]), Some(1_735_689_600));
        assert_eq!(earliest_expiry(std::slice::from_ref(&junk)), None);
        assert_eq!(
            leaf_labels(&junk),
            LeafLabels {
                // printf junk | sha256sum
                fingerprint_sha256: "ef875a1705a5fdac206be996f4dc1f726ea6b68861eb741c37def7277f179e37"
                    .to_owned(),
                ..LeafLabels::default()
            }
        );
    }
}
