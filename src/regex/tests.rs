//! What Go accepts, refuses, matches and expands. The tables were checked against Go 1.19, but for
//! the `\p{…}` names that are newer.

use std::borrow::Cow;

use proptest::prelude::*;
use proptest::{collection, sample};

use super::*;

fn parse(pattern: &str) -> GoRegex {
    GoRegex::parse(pattern).unwrap_or_else(|error| panic!("{pattern} is refused: {error}"))
}

#[test]
fn subjects_match_as_in_go() {
    let cases: &[(&str, &[u8], bool)] = &[
        // Perl classes and word boundaries are ASCII; the rest of the pattern is not.
        (r"^\d$", b"7", true),
        (r"^\d$", "٣".as_bytes(), false),
        (r"^\d$", b"\xd9\xa1", false),
        (r"^\D$", "٣".as_bytes(), true),
        (r"^\w$", b"_", true),
        (r"^\w$", "é".as_bytes(), false),
        (r"^\W$", "é".as_bytes(), true),
        (r"^\s$", b"\x0b", false),
        (r"^\S$", b"\x0b", true),
        (r"^\s{5}$", b"\t\n\x0c\r ", true),
        (r"^\s$", "\u{a0}".as_bytes(), false),
        (r"^[^\D]$", b"7", true),
        (r"^[^\D]$", b"x", false),
        (r"^[\d\-x]+$", b"7-x", true),
        (r"\bé\b", "aéa".as_bytes(), true),
        (r"\bé\b", "é".as_bytes(), false),
        (r"\B", "aéa".as_bytes(), false),
        (r"\Bé", "é".as_bytes(), true),
        (r"a\B.", b"a\xff", false),
        // POSIX classes.
        (r"^[[:alpha:]]$", "é".as_bytes(), false),
        (r"^[[:^alpha:]]$", "é".as_bytes(), true),
        (r"^[[:space:]]$", b"\x0b", true),
        (r"^[[:word:][:punct:]]+$", b"a_1-~", true),
        (r"^[[:upper:]]$", b"a", false),
        (r"(?i)^[[:upper:]]$", b"a", true),
        (r"(?i)^[[:upper:]]$", "ſ".as_bytes(), true),
        (r"^[[:]$", b":", true),
        // Unicode classes.
        (r"^\p{Greek}$", "α".as_bytes(), true),
        (r"^\p{greek}$", "α".as_bytes(), true),
        (r"^\p{^Greek}$", "α".as_bytes(), false),
        (r"^\P{^Greek}$", "α".as_bytes(), true),
        (r"^\P{Greek}$", b"a", true),
        (r"^\pN\pZ$", "½\u{a0}".as_bytes(), true),
        (r"^\p{Letter}$", "é".as_bytes(), true),
        (r"^\p{Any}$", b"\xff", true),
        (r"^\p{So}$", b"\xff", true),
        (r"^\PL$", b"\xff", true),
        (r"^[\p{Lu}\d]+$", "É7".as_bytes(), true),
        (r"^\p{Lu}$", b"a", false),
        (r"(?i)^\p{Lu}$", b"a", true),
        (r"\p{Cs}", b"\xed\xa0\x80", false),
        (r"^\P{Cs}{3}$", b"\xed\xa0\x80", true),
        // Dots, anchors and flags.
        (r"^.$", b"\r", true),
        (r"^.$", b"\n", false),
        (r"(?s)^.$", b"\n", true),
        (r"(?s-s)^.$", b"\n", false),
        (r"a$", b"a\n", false),
        (r"(?m)a$", b"a\nb", true),
        (r"(?m)^b$", b"b\r\n", false),
        (r"(?m)^b$", b"a\nb", true),
        (r"(?m)^$", b"a\n", true),
        (r"(?m)\Ab", b"a\nb", false),
        (r"(?m)a\z", b"a\nb", false),
        (r"(?i)K", "\u{212a}".as_bytes(), true),
        (r"(?i)[^k]", "\u{212a}".as_bytes(), false),
        (r"(?i)\w", "\u{212a}".as_bytes(), true),
        (r"(?i)ς", "Σ".as_bytes(), true),
        (r"^a(?i)b|c$", b"C", true),
        (r"^(?:(?i)a)b$", b"AB", false),
        (r"^(?i:a)b$", b"AB", false),
        (r"^(?i:a)b$", b"Ab", true),
        (r"(?i)^(?-i:a)b$", b"AB", false),
        (r"^a()b(?:)$", b"ab", true),
        (r"x||y", b"", true),
        (r"^(|a)*$", b"aa", true),
        (r"^*$", b"", true),
        (r"$^", b"", true),
        // Escapes.
        (r"^\Qa.b\E+$", b"a.bbb", true),
        (r"^\Qa.b\E+$", b"axb", false),
        (r"^a\Q\E*$", b"aaa", true),
        (r"\Q.*", b"a.*", true),
        (r"^\012\07\0$", b"\n\x07\0", true),
        (r"^\141$", b"a", true),
        (r"^\777$", "\u{1ff}".as_bytes(), true),
        (r"^\08$", b"\x008", true),
        (r"^\x41\x{e9}$", "Aé".as_bytes(), true),
        (r"^\xff$", b"\xc3\xbf", true),
        (r"^\xff$", b"\xff", false),
        (r"^\a\f\t\n\r\v$", b"\x07\x0c\t\n\r\x0b", true),
        (r"^\_\-\/\#\@\ \'\&\~$", b"_-/#@ '&~", true),
        (r"^\<a\>$", b"<a>", true),
        (r"^a\b{start}$", b"a{start}", true),
        (r"^\x{d800}?a$", b"a", true),
        (r"\x{d800}", b"\xed\xa0\x80", false),
        // Braces that are no repetition.
        (r"^x{,5}$", b"x{,5}", true),
        (r"^x{$", b"x{", true),
        (r"^x{a}$", b"x{a}", true),
        (r"^x{01}$", b"x{01}", true),
        (r"^x{2$", b"x{2", true),
        (r"^{$", b"{", true),
        (r"^{+$", b"{{", true),
        (r"^x}{2}$", b"x}}", true),
        (r"^x{0}$", b"", true),
        (r"^x{2,}$", b"xxx", true),
        (r"^x{1,2}$", b"xxx", false),
        (r"^a*(?i)?$", b"aa", true),
        (r"^a{2}(?i){3}$", b"aaaaaa", true),
        // Brackets hold characters, never nested classes or set operations.
        (r"^[a&&b]+$", b"a&b", true),
        (r"^[+--]+$", b"+,-", true),
        (r"^[a~~b||c]+$", b"a~b|c", true),
        (r"^[[a]]$", b"[]", true),
        (r"^[[a]]$", b"a]", true),
        (r"^[]a]$", b"]", true),
        (r"^[^]a]$", b"]", false),
        (r"^[a-]$", b"-", true),
        (r"^[\]\-\\^]+$", b"]-\\^", true),
        (r"^[#x y]+$", b"# x", true),
        (r"^[^\x{d800}-\x{dfff}]$", b"a", true),
        (r"[\x{d800}-\x{dfff}]", b"\xed\xa0\x80", false),
        // Every byte that is not UTF-8 is one U+FFFD.
        (r"^.$", b"\xff", true),
        (r"^[^a]{2}$", b"\xe2\x82", true),
        (r"^[^a]{2}$", "é".as_bytes(), false),
        (r"^\W$", b"\xff", true),
        (r"^\x{FFFD}$", b"\xff", true),
        (r"^[\x{FFF0}-\x{FFFF}]$", b"\xff", true),
        (r"^..$", b"\xed\xa0", true),
        (r"^\x{FFFD}$", "\u{fffd}".as_bytes(), true),
        (r"a.b", b"\xffa\xffb", true),
        (r"ab", b"\xffab", true),
    ];
    for &(pattern, subject, want) in cases {
        let regex = parse(pattern);
        let name = subject.escape_ascii();
        assert_eq!(regex.is_match(subject), want, "{pattern} on {name}");
        assert_eq!(regex.captures(subject).is_some(), want, "{pattern} on {name}");
    }
}

