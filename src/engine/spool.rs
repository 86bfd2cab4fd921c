//! The spool: settlements and releases that could not reach the store, on a disk of the process's own until they do.
//!
//! A folder holds one file for each ledger of each process that wrote to it, locked while the process lives. A file is
//! JSON Lines, each behind a checksum: what was spooled, and the numbers of what has landed since. Its name begins with
//! the ledger's: accounts of the same name are another's in another ledger. A process that starts takes over its ledger's
//! files of those that died. What the ledger refuses when it is played goes to `dead-letters.jsonl`, and blocks nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::kernel::{Action, Command};
use crate::model::{AccountId, Amount, HoldId, LedgerId, Measured, Metadata, Terms};
use crate::telemetry;

/// The spool of a ledger in this process.
#[derive(Debug)]
pub(crate) struct Spool {
    folder: PathBuf,
    ledger: LedgerId,
    bytes_max: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    bytes: u64,
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// What waits for each bucket, but for what was refused and not put aside because the letter could not be written: that
    /// is left to the next start.
    queues: BTreeMap<u16, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Waiting {
    bucket: u16,
    command: Arc<Command>,
    since: Instant,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Settle {
        number: u64,
        account: AccountId,
        hold: HoldId,
        cost: Amount,
        tokens: u64,
        evidence: Option<Vec<u8>>,
        or_debit: Option<Terms>,
        above_ceiling: bool,
        metadata: Option<Vec<u8>>,
    },
    Release {
        number: u64,
        account: AccountId,
        hold: HoldId,
        waive: bool,
    },
    Landed {
        number: u64,
    },
}

const DEAD_LETTERS: &str = "dead-letters.jsonl";

impl Spool {
    /// Opens a ledger's spool in a folder, and takes over what processes left there for it that are gone.
    pub(crate) fn open(
        folder: &Path,
        ledger: LedgerId,
        bytes_max: u64,
        bucket_of: impl Fn(&AccountId) -> u16,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut names: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        names.sort_by_key(fs::DirEntry::file_name);
        let mut left = Vec::new();
        for entry in names {
            if is_of(ledger, &entry.path()) {
                left.extend(take_over(&entry.path())?.map(|(file, commands)| (entry.path(), file, commands)));
            }
        }
        let file = create(folder, ledger)?;
        // Before anything is taken out of other files, and before anybody is answered that something is in this one.
        sync(folder)?;
        let inner = Inner { file, bytes: 0, next: 1, waiting: BTreeMap::new(), queues: BTreeMap::new() };
        let spool = Self { folder: folder.to_path_buf(), ledger, bytes_max, inner: Mutex::new(inner) };
        for (path, file, commands) in left {
            let commands = commands.into_iter().map(|command| (bucket_of(command.account()), command));
            spool.append(commands.collect(), u64::MAX)?;
            // What it held is safe in the new file; it stays locked until it is gone.
            remove(&path)?;
            drop(file);
        }
        sync(folder)?;
        Ok(spool)
    }

    /// Whether a command may wait in a spool: the others are refused, since nothing was consumed yet.
    pub(crate) fn takes(command: &Command) -> bool {
        matches!(command.action(), Action::Settle { .. } | Action::Release { .. })
    }

    /// Writes commands to a bucket down, durably: all of them or none. An error leaves nothing behind. Answers their
    /// numbers.
    pub(crate) fn put(&self, bucket: u16, commands: &[Arc<Command>]) -> io::Result<Vec<u64>> {
        self.append(commands.iter().map(|command| (bucket, Arc::clone(command))).collect(), self.bytes_max)
    }

    /// What waits for a bucket, in the order it was written, at most `limit`. It looks at no others.
    pub(crate) fn waiting(&self, bucket: u16, limit: usize) -> Vec<(u64, Arc<Command>)> {
        let inner = self.inner();
        inner.tell();
        let numbers = inner.queues.get(&bucket).into_iter().flatten().take(limit);
        numbers.filter_map(|number| Some((*number, Arc::clone(&inner.waiting.get(number)?.command)))).collect()
    }

    /// Leaves a command to another bucket, in which its account turned out to be.
    pub(crate) fn hand_over(&self, number: u64, bucket: u16) {
        let mut inner = self.inner();
        inner.leave_queue(number);
        if let Some(waiting) = inner.waiting.get_mut(&number) {
            waiting.bucket = bucket;
            inner.queues.entry(bucket).or_default().insert(number);
        }
    }

    /// Notes that a command has landed. Not synced: landing again changes nothing.
    pub(crate) fn landed(&self, number: u64) {
        let mut inner = self.inner();
        inner.leave_queue(number);
        inner.waiting.remove(&number);
        let noted = if inner.waiting.is_empty() {
            inner.cut_back(0);
            Ok(())
        } else {
            inner.write(&encode(&[Line::Landed { number }]))
        };
        if let Err(error) = noted {
            let written = inner.bytes;
            inner.cut_back(written);
            tracing::warn!(%error, "spool cannot note what has landed; it will land once more");
        }
        inner.tell();
    }

