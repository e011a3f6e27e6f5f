//! A disk that fails at will, for a process and its children: full, or failing its syncs.
//!
//! The faults come from a library that stands before the C library (`disk/disk.c`), so they need neither privileges nor a file system of their own, and work
//! for this project's binaries as for a PostgreSQL server.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const SOURCE: &str = include_str!("disk/disk.c");

/// The faults of the processes that were started with [`Disk::env`].
#[derive(Debug)]
pub struct Disk(TempDir);

impl Disk {
    /// A disk without faults.
    ///
    /// # Errors
    /// If there is no C compiler, or no room for what it makes.
    pub fn new() -> io::Result<Self> {
        let disk = Self(TempDir::with_prefix("drystone-disk-")?);
        // A server runs as another user, who reads the plan and counts what failed.
        std::fs::set_permissions(disk.0.path(), PermissionsExt::from_mode(0o755))?;
        std::fs::write(disk.file("refused"), "")?;
        std::fs::set_permissions(disk.file("refused"), PermissionsExt::from_mode(0o666))?;
        let source = disk.file("disk.c");
        std::fs::write(&source, SOURCE)?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(disk.file("disk.so")).arg(source);
        let said = cc.output().map_err(|error| io::Error::new(error.kind(), format!("cc: {error}")))?;
        if said.status.success() {
            return Ok(disk);
        }
        Err(io::Error::other(String::from_utf8_lossy(&said.stderr).into_owned()))
    }

    /// The environment that puts a process and its children on this disk.
    #[must_use]
    pub fn env(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.file("disk.so")), ("DRYSTONE_DISK", self.0.path().to_owned())]
    }

    /// Has no more space for files whose path contains `part`: nothing that would lengthen them is written.
    ///
    /// # Errors
    /// If the plan cannot be written.
    pub fn fill(&self, part: &str) -> io::Result<()> {
        self.plan(&format!("full {part}\n"))
    }

    /// Fails to sync files whose path contains `part`, with an input/output error.
    ///
    /// # Errors
    /// If the plan cannot be written.
    pub fn fail_syncs(&self, part: &str) -> io::Result<()> {
        self.plan(&format!("sync {part}\n"))
    }

    /// Has no faults any more.
    ///
    /// # Errors
    /// If the plan cannot be removed.
    pub fn heal(&self) -> io::Result<()> {
        match std::fs::remove_file(self.file("plan")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// How many system calls have failed by its faults.
    #[must_use]
    pub fn refused(&self) -> u64 {
        std::fs::metadata(self.file("refused")).map_or(0, |file| file.len())
    }

    /// Renamed into place, so that no process reads half a plan.
    fn plan(&self, text: &str) -> io::Result<()> {
        std::fs::write(self.file("new"), text)?;
        std::fs::rename(self.file("new"), self.file("plan"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a process on this disk may add to a file and sync it.
    fn works(disk: &Disk, file: &Path) -> bool {
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=512", "count=1", "conv=fsync,notrunc", "oflag=append"]);
        dd.arg(format!("of={}", file.display())).envs(disk.env());
        dd.output().unwrap().status.success()
    }

    #[test]
    fn faults_meet_the_named_files_while_they_last() {
        let (disk, dir) = (Disk::new().unwrap(), TempDir::new().unwrap());
        let (met, other) = (dir.path().join("met.db"), dir.path().join("other"));
        assert!(works(&disk, &met) && works(&disk, &other));
        for fault in [Disk::fill, Disk::fail_syncs] {
            let before = disk.refused();
            fault(&disk, "met.db").unwrap();
            assert!(!works(&disk, &met) && works(&disk, &other));
            assert!(disk.refused() > before);
            disk.heal().unwrap();
            assert!(works(&disk, &met));
        }
    }

    #[test]
    fn a_full_disk_takes_what_lengthens_no_file() {
        let (disk, dir) = (Disk::new().unwrap(), TempDir::new().unwrap());
        let file = dir.path().join("file");
        std::fs::write(&file, [1; 512]).unwrap();
        disk.fill("file").unwrap();
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=512", "count=1", "conv=notrunc"]);
        let said = dd.arg(format!("of={}", file.display())).envs(disk.env()).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        assert_eq!(std::fs::read(&file).unwrap(), [0; 512]);
    }
}
