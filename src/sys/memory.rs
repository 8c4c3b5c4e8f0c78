//! Memory that outlives a process: sealed memfds, as a file of bytes or as a page of atomics.
#![allow(unsafe_code, reason = "mapping memory is what this file is for")]

use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    ptr,
    sync::atomic::AtomicU64,
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

/// Bytes of the length that goes before what is put into a file.
const LENGTH: usize = size_of::<usize>();

/// A file without a name that holds `content`, read by whoever inherits it.
pub fn file_of(name: &CStr, content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

/// All that is in such a file, from its start, whatever another process has read of it.
pub fn content_of(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut file = File::from(file);
    let mut content = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// The first bytes of such a file, `most` of them.
pub fn beginning_of(file: &OwnedFd, most: usize) -> io::Result<Vec<u8>> {
    let file = File::from(file.try_clone()?);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(most).min(most);
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// Has whoever inherits it read such a file from its start.
pub fn rewind(file: &OwnedFd) -> io::Result<()> {
    File::from(file.try_clone()?).rewind()
}

/// All bytes of a file, as long as this process lives. They are not to be trusted to stay the same, and if the file is cut meanwhile, to
/// read them ends the process: for one that does nothing else.
pub fn view(file: &File) -> io::Result<&'static [u8]> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let descriptor = file.as_raw_fd();
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
    let address = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, descriptor, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: so many bytes are mapped, for reading, and never unmapped.
    Ok(unsafe { std::slice::from_raw_parts(address.cast(), length) })
}

/// Lets such a file have nothing but `content`, for another process to [get](got).
pub fn put(file: &OwnedFd, content: &[u8]) -> io::Result<()> {
    let file = File::from(file.try_clone()?);
    file.set_len(0)?;
    file.write_all_at(content, LENGTH as u64)?;
    // Last, so that it is all there.
    file.write_all_at(&content.len().to_le_bytes(), 0)
}

/// What was last put into such a file; none if nothing was, or not all of it yet. It is an error if that is longer than `most` bytes.
pub fn got(file: &OwnedFd, most: usize) -> io::Result<Option<Vec<u8>>> {
    let file = File::from(file.try_clone()?);
    let mut length = [0; LENGTH];
    match file.read_exact_at(&mut length, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = usize::from_le_bytes(length);
    if length > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, LENGTH as u64)?;
    Ok((length > 0).then_some(content))
}

/// Words shared with every process that has mapped the same file. Never unmapped.
#[derive(Clone, Copy, Debug)]
pub struct Shared(&'static [AtomicU64]);

// === impl Shared ===

impl Shared {
    /// `words` zeros in a new file, whose size can then not change: reading past the end would be a SIGBUS.
    pub fn create(name: &CStr, words: usize) -> io::Result<(OwnedFd, Self)> {
        let file = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        nix::unistd::ftruncate(&file, (words * 8).try_into().map_err(io::Error::other)?)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        let shared = Self::map(&file, words)?;
        Ok((file, shared))
    }

    /// Maps an inherited file.
    pub fn open(file: &OwnedFd) -> io::Result<Self> {
        let length = File::from(file.try_clone()?).metadata()?.len();
        Self::map(file, usize::try_from(length / 8).map_err(io::Error::other)?)
    }

    /// The words.
    pub fn words(self) -> &'static [AtomicU64] {
        self.0
    }

    fn map(file: &impl AsFd, words: usize) -> io::Result<Self> {
        let length = words.checked_mul(8).filter(|&length| length > 0).ok_or(io::ErrorKind::InvalidInput)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let address = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, file.as_fd().as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the mapping is as long as the sealed file, page-aligned, initialised by the kernel, and never unmapped; other
        // processes change it under us, which is what atomics are for.
        Ok(Self(unsafe { std::slice::from_raw_parts(address.cast(), words) }))
    }
}
