//! What a disk may hold after a power cut, rebuilt from a record of what a process wrote and synced.
//!
//! The model: what was synced is there. Of what was not, anything may be there: nothing, a beginning, any subset, any
//! subset of its 512-byte sectors. A name is durable after a sync of its folder, and by chance before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One thing a process did to the files of one folder. Files are named by their last component.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create(String),
    Write {
        file: String,
        at: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        file: String,
        length: usize,
    },
    Sync(String),
    /// A sync that failed. The system forgets what it could not write, and says so once: what was pending is lost,
    /// although the process still reads it back.
    SyncFailed(String),
    SyncFolder,
    SyncFolderFailed,
    Unlink(String),
    Rename(String, String),
    /// The process told its caller that so many commands are durable.
    Acknowledged(usize),
}

/// How much of what was not synced survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    Everything,
    AllButABeginning,
    AnySubset,
    AnySectors,
}

pub(super) const LOSSES: [Loss; 4] = [Loss::Everything, Loss::AllButABeginning, Loss::AnySubset, Loss::AnySectors];

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// The disk while a record is replayed.
#[derive(Debug, Default)]
pub(super) struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pub(super) acknowledged: usize,
}

impl Disk {
    pub(super) fn replay(&mut self, op: &Op) {
        match op {
            Op::Create(file) => drop(self.inode(file)),
            Op::Write { file, at, bytes } => self.inode(file).pending.push(Change::Write(*at, bytes.clone())),
            Op::Truncate { file, length } => self.inode(file).pending.push(Change::Truncate(*length)),
            Op::Sync(file) => {
                let inode = self.inode(file);
                let pending = std::mem::take(&mut inode.pending);
                pending.iter().for_each(|change| change.apply(&mut inode.durable));
            }
            Op::SyncFailed(file) => self.inode(file).pending.clear(),
            Op::SyncFolder => self.durable_names = self.names.clone(),
            Op::SyncFolderFailed => {}
            Op::Unlink(file) => drop(self.names.remove(file)),
            Op::Rename(from, to) => {
                if let Some(inode) = self.names.remove(from) {
                    self.names.insert(to.clone(), inode);
                }
            }
            Op::Acknowledged(commands) => self.acknowledged = *commands,
        }
    }

    fn inode(&mut self, file: &str) -> &mut Inode {
        let next = self.inodes.len();
        let number = *self.names.entry(file.to_owned()).or_insert(next);
        if number == next {
            self.inodes.push(Inode::default());
        }
        &mut self.inodes[number]
    }

    /// Writes down what is there if the power goes now.
    pub(super) fn cut(&self, loss: Loss, random: &mut Random, folder: &Path) {
        let names: BTreeSet<_> = self.names.keys().chain(self.durable_names.keys()).collect();
        for name in names {
            let (now, durable) = (self.names.get(name), self.durable_names.get(name));
            let unsure = now != durable && loss != Loss::Everything && random.below(2) == 0;
            let Some(number) = (if unsure { now } else { durable }) else {
                continue;
            };
            let Inode { durable, pending } = &self.inodes[*number];
            let mut content = durable.clone();
            for change in survivors(loss, pending, random) {
                change.apply(&mut content);
            }
            std::fs::write(folder.join(name), content).unwrap();
        }
    }
}

fn survivors(loss: Loss, pending: &[Change], random: &mut Random) -> Vec<Change> {
    match loss {
        Loss::Everything => Vec::new(),
        Loss::AllButABeginning => pending[..random.below(pending.len() + 1)].to_vec(),
        Loss::AnySubset => pending.iter().filter(|_| random.below(2) == 0).cloned().collect(),
        Loss::AnySectors => pending.iter().flat_map(Change::sectors).filter(|_| random.below(2) == 0).collect(),
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                let end = at + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Truncate(length) => content.resize(*length, 0),
        }
    }

    fn sectors(&self) -> Vec<Self> {
        const SECTOR: usize = 512;
        match self {
            Self::Write(at, bytes) => (*at..)
                .step_by(SECTOR)
                .zip(bytes.chunks(SECTOR))
                .map(|(at, bytes)| Self::Write(at, bytes.to_vec()))
                .collect(),
            Self::Truncate(length) => vec![Self::Truncate(*length)],
        }
    }
}

/// Numbers that a seed determines (splitmix64).
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).unwrap()).unwrap()
    }
}
