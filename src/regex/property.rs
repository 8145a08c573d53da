//! The names Go knows in `\p{…}`: general categories with their aliases, and scripts.
//!
//! Only the names live here; the code points come from the `regex` crate's Unicode tables, so a
//! code point assigned in a newer Unicode version than the crate's is unassigned to us.

/// A Unicode property in the syntax of the `regex` crate, to be put between the braces of `\p{…}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Property {
    pub(super) query: String,
    /// The property is the complement of what `query` names.
    pub(super) inverted: bool,
}

/// Looks a name up the way Go 1.25 and later do: case, `_`, `-` and space do not count.
///
/// Script names of several words (`Old_Italic`) are known too: Go accepted them up to 1.24, and
/// later versions miss them only because they normalize the name they ask for and not the keys of
/// the table.
pub(super) fn find(name: &str) -> Option<Property> {
    let name: String =
        name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).map(|c| c.to_ascii_lowercase()).collect();
    let listed = |names: &str| names.split_ascii_whitespace().any(|known| known == name);
    let (query, inverted) = match name.as_str() {
        "any" | "ascii" | "assigned" => (name, false),
        // Text holds no surrogates, and the `regex` crate has no name for them.
        "cs" | "surrogate" => ("any".to_owned(), true),
        _ if listed(CATEGORIES) => (format!("gc={name}"), false),
        _ if listed(SCRIPTS) => (format!("sc={name}"), false),
        _ => return None,
    };
    Some(Property { query, inverted })
}

/// Short and long names of the general categories, from `PropertyValueAliases.txt`.
const CATEGORIES: &str = "\
    c other cc control cntrl cf format cn unassigned co privateuse \
    l letter lc casedletter ll lowercaseletter lm modifierletter lo otherletter \
    lt titlecaseletter lu uppercaseletter \
    m mark combiningmark mc spacingmark me enclosingmark mn nonspacingmark \
    n number nd decimalnumber digit nl letternumber no othernumber \
    p punctuation punct pc connectorpunctuation pd dashpunctuation pe closepunctuation \
    pf finalpunctuation pi initialpunctuation po otherpunctuation ps openpunctuation \
    s symbol sc currencysymbol sk modifiersymbol sm mathsymbol so othersymbol \
    z separator zl lineseparator zp paragraphseparator zs spaceseparator";

/// Scripts of Unicode 16, the version of the `regex` crate's tables.
const SCRIPTS: &str = "\
    adlam ahom anatolianhieroglyphs arabic armenian avestan balinese bamum bassavah \
    batak bengali bhaiksuki bopomofo brahmi braille buginese buhid canadianaboriginal \
    carian caucasianalbanian chakma cham cherokee chorasmian common coptic cuneiform \
    cypriot cyprominoan cyrillic deseret devanagari divesakuru dogra duployan \
    egyptianhieroglyphs elbasan elymaic ethiopic garay georgian glagolitic gothic \
    grantha greek gujarati gunjalagondi gurmukhi gurungkhema han hangul hanifirohingya \
    hanunoo hatran hebrew hiragana imperialaramaic inherited inscriptionalpahlavi \
    inscriptionalparthian javanese kaithi kannada katakana kawi kayahli kharoshthi \
    khitansmallscript khmer khojki khudawadi kiratrai lao latin lepcha limbu lineara \
    linearb lisu lycian lydian mahajani makasar malayalam mandaic manichaean marchen \
    masaramgondi medefaidrin meeteimayek mendekikakui meroiticcursive \
    meroitichieroglyphs miao modi mongolian mro multani myanmar nabataean nagmundari \
    nandinagari newa newtailue nko nushu nyiakengpuachuehmong ogham olchiki \
    oldhungarian olditalic oldnortharabian oldpermic oldpersian oldsogdian \
    oldsoutharabian oldturkic olduyghur olonal oriya osage osmanya pahawhhmong \
    palmyrene paucinhau phagspa phoenician psalterpahlavi rejang runic samaritan \
    saurashtra sharada shavian siddham signwriting sinhala sogdian sorasompeng soyombo \
    sundanese sunuwar sylotinagri syriac tagalog tagbanwa taile taitham taiviet takri \
    tamil tangsa tangut telugu thaana thai tibetan tifinagh tirhuta todhri toto \
    tulutigalari ugaritic vai vithkuqi wancho warangciti yezidi yi zanabazarsquare";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_name_is_known_to_the_regex_crate() {
        let names = CATEGORIES.split(' ').chain(SCRIPTS.split(' '));
        for name in names.filter(|name| !name.is_empty()) {
            let property = find(name).unwrap_or_else(|| panic!("{name} is not found"));
            let pattern = format!("\\p{{{}}}", property.query);
            assert!(::regex::Regex::new(&pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn names_are_matched_loosely_but_not_by_script_alias() {
        let cases = [
            ("Greek", Some("sc=greek")),
            ("gReEk", Some("sc=greek")),
            ("Old_Italic", Some("sc=olditalic")),
            ("old italic", Some("sc=olditalic")),
            ("L", Some("gc=l")),
            ("Lu", Some("gc=lu")),
            ("LC", Some("gc=lc")),
            ("Upper-case_Letter", Some("gc=uppercaseletter")),
            ("Punct", Some("gc=punct")),
            ("ASCII", Some("ascii")),
            ("Assigned", Some("assigned")),
            ("Any", Some("any")),
            ("Grek", None),
            ("IsGreek", None),
            ("Script=Greek", None),
            ("sc=Greek", None),
            ("White_Space", None),
            ("L&", None),
            ("", None),
            ("^L", None),
        ];
        for (name, want) in cases {
            let got = find(name).map(|property| property.query);
            assert_eq!(got.as_deref(), want, "{name}");
        }
    }

    #[test]
    fn surrogates_are_the_empty_set() {
        let want = Property { query: "any".to_owned(), inverted: true };
        assert_eq!(find("Cs"), Some(want));
    }
}
