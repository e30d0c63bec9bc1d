use proptest::prelude::*;

use super::*;
use crate::model::owner::Comm;

fn comes_back<W: Word + std::fmt::Debug>(word: &W) {
    assert_eq!(W::parse(&word.text()).as_ref(), Some(word));
}

#[test]
fn every_word_comes_back_as_it_was() {
    Kind::KNOWN.iter().for_each(comes_back);
    Verdict::KNOWN.iter().for_each(comes_back);
    Place::KNOWN.iter().for_each(comes_back);
    (0..=20).map(State).for_each(|state| comes_back(&state));
    (0..200).map(Errno).for_each(|errno| comes_back(&errno));
    assert_eq!(Verdict::parse("struck-by-lightning"), None);
}

#[test]
fn a_name_that_is_no_text_is_readable_and_comes_back() {
    let cut = Comm::from(*b"\xf0\x9f\x90\xa2\xf0\x9f\x90\0\0\0\0\0\0\0\0\0");
    assert_eq!(cut.text(), "\u{1f422}\u{fffd}");
    assert_eq!(Word::text(&cut), "\u{1f422}\\xf0\\x9f\\x90");
    assert_eq!(Word::text(&Comm::from("a\\xffb")), "a\\\\xffb");
    assert_eq!(<Comm as Word>::parse("much-too-long-for-a-name"), None);
    assert_eq!(<Comm as Word>::parse("\\q"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_name_comes_back(bytes in any::<[u8; 16]>()) {
        comes_back(&Comm::from(bytes));
    }

    #[test]
    fn no_text_makes_it_fall(text in ".*") {
        let _ = <Comm as Word>::parse(&text);
    }
}
