//! An archive's file: written under another name until it is whole, readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};

/// A file of std as a task reads or writes it. Nothing else runs on a command's runtime that a disk could keep waiting.
#[derive(Debug)]
pub(super) struct InPlace<T>(T);

/// A file that is not there under its name until it is whole; removed when it never was.
#[derive(Debug)]
pub(super) struct Draft {
    file: InPlace<BufWriter<File>>,
    draft: PathBuf,
    name: PathBuf,
}

impl Draft {
    /// Begins a file that must not be there yet.
    pub(super) fn create(name: &Path) -> io::Result<Self> {
        if name.exists() {
            return Err(io::Error::other("the file is there already; choose another name, or remove it"));
        }
        let mut draft = name.as_os_str().to_owned();
        draft.push(format!(".{}.part", std::process::id()));
        let draft = PathBuf::from(draft);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        Ok(Self { file: InPlace(BufWriter::new(file)), draft, name: name.to_owned() })
    }

    /// Where to write.
    pub(super) fn writer(&mut self) -> &mut InPlace<BufWriter<File>> {
        &mut self.file
    }

    /// Makes the file durable and gives it its name, unless something has come to that name meanwhile.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.0.flush()?;
        self.file.0.get_ref().sync_all()?;
        fs::hard_link(&self.draft, &self.name)?;
        let dir = self.name.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.draft) {
            eprintln!("{} stays: {error}", self.draft.display());
        }
    }
}

/// Opens an archive to read it.
pub(super) fn open(path: &Path) -> io::Result<InPlace<BufReader<File>>> {
    Ok(InPlace(BufReader::with_capacity(64 * 1024, File::open(path)?)))
}

impl<T: Write + Unpin> AsyncWrite for InPlace<T> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(data))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl<T: Read + Unpin> AsyncRead for InPlace<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = self.0.read(to.initialize_unfilled())?;
        to.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl<T: BufRead + Unpin> AsyncBufRead for InPlace<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Poll::Ready(self.get_mut().0.fill_buf())
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.0.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("acme.archive");
        let mut draft = Draft::create(&name).unwrap();
        draft.writer().write_all(b"half").await.unwrap();
        assert!(!name.exists());
        drop(draft);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "what was begun is gone");
        let mut draft = Draft::create(&name).unwrap();
        draft.writer().write_all(b"whole").await.unwrap();
        draft.finish().unwrap();
        assert_eq!(
            (fs::read(&name).unwrap(), fs::metadata(&name).unwrap().mode() & 0o777),
            (b"whole".to_vec(), 0o600)
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "under its own name only");
        assert!(Draft::create(&name).unwrap_err().to_string().contains("there already"));
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("acme.archive");
        let draft = Draft::create(&name).unwrap();
        fs::write(&name, "of somebody else").unwrap();
        assert!(draft.finish().is_err());
        assert_eq!(fs::read_to_string(&name).unwrap(), "of somebody else");
    }
}