#[test]
fn what_go_refuses_is_refused_in_its_words() {
    let cases = [
        ("*", "missing argument to repetition operator: `*`"),
        ("a|*", "missing argument to repetition operator: `*`"),
        ("(+?)", "missing argument to repetition operator: `+?`"),
        ("(?i)*", "missing argument to repetition operator: `*`"),
        ("{2}", "missing argument to repetition operator: `{2}`"),
        (r"\Q\E*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*+", "invalid nested repetition operator: `*+`"),
        ("a*?+b", "invalid nested repetition operator: `*?+`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{1001,}", "invalid repeat count: `{1001,}`"),
        ("a{1,1001}", "invalid repeat count: `{1,1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{99999999999999999999}", "invalid repeat count: `{99999999999999999999}`"),
        ("(a{1000}){2}", "invalid repeat count: `{2}`"),
        ("((a{100}){10}b){2,}?", "invalid repeat count: `{2,}?`"),
        ("(", "missing closing ): `(`"),
        ("a(b|", "missing closing ): `a(b|`"),
        (")", "unexpected ): `)`"),
        ("(a))b", "unexpected ): `(a))b`"),
        ("[a", "missing closing ]: `[a`"),
        ("x[]a", "missing closing ]: `[]a`"),
        ("[b-a]", "invalid character class range: `b-a`"),
        ("[a--b]", "invalid character class range: `a--`"),
        ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
        (r"[a-\d]", r"invalid escape sequence: `\d`"),
        (r"\p{Script=Greek}x", r"invalid character class range: `\p{Script=Greek}`"),
        (r"\p{Grek}", r"invalid character class range: `\p{Grek}`"),
        (r"\p{L", r"invalid character class range: `\p{L`"),
        (r"\pé", r"invalid character class range: `\pé`"),
        (r"\p", r"invalid character class range: `\p`"),
        ("a\\", "trailing backslash at end of expression: ``"),
        ("[\\", "trailing backslash at end of expression: ``"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"(a)\18", r"invalid escape sequence: `\1`"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"\Z", r"invalid escape sequence: `\Z`"),
        (r"\h", r"invalid escape sequence: `\h`"),
        (r"\e", r"invalid escape sequence: `\e`"),
        (r"\E", r"invalid escape sequence: `\E`"),
        (r"[\Qa\E]", r"invalid escape sequence: `\Q`"),
        (r"\u00e9", r"invalid escape sequence: `\u`"),
        (r"\é", r"invalid escape sequence: `\é`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        (r"\x4", r"invalid escape sequence: `\x4`"),
        (r"\x{}", r"invalid escape sequence: `\x{}`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"\x{41", r"invalid escape sequence: `\x{41`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
        ("(?<!a)", "invalid named capture: `(?<!a)`"),
        ("(?<=a)b", "invalid named capture: `(?<=a)b`"),
        ("(?>a)", "invalid or unsupported Perl syntax: `(?>`"),
        ("(?#c)", "invalid or unsupported Perl syntax: `(?#`"),
        ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        ("(?x)a", "invalid or unsupported Perl syntax: `(?x`"),
        ("(?u)a", "invalid or unsupported Perl syntax: `(?u`"),
        ("(?R)a", "invalid or unsupported Perl syntax: `(?R`"),
        ("(?i-)a", "invalid or unsupported Perl syntax: `(?i-)`"),
        ("(?--i)a", "invalid or unsupported Perl syntax: `(?--`"),
        ("(?P<>a)", "invalid named capture: `(?P<>`"),
        ("(?P<a.b>a)", "invalid named capture: `(?P<a.b>`"),
        ("(?<é>a)", "invalid named capture: `(?<é>`"),
        ("(?P<n", "invalid named capture: `(?P<n`"),
    ];
    for (pattern, want) in cases {
        let got = GoRegex::parse(pattern).map_err(|error| error.to_string());
        assert_eq!(got, Err(want.to_owned()), "{pattern}");
    }
}

#[test]
fn limits_on_size_and_depth_are_those_of_go() {
    let nested = |levels| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    let accepted = [
        "a{1000}".to_owned(),
        "(a{100}){10}".to_owned(),
        "(a{1000}){1}".to_owned(),
        "(a{1000})*(?:b{1000}){0}".to_owned(),
        "((a{1000}){0}){1000}".to_owned(),
        format!("(?:{}){{1000}}", "a".repeat(3300)),
        r".{1000}".to_owned(),
        r"\pL{300}".to_owned(),
        nested(999),
        format!("{}a{}", "(a|.".repeat(333), ")*".repeat(333)),
    ];
    for pattern in accepted {
        let short: String = pattern.chars().take(40).collect();
        assert_eq!(parse(&pattern).compile(), Ok(()), "{short}");
    }
    let refused = [
        (nested(1000), "expression nests too deeply"),
        ("(".repeat(100_000), "expression nests too deeply"),
        (format!("a{}", "(?i)*".repeat(1000)), "expression nests too deeply"),
        (format!("(?:{}){{1000}}", "a".repeat(3400)), "expression too large"),
    ];
    for (pattern, want) in refused {
        let short: String = pattern.chars().take(40).collect();
        let error = GoRegex::parse(&pattern).unwrap_err().to_string();
        assert_eq!(error, format!("{want}: `{pattern}`"), "{short}");
    }
}

#[test]
fn groups_expand_as_in_go() {
    let cases: &[(&str, &[u8], &str, &[u8])] = &[
        (r"(\w+) (\w+)", b"PING abc def", "$2-$1", b"abc-PING"),
        (r"(?P<n>\w+) (?<m>\w+)", b"a b", "${m}$n$0", b"baa b"),
        ("(?P<n>a)|(?P<n>b)", b"a", "$n", b"a"),
        ("(?P<n>a)|(?P<n>b)", b"b", "$n", b"b"),
        ("(?P<n>a?)(?P<n>b)", b"b", "[$n]", b"[]"),
        ("(?P<1n>a)", b"a", "$1n $1 ${1}n", b"a a an"),
        ("(?P<01>a)", b"a", "$01", b"a"),
        ("(a)|(b)", b"b", "[$1][$2][$3]", b"[][b][]"),
        ("(a){0}(b)", b"b", "[$1][$2]", b"[][b]"),
        ("(?U)a(.+)(.+?)", b"abcde", "$1|$2", b"b|cde"),
        ("(|a)*(.*)", b"aab", "$1|$2", b"|aab"),
        ("(a|ab)(c|bcd)(d*)", b"abcd", "$1,$2,$3", b"a,bcd,"),
        ("(.)(é)(.)", b"\xe2\x82\xc3\xa9\xffz", "$1,$2,$3", b"\x82,\xc3\xa9,\xff"),
        ("z(.*)", b"\xffz\xe2\x82", "<$1>", b"<\xe2\x82>"),
        ("a(b)", b"\xffab", "$1", b"b"),
    ];
    for &(pattern, subject, template, want) in cases {
        let regex = parse(pattern);
        let captures = regex.captures(subject).expect(pattern);
        let got = captures.expand(template);
        assert_eq!(got, want, "{pattern} {template}: {}", String::from_utf8_lossy(&got));
    }
    assert!(parse("a").captures(b"b").is_none());
}

#[test]
fn a_regex_is_its_pattern() {
    let regex = parse("(?P<n>a\"b)");
    let copy = regex.clone();
    assert_eq!(regex, copy);
    assert_ne!(regex, parse("a"));
    assert_eq!(copy.as_str(), "(?P<n>a\"b)");
    assert_eq!(format!("{copy:?}"), r#"GoRegex("(?P<n>a\"b)")"#);
    assert_eq!(
        serde_json::to_string(&copy).unwrap(),
        r#""(?P\u003cn\u003ea\"b)""#.replace("\\u003c", "<").replace("\\u003e", ">")
    );
}

#[test]
fn only_patterns_that_see_invalid_bytes_need_decoded_text() {
    let raw = ["(?i)error|exception", "</html>", r"^\w+\s\d{3}\b$", "[à-ÿ]é", "(?m)^[[:punct:]]"];
    for pattern in raw {
        let regex = parse(pattern);
        assert!(matches!(regex.compiled(), Ok(Program::Bytes(_))), "{pattern}");
    }
}

/// Pieces that patterns are put together from, so that many of them are accepted.
const PIECES: &[&str] = &[
    "a",
    "b",
    "K",
    "é",
    "1",
    " ",
    "\n",
    "-",
    "]",
    "[",
    "^",
    "$",
    ".",
    "|",
    "(",
    "(",
    ")",
    ")",
    "*",
    "+",
    "?",
    "{2}",
    "{0}",
    "{1,3}",
    "{,2}",
    "{2,}",
    "{40}",
    "{",
    "}",
    "(?i)",
    "(?s-i)",
    "(?:",
    "(?mU:",
    "(?P<n>",
    "(?<1>",
    "(?=",
    "[^",
    "[a-z",
    "[:alpha:]",
    "[:^space:]",
    "&&",
    r"\d",
    r"\W",
    r"\S",
    r"\b",
    r"\B",
    r"\pL",
    r"\P{Greek}",
    r"\p{Cs}",
    r"\x{d800}",
    r"\x{fffd}",
    r"\xff",
    r"\012",
    r"\Q",
    r"\E",
    r"\.",
    r"\z",
    r"\",
    "\u{fffd}",
];

fn pattern() -> impl Strategy<Value = String> {
    let pieces = collection::vec(sample::select(PIECES), 0..16);
    prop_oneof![pieces.prop_map(|pieces| pieces.concat()), any::<String>()]
}

fn subject() -> impl Strategy<Value = Vec<u8>> {
    let pieces: [&[u8]; 14] = [
        b"a",
        b"b",
        b"k",
        b"1",
        b" ",
        b"\n",
        b"-",
        "é".as_bytes(),
        "\u{212a}".as_bytes(),
        "\u{fffd}".as_bytes(),
        b"\xff",
        b"\xc3",
        b"\xa9",
        b"\xe2\x82",
    ];
    collection::vec(sample::select(pieces.to_vec()), 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn accepted_patterns_compile(pattern in pattern()) {
        if let Ok(regex) = GoRegex::parse(&pattern) {
            prop_assert_eq!(regex.compile(), Ok(()));
        }
    }

    #[test]
    fn bytes_match_as_their_decoded_text_does(pattern in pattern(), subject in subject()) {
        if let Ok(regex) = GoRegex::parse(&pattern) {
            let text = subject::decode(&subject);
            prop_assert_eq!(regex.is_match(&subject), regex.is_match(text.as_bytes()));
            let on_bytes = regex.captures(&subject).map(|captures| captures.expand("$0|$1|$n"));
            let on_text = regex.captures(text.as_bytes()).map(|captures| captures.expand("$0|$1|$n"));
            let on_bytes = on_bytes.as_deref().map(subject::decode);
            prop_assert_eq!(on_bytes, on_text.map(|text| Cow::Owned(String::from_utf8(text).unwrap())));
        }
    }

    #[test]
    fn any_template_expands(template in any::<String>()) {
        let regex = parse("(?P<n>a)");
        let captures = regex.captures(b"a").unwrap();
        let expanded = captures.expand(&template);
        prop_assert!(template.contains('$') || expanded == template.as_bytes());
    }
}
