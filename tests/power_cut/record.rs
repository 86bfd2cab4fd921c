//! Reads strace's record of a process.

use std::collections::HashMap;
use std::path::Path;

use super::disk::Op;

/// The calls that change files or make them durable.
pub(super) const CALLS: &str = "openat,write,pwrite64,ftruncate,fsync,fdatasync,unlink,rename";

/// The file the process acknowledges in, one number a line.
pub(super) const ACKNOWLEDGED: &str = "acknowledged";

/// What a record says about the files of `folder`.
///
/// # Panics
/// When it says something that this reader does not understand.
pub(super) fn read(record: &Path, folder: &Path) -> Vec<Op> {
    let text = std::fs::read_to_string(record).unwrap();
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    let mut ops = Vec::new();
    for line in text.lines() {
        let (process, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start();
        let whole;
        let call = if let Some(begun) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(process, begun);
            continue;
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            // A call counts when it returns.
            whole = format!("{}{end}", unfinished.remove(process).unwrap_or_default());
            &whole
        } else {
            rest
        };
        ops.extend(Call::parse(call).and_then(|call| call.op(folder)));
    }
    ops
}

struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
    returned: i64,
}

impl<'a> Call<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (name, rest) = text.split_once('(')?;
        let (arguments, returned) = rest.rsplit_once(" = ")?;
        let arguments = arguments.trim_end().strip_suffix(')')?;
        let number = returned.split([' ', '<']).next()?;
        Some(Self { name, arguments, returned: number.parse().ok()? })
    }

    fn op(&self, folder: &Path) -> Option<Op> {
        let failed = self.returned < 0;
        match self.name {
            "openat" => {
                let path = decoded(self.arguments.split_once('"')?.1.split_once('"')?.0);
                let created = self.arguments.contains("O_CREAT") && !failed;
                Some(Op::Create(file(&path, folder)?)).filter(|_| created)
            }
            "unlink" | "rename" if failed => None,
            "unlink" => Some(Op::Unlink(file(&decoded(self.arguments.split('"').nth(1)?), folder)?)),
            "rename" => {
                let mut paths = self.arguments.split('"').skip(1).step_by(2).map(decoded);
                Some(Op::Rename(file(&paths.next()?, folder)?, file(&paths.next()?, folder)?))
            }
            _ => self.on_descriptor(folder, failed),
        }
    }

    /// `7<path>, …`: what is done to an open file.
    fn on_descriptor(&self, folder: &Path, failed: bool) -> Option<Op> {
        let (path, rest) = self.arguments.split_once('<')?.1.split_once('>')?;
        let path = decoded(path);
        let sync = self.name == "fsync" || self.name == "fdatasync";
        if sync && Path::new(std::str::from_utf8(&path).ok()?) == folder {
            return Some(if failed { Op::SyncFolderFailed } else { Op::SyncFolder });
        }
        let file = file(&path, folder)?;
        if sync {
            return Some(if failed { Op::SyncFailed(file) } else { Op::Sync(file) });
        }
        if failed {
            return None;
        }
        let quoted = || decoded(rest.split('"').nth(1).unwrap_or_default());
        match self.name {
            "write" if file == ACKNOWLEDGED => {
                let number = String::from_utf8(quoted()).ok()?;
                Some(Op::Acknowledged(number.trim().parse().ok()?))
            }
            "pwrite64" => {
                let at = rest.rsplit_once(", ")?.1.parse().ok()?;
                let mut bytes = quoted();
                assert_eq!(bytes.len(), usize::try_from(self.returned).unwrap(), "strace cut a write off");
                bytes.truncate(usize::try_from(self.returned).unwrap());
                Some(Op::Write { file, at, bytes })
            }
            "ftruncate" => Some(Op::Truncate { file, length: rest.rsplit_once(", ")?.1.parse().ok()? }),
            // The lock file is written by nobody, everything else through `pwrite64`.
            other => panic!("a call this model does not know: {other}({})", self.arguments.len()),
        }
    }
}

/// The name of a file of ours, if the path is one. Shared memory is rebuilt at every opening: it is on no disk.
fn file(path: &[u8], folder: &Path) -> Option<String> {
    let path = Path::new(std::str::from_utf8(path).ok()?);
    let name = path.strip_prefix(folder).ok()?.to_str()?;
    (!name.is_empty() && !name.ends_with("-shm")).then(|| name.to_owned())
}

/// `\x61\x62` is `ab`; text that is not coded is itself.
fn decoded(text: &str) -> Vec<u8> {
    if !text.starts_with("\\x") {
        return text.as_bytes().to_vec();
    }
    text.split("\\x").skip(1).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}
