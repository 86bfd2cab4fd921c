//! The canonical form of entries and the hash chain over them, against kept vectors: they are the same in every version,
//! or old journals could not be checked any more.

#![cfg(feature = "testing")]

mod common;

use std::fmt::Write;

use prepaid::model::{Against, Metadata, Status};
use sha2::{Digest, Sha256};

use common::one::{One, operation, signed};

/// Number, kind, canonical bytes and hash of each entry of [`life`].
const VECTORS: &str = include_str!("data/chain.txt");

/// A life of an account that meets most kinds of entries.
fn life() -> One {
    let one = One::new(1_000);
    for action in [
        one.reserve("a", 40, Some(10)),
        one.extend("a", 60, false),
        one.settle("a", 55, false),
        one.refund("a", "refund-1", 5),
        one.correct("a", "invoice-1", 55, 50),
        one.reserve("b", 30, None),
        one.report("b", 12, 3_000),
        one.release("b", true),
        one.debit("c", 7),
        one.reserve("d", 20, None),
        one.report("d", 9, 10),
        one.abandon("d"),
        one.settle("e#3", 1_000, true),
    ] {
        one.name(action);
    }
    let noted = Metadata::from_json(r#"{"why":"süß"}"#).unwrap();
    for action in [
        prepaid::kernel::Action::WriteOff {
            key: operation("forgiven"),
            amount: common::one::amount(3),
            reason: "a gift".into(),
            metadata: Some(noted),
        },
        prepaid::kernel::Action::Adjust {
            key: operation("goodwill"),
            amount: signed(500),
            against: Against::Promotion,
            reason: "an outage".into(),
            metadata: None,
        },
        one.withdraw("payout", 1),
        one.status(Status::Frozen),
    ] {
        one.name(action);
    }
    one.pass(8 * 24 * 60 * 60);
    one.name(one.seal("d"));
    one
}

#[test]
fn canonical_bytes_and_hashes_are_those_of_the_vectors() {
    let mut lines = String::new();
    for entry in life().journal() {
        let canonical = hex(&entry.canonical());
        writeln!(lines, "{} {} {canonical} {}", entry.seq, entry.kind.name(), entry.hash).unwrap();
    }
    assert!(lines == VECTORS, "tests/data/chain.txt should be, if the change is meant:\n{lines}");
}

/// Written from the specification alone: the first link covers ledger id, account and asset, every other the link before
/// and an entry's canonical bytes.
#[test]
fn chain_of_the_vectors_is_what_the_specification_says() {
    let one = life();
    let mut first = Sha256::new();
    first.update(b"prepaid/1");
    first.update([7; 16]);
    for part in [one.account.as_str(), "USD"] {
        first.update(u32::try_from(part.len()).unwrap().to_be_bytes());
        first.update(part);
    }
    first.update([9]);
    let mut link: [u8; 32] = first.finalize().into();
    assert!(VECTORS.lines().count() >= 16);
    for line in VECTORS.lines() {
        let mut columns = line.split(' ').skip(2);
        let canonical = unhex(columns.next().unwrap());
        let mut next = Sha256::new();
        next.update(link);
        next.update(&canonical);
        link = next.finalize().into();
        assert_eq!(Some(hex(&link).as_str()), columns.next(), "{line}");
    }
}

/// A canonical form begins with its version and the code of its kind; one changed bit anywhere changes the hash.
#[test]
fn every_bit_of_an_entry_is_in_its_hash() {
    let first = unhex(VECTORS.lines().next().unwrap().split(' ').nth(2).unwrap());
    assert_eq!(first[..2], [1, 0], "version 1, open");
    let journal = life().journal();
    let (before, after) = (&journal[0], &journal[1]);
    let canonical = after.canonical();
    assert_eq!(before.hash.next(&canonical), after.hash);
    for bit in 0..canonical.len() * 8 {
        let mut changed = canonical.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(before.hash.next(&changed), after.hash, "bit {bit}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
