//! The descriptors that a contract embeds, and the hash that tells two versions of it apart.

use std::collections::BTreeSet;

use drystone_contract::is_well_known_file;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DescriptorPool, FileDescriptor};
use sha2::{Digest, Sha256};

/// The files with all that they import, imports first.
pub(crate) fn closure(
    pool: &DescriptorPool,
    files: impl IntoIterator<Item = FileDescriptor>,
) -> Vec<FileDescriptor> {
    let mut wanted = BTreeSet::new();
    for file in files {
        collect(&file, &mut wanted);
    }
    pool.files().filter(|file| wanted.contains(file.name())).collect()
}

fn collect(file: &FileDescriptor, wanted: &mut BTreeSet<String>) {
    if wanted.insert(file.name().to_owned()) {
        file.dependencies().for_each(|import| collect(&import, wanted));
    }
}

/// An encoded `FileDescriptorSet`. Written by hand because the type of prost would drop the annotations.
pub(crate) fn encode(files: &[FileDescriptor]) -> Vec<u8> {
    const FILE: u32 = 1;
    let mut set = Vec::new();
    for file in files {
        let bytes = file.encode_to_vec();
        encode_key(FILE, WireType::LengthDelimited, &mut set);
        encode_varint(bytes.len() as u64, &mut set);
        set.extend_from_slice(&bytes);
    }
    set
}

/// The first eight bytes of SHA-256 over the files, without comments, positions and Drystone's annotations: the hash
/// changes with what travels and with nothing else.
pub(crate) fn hash(files: &[FileDescriptor]) -> u64 {
    let mut sha = Sha256::new();
    for file in files.iter().filter(|file| !is_well_known_file(file.name())) {
        let mut proto = file.file_descriptor_proto().clone();
        proto.source_code_info = None;
        let bytes = proto.encode_to_vec();
        sha.update((bytes.len() as u64).to_be_bytes());
        sha.update(&bytes);
    }
    let digest = sha.finalize();
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}