    /// Puts a command aside that the ledger refused, for an operator. Once: one that was handed over may be played twice.
    pub(crate) fn dead(&self, number: u64, command: &Command, why: &str) {
        if !self.inner().waiting.contains_key(&number) {
            return;
        }
        metrics::counter!(telemetry::SPOOL_DEAD).increment(1);
        tracing::error!(account = %command.account(), command = command.action().name(), why, "spooled command was refused");
        let written = line(number, command).map_or(Ok(()), |line| self.write_dead_letter(&line, why));
        match written {
            Ok(()) => self.landed(number),
            Err(error) => {
                tracing::error!(%error, "dead letter cannot be written, it stays in the spool until the next start");
                self.inner().leave_queue(number);
            }
        }
    }

    fn write_dead_letter(&self, line: &Line, why: &str) -> io::Result<()> {
        let letter = serde_json::json!({ "ledger": self.ledger.to_string(), "refused": why, "command": line });
        let mut file = private().read(true).write(true).open(self.folder.join(DEAD_LETTERS))?;
        // Others that share the folder write here, too.
        file.lock()?;
        let before = file.seek(io::SeekFrom::End(0))?;
        // A power cut may have left half a letter, whose command is in the spool still.
        let text = if ends_a_line(&mut file)? { format!("{letter}\n") } else { format!("\n{letter}\n") };
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| sync(&self.folder));
        if written.is_err() {
            let _ = file.set_len(before);
        }
        written
    }

