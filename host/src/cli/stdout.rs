//! Standard output for data. Unlike a diagnostic, data that cannot be written is lost, so every failure is an error.

use std::fs::File;
use std::io::{self, Write};

/// Standard output without a buffer. The standard library's own reports success if the descriptor is not writable.
#[derive(Debug)]
pub(crate) struct Stdout {
    #[cfg(unix)]
    file: File,
}

impl Stdout {
    /// Duplicates the current standard output.
    pub(crate) fn open() -> io::Result<Stdout> {
        #[cfg(unix)]
        {
            use std::os::fd::AsFd;
            Ok(Stdout { file: File::from(io::stdout().as_fd().try_clone_to_owned()?) })
        }
        #[cfg(not(unix))]
        Ok(Stdout {})
    }
}

#[cfg(unix)]
impl Stdout {
    /// Waits until more can be written.
    fn wait(&self) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(unix)]
impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                // Another process that shares the pipe may have made it non-blocking. A slow reader is waited for all the same.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait()?,
                written => return written,
            }
        }
    }

    /// Fails if standard output is a file that has been removed, as nothing that was written to it can be reached any
    /// more.
    fn flush(&mut self) -> io::Result<()> {
        let found = self.file.metadata()?;
        if found.is_file() && std::os::unix::fs::MetadataExt::nlink(&found) == 0 {
            return Err(io::Error::other("the file was removed during the run"));
        }
        Ok(())
    }
}

#[cfg(not(unix))]
impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Standard output and standard error, for comparison with other files.
pub(crate) fn files() -> [Option<File>; 2] {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        let own = [io::stdout().as_fd().try_clone_to_owned(), io::stderr().as_fd().try_clone_to_owned()];
        own.map(|own| own.ok().map(File::from))
    }
    #[cfg(not(unix))]
    [None, None]
}
