//! Against bytes that are no sound BTF: each ends in one sentence, and none in a panic or an endless loop.
use super::*;

/// BTF of these words; a name is its offset in `strings`.
fn built(types: &[u32], strings: &str) -> Vec<u8> {
    let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let len = types.len() as u32;
    let header = [0, len, len, strings.len() as u32].map(u32::to_ne_bytes).concat();
    [&0xeb9f_u16.to_ne_bytes()[..], &[1, 0], &24_u32.to_ne_bytes(), &header, &types, strings.as_bytes()].concat()
}

fn info(kind: u8, count: u32) -> u32 {
    u32::from(kind) << 24 | count
}

/// The same numbers at every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize
    }
}

#[test]
fn of_several_structs_of_a_name_the_one_with_the_members_counts() {
    let strings = "\0net\0ipv4\0ns\0";
    let first = [1, info(kind::STRUCT, 1), 8, 5, 0, 0];
    let second = [1, info(kind::STRUCT, 1), 24, 10, 0, 64];
    let bytes = built(&[first, second].concat(), strings);
    let btf = Btf::parse(&bytes, &["net"]).unwrap();
    assert_eq!(field(&btf, "net.ns").unwrap().bit_offset, 64);
    assert_eq!(field(&btf, "net.ipv6").err(), Some(BtfError::NoMember("net.ipv6")));
}

#[test]
fn types_that_contain_themselves_end_in_a_sentence() {
    let strings = "\0inet_connection_sock\0icsk_keepalive_timer\0";
    let nested = built(&[1, info(kind::STRUCT, 1), 8, 0, 1, 0], strings);
    assert_eq!(sentence(&nested), "the BTF's type 1 nests without end");
    let doubling = built(&[1, info(kind::STRUCT, 2), 8, 0, 1, 0, 0, 1, 0], strings);
    assert_eq!(sentence(&doubling), "the BTF's type 1 nests without end");
    let typedef = built(&[1, info(kind::STRUCT, 1), 8, 22, 2, 0, 0, info(kind::TYPEDEF, 0), 2], strings);
    assert_eq!(sentence(&typedef), "the BTF's type 2 nests without end");
    let nowhere = built(&[1, info(kind::STRUCT, 1), 8, 22, 9, 0], strings);
    assert_eq!(sentence(&nowhere), "the BTF refers to type 9, which does not exist");
    let array = built(&[0, info(kind::ARRAY, 0), 0, 1, 1, 2], strings);
    assert_eq!(Btf::parse(&array, &[]).unwrap().size(1).err(), Some(BtfError::Tangled(1)));
    let large = built(&[0, info(kind::ARRAY, 0), 0, 2, 2, u32::MAX, 0, info(kind::PTR, 0), 0], strings);
    assert_eq!(Btf::parse(&large, &[]).unwrap().size(1).err(), Some(BtfError::Tangled(1)));
}

#[test]
fn an_unknown_kind_is_refused_unless_the_btf_tells_its_size() {
    let bytes = built(&[0, info(27, 2), 0, 7, 7, 7, 7, 7], "\0");
    assert_eq!(sentence(&bytes), "the BTF's type 1 is of kind 27, which is unknown");
    let (header, sections) = bytes.split_at(24);
    let sizes = [&[0; 27 * 4][..], &[4, 8, 0, 0]].concat();
    let mut bytes = [header, &[33, 0, 0, 0, sizes.len() as u8, 0, 0, 0], sections, &sizes].concat();
    set_word(&mut bytes, 4, 32);
    assert_eq!(sentence(&bytes), "the kernel's BTF has no struct inet_connection_sock");
}

#[test]
fn a_bad_header_ends_in_a_sentence() {
    let edited = |at: usize, byte| {
        let mut bytes = fixture("6.1.176");
        bytes[at] = byte;
        sentence(&bytes)
    };
    assert_eq!(sentence(&[]), "the BTF is cut short: 0 bytes, and its header takes 24");
    assert_eq!(sentence(b"\x7fELF"), "this is not BTF: it does not begin with 0xeb9f");
    assert_eq!(edited(2, 2), "the BTF has version 2, only version 1 is known");
    assert_eq!(edited(4, 8), "the BTF is cut short: 8 bytes, and its header takes 24");
    let mut swapped = fixture("6.1.176");
    swapped.swap(0, 1);
    assert_eq!(sentence(&swapped), "the BTF is in the other byte order than this machine's");
    let mut unterminated = fixture("6.1.176");
    *unterminated.last_mut().unwrap() = b'x';
    assert_eq!(sentence(&unterminated), "the BTF's string section does not begin and end with a NUL");
}

#[test]
fn every_shorter_file_ends_in_a_sentence() {
    let bytes = fixture("7.3.4");
    for len in 0..bytes.len() {
        assert!(sentence(&bytes[..len]).starts_with("the BTF is cut short: "), "{len}");
    }
    let len = bytes.len();
    let cut = format!("the BTF is cut short: its string section ends at byte {len} of {}", len - 1);
    assert_eq!(sentence(&bytes[..len - 1]), cut);
}

#[test]
fn a_shorter_type_section_never_changes_an_offset() {
    let mut bytes = fixture("7.3.4");
    let len = get_word(&bytes, 12);
    for shorter in (0..len).step_by(5) {
        set_word(&mut bytes, 12, shorter);
        match layout(&bytes) {
            Err(BtfError::TypeCut(_) | BtfError::NoStruct(_) | BtfError::NoType(_)) => {}
            Err(error) => panic!("{shorter}: {error}"),
            // Cut between two types, and none of the rest is needed.
            Ok(layout) => assert_eq!(layout.offsets, of("7.3.4").offsets),
        }
    }
}

#[test]
fn noise_ends_in_a_sentence() {
    let mut random = Random(0x6b65_6570);
    for _ in 0..1000 {
        let mut noise: Vec<u8> = (0..4096).map(|_| random.next() as u8).collect();
        noise[0] = 0;
        assert_eq!(sentence(&noise), "this is not BTF: it does not begin with 0xeb9f");
        let header = built(&[], "");
        noise[..24].copy_from_slice(&header);
        for (at, word) in [(12, 2048), (16, 2048), (20, 2024)] {
            set_word(&mut noise, at, word);
        }
        (noise[24 + 2048], noise[4095]) = (0, 0);
        layout(&noise).unwrap_err();
    }
}

#[test]
fn flipped_bits_never_panic() {
    let mut random = Random(0x616c_6976);
    let sound = fixture("6.12.118");
    for _ in 0..10_000 {
        let mut bytes = sound.clone();
        for _ in 0..=random.next() % 8 {
            let at = random.next() % bytes.len();
            bytes[at] ^= 1 << (random.next() % 8);
        }
        if let Err(error) = layout(&bytes) {
            assert!(!error.to_string().is_empty());
        }
    }
}