    fn append(&self, commands: Vec<(u16, Arc<Command>)>, bytes_max: u64) -> io::Result<Vec<u64>> {
        let mut inner = self.inner();
        let numbered: Vec<_> = (inner.next..).zip(commands).collect();
        let lines: Vec<_> = numbered.iter().filter_map(|(number, (_, command))| line(*number, command)).collect();
        let bytes = encode(&lines);
        if inner.bytes.saturating_add(count(bytes.len())) > bytes_max {
            return Err(io::Error::new(io::ErrorKind::StorageFull, format!("spool is full: bytes_max={bytes_max}")));
        }
        let before = inner.bytes;
        if let Err(error) = inner.write(&bytes).and_then(|()| inner.file.sync_data()) {
            inner.cut_back(before);
            return Err(error);
        }
        inner.next = inner.next.saturating_add(count(numbered.len()));
        metrics::counter!(telemetry::SPOOLED).increment(count(numbered.len()));
        let since = Instant::now();
        let numbers = numbered.iter().map(|(number, _)| *number).collect();
        for (number, (bucket, command)) in numbered {
            inner.queues.entry(bucket).or_default().insert(number);
            inner.waiting.insert(number, Waiting { bucket, command, since });
        }
        inner.tell();
        Ok(numbers)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

impl Inner {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.bytes = self.bytes.saturating_add(count(bytes.len()));
        Ok(())
    }

    /// Takes back what was written beyond `bytes`.
    fn cut_back(&mut self, bytes: u64) {
        let _ = self.file.set_len(bytes).and_then(|()| self.file.seek(io::SeekFrom::Start(bytes)));
        self.bytes = bytes;
    }

    /// Sees to it that a command is not played again.
    fn leave_queue(&mut self, number: u64) {
        let bucket = self.waiting.get(&number).map(|waiting| waiting.bucket);
        if let Some(queue) = bucket.and_then(|bucket| self.queues.get_mut(&bucket)) {
            queue.remove(&number);
        }
    }

    fn tell(&self) {
        let age = self.waiting.values().next().map_or(Duration::ZERO, |waiting| waiting.since.elapsed());
        metrics::gauge!(telemetry::SPOOL_DEPTH).set(u32::try_from(self.waiting.len()).unwrap_or(u32::MAX));
        metrics::gauge!(telemetry::SPOOL_AGE).set(u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Sees to it that the files made in a folder are found in it after a power cut.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Whether nothing or a line's end is before the place in a file.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.stream_position()? == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek_relative(-1)?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Whether this is the name of a file of a ledger, this process's or another's.
fn is_of(ledger: LedgerId, path: &Path) -> bool {
    let name = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.split_once('-'));
    name.is_some_and(|(of, _)| of == ledger.to_string()) && path.extension().is_some_and(|ending| ending == "spool")
}

/// A locked file of a ledger and of this process's own.
fn create(folder: &Path, ledger: LedgerId) -> io::Result<File> {
    loop {
        let name = format!("{ledger}-{:032x}.spool", u128::from_be_bytes(crate::random::bytes()?));
        let path = folder.join(name);
        let file = private().write(true).create_new(true).open(&path)?;
        match file.try_lock() {
            Ok(()) if path.try_exists()? => return Ok(file),
            // A process that starts took it for a dead one's: it has removed it or will.
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The commands of a file whose process is gone; none while it lives.
fn take_over(path: &Path) -> io::Result<Option<(File, Vec<Arc<Command>>)>> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        // Another process that starts was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) if !path.try_exists()? => return Ok(None),
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut waiting = BTreeMap::new();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(text) = lines.next() {
        match decode(text) {
            Some(Line::Landed { number }) => {
                waiting.remove(&number);
            }
            Some(line) => waiting.extend(command(line)),
            // The process died while it wrote the last line, and answered nobody.
            None if lines.peek().is_none() => {}
            None => {
                let message = format!("spool file is damaged, mend or move it: {}", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
    }
    Ok(Some((file, waiting.into_values().collect())))
}

fn line(number: u64, command: &Command) -> Option<Line> {
    let account = command.account().clone();
    match command.action() {
        Action::Settle { hold, measured, or_debit, above_ceiling, metadata } => Some(Line::Settle {
            number,
            account,
            hold: hold.clone(),
            cost: measured.quantity.cost,
            tokens: measured.quantity.tokens,
            evidence: measured.evidence.as_ref().map(|evidence| evidence.to_vec()),
            or_debit: or_debit.as_deref().cloned(),
            above_ceiling: *above_ceiling,
            metadata: metadata.as_ref().map(|metadata| metadata.as_bytes().to_vec()),
        }),
        Action::Release { hold, waive } => Some(Line::Release { number, account, hold: hold.clone(), waive: *waive }),
        _ => None,
    }
}

fn command(line: Line) -> Option<(u64, Arc<Command>)> {
    let (number, account, action) = match line {
        Line::Settle { number, account, hold, cost, tokens, evidence, or_debit, above_ceiling, metadata } => {
            let mut measured = Measured::new(cost, tokens);
            measured.evidence = evidence.map(Arc::from);
            let metadata = metadata.as_deref().map(Metadata::from_stored);
            let or_debit = or_debit.map(Arc::new);
            (number, account, Action::Settle { hold, measured, or_debit, above_ceiling, metadata })
        }
        Line::Release { number, account, hold, waive } => (number, account, Action::Release { hold, waive }),
        Line::Landed { .. } => return None,
    };
    Some((number, Arc::new(Command::new(account, action))))
}

fn encode(lines: &[Line]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        // Ids, numbers and bytes: there is nothing here that JSON could refuse.
        let json = serde_json::to_string(line).unwrap_or_default();
        bytes.extend_from_slice(checksum(json.as_bytes()).as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(json.as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

fn decode(text: &[u8]) -> Option<Line> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let (sum, json) = text.split_once(' ')?;
    (checksum(json.as_bytes()) == sum).then(|| serde_json::from_str(json).ok())?
}

/// The first 8 bytes of SHA-256.
fn checksum(bytes: &[u8]) -> String {
    let first = Sha256::digest(bytes).first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(account: &str, hold: &str) -> Arc<Command> {
        let hold = HoldId::first(hold.parse().unwrap());
        Arc::new(Command::new(account.parse().unwrap(), Action::Release { hold, waive: false }))
    }

    /// Bob is in bucket 1, everybody else in bucket 0.
    fn open(folder: &Path) -> Spool {
        Spool::open(folder, LedgerId([7; 16]), u64::MAX, |account| u16::from(account.as_str() == "bob")).unwrap()
    }

    fn holds(waiting: Vec<(u64, Arc<Command>)>) -> Vec<String> {
        waiting.iter().map(|(_, command)| command.action().hold().unwrap().request().to_string()).collect()
    }

    #[test]
    fn every_bucket_has_a_queue_of_its_own_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let spool = open(folder.path());
        spool.put(0, &[release("alice", "a1"), release("alice", "a2")]).unwrap();
        let numbers = spool.put(1, &[release("bob", "b1"), release("bob", "b2")]).unwrap();
        spool.put(0, &[release("alice", "a3")]).unwrap();
        assert_eq!(holds(spool.waiting(0, 2)), ["a1", "a2"]);
        assert_eq!(holds(spool.waiting(1, 9)), ["b1", "b2"]);
        assert!(spool.waiting(2, 9).is_empty());
        spool.landed(numbers[0]);
        assert_eq!(holds(spool.waiting(0, 9)), ["a1", "a2", "a3"]);
        assert_eq!(holds(spool.waiting(1, 9)), ["b2"]);

        // What is taken over from a process that is gone goes to its buckets, too.
        drop(spool);
        let spool = open(folder.path());
        assert_eq!(holds(spool.waiting(0, 9)), ["a1", "a2", "a3"]);
        let [(number, command)] = &spool.waiting(1, 9)[..] else { panic!("one waits") };
        spool.dead(*number, command, "in this test");
        spool.dead(*number, command, "once more");
        assert_eq!(fs::read_to_string(folder.path().join(DEAD_LETTERS)).unwrap().lines().count(), 1);
        assert!(spool.waiting(1, 9).is_empty());
        assert_eq!(holds(spool.waiting(0, 1)), ["a1"]);

        // What turns out to be another bucket's is played there, and nowhere else.
        let (number, _) = spool.waiting(0, 1).remove(0);
        spool.hand_over(number, 1);
        assert_eq!(
            (holds(spool.waiting(0, 9)), holds(spool.waiting(1, 9))),
            (vec!["a2".into(), "a3".into()], vec!["a1".into()])
        );
        spool.landed(number);
        spool.hand_over(number, 0);
        assert_eq!((spool.waiting(0, 9).len(), spool.waiting(1, 9).len()), (2, 0));
    }
}
