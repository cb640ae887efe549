//! What [`Disk`] and [`File`] promise.

use std::{io::ErrorKind, path::Path};

use tempfile::TempDir;

use super::{disk_folder, on_all_backends};
use crate::{AlignedBuffer, Disk, File, OpenMode, Runtime, SECTOR_BYTES};

on_all_backends!(
    what_is_written_is_read_back,
    reading_stops_at_the_end,
    creating_refuses_what_exists,
    unaligned_writes_are_refused_and_give_the_bytes_back,
    allocating_sets_the_length_and_zeros,
    names_are_listed_renamed_and_removed,
    errors_name_the_file,
    writes_in_flight_together_all_arrive,
);

const SECTOR: u64 = SECTOR_BYTES as u64;

fn folder() -> TempDir {
    tempfile::tempdir_in(disk_folder()).unwrap()
}

fn pattern(bytes: usize, seed: usize) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::with_capacity(bytes);
    buffer.extend((0..bytes).map(|at| u8::try_from((at * 31 + seed * 7 + at / 4096) % 256).unwrap()));
    buffer
}

async fn write(file: &impl File, buffer: AlignedBuffer, offset: u64) -> AlignedBuffer {
    let (written, buffer) = file.write_at(buffer, offset).await;
    written.unwrap();
    buffer
}

async fn read(file: &impl File, bytes: usize, offset: u64) -> AlignedBuffer {
    let (count, mut buffer) = file.read_at(AlignedBuffer::zeroed(bytes), offset).await;
    buffer.truncate(count.unwrap());
    buffer
}

async fn what_is_written_is_read_back(runtime: impl Runtime) {
    let folder = folder();
    for mode in [OpenMode::Create, OpenMode::CreateDurable] {
        let path = folder.path().join(format!("{mode:?}"));
        let file = runtime.disk().open(&path, mode).await.unwrap();
        let large = write(&file, pattern(9 * SECTOR_BYTES, 1), SECTOR).await;
        assert_eq!(large, pattern(9 * SECTOR_BYTES, 1), "the buffer comes back");
        write(&file, pattern(SECTOR_BYTES, 2), 0).await;
        write(&file, AlignedBuffer::new(), 0).await;
        file.sync().await.unwrap();
        runtime.disk().sync_directory(folder.path()).await.unwrap();
        assert_eq!(file.length().await.unwrap(), 10 * SECTOR);
        assert_eq!(read(&file, 9 * SECTOR_BYTES, SECTOR).await, large, "through the same handle");

        let reopened = runtime.disk().open(&path, OpenMode::Read).await.unwrap();
        assert_eq!(read(&reopened, SECTOR_BYTES, 0).await, pattern(SECTOR_BYTES, 2));
        assert_eq!(read(&reopened, 9 * SECTOR_BYTES, SECTOR).await, large);
    }
}

async fn reading_stops_at_the_end(runtime: impl Runtime) {
    let folder = folder();
    for mode in [OpenMode::Create, OpenMode::CreateDurable] {
        let path = folder.path().join(format!("{mode:?}"));
        let file = runtime.disk().open(&path, mode).await.unwrap();
        let content = write(&file, pattern(2 * SECTOR_BYTES, 3), 0).await;
        let reopened = runtime.disk().open(&path, OpenMode::Read).await.unwrap();
        for (bytes, offset) in
            [(100, 5), (3 * SECTOR_BYTES, 0), (5000, 4000), (SECTOR_BYTES, 2 * SECTOR), (10, 100 * SECTOR)]
        {
            let start = usize::try_from(offset).unwrap().min(content.len());
            let expected = &content[start..(start + bytes).min(content.len())];
            assert_eq!(read(&file, bytes, offset).await.as_slice(), expected, "{bytes} bytes at {offset}");
            assert_eq!(
                read(&reopened, bytes, offset).await.as_slice(),
                expected,
                "{bytes} bytes at {offset}, reopened"
            );
        }
    }
}

async fn creating_refuses_what_exists(runtime: impl Runtime) {
    let folder = folder();
    let path = folder.path().join("file");
    let disk = runtime.disk();
    assert_eq!(disk.open(&path, OpenMode::Read).await.err().unwrap().kind(), ErrorKind::NotFound);
    drop(disk.open(&path, OpenMode::Create).await.unwrap());
    for mode in [OpenMode::Create, OpenMode::CreateDurable] {
        assert_eq!(disk.open(&path, mode).await.err().unwrap().kind(), ErrorKind::AlreadyExists);
    }
}

async fn unaligned_writes_are_refused_and_give_the_bytes_back(runtime: impl Runtime) {
    let folder = folder();
    for mode in [OpenMode::Create, OpenMode::CreateDurable] {
        let file = runtime.disk().open(&folder.path().join(format!("{mode:?}")), mode).await.unwrap();
        for (bytes, offset) in [(100, 0), (SECTOR_BYTES, 10)] {
            let (written, buffer) = file.write_at(pattern(bytes, 4), offset).await;
            let error = written.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            let expected = format!("writing {bytes} bytes at offset {offset} of {}/", folder.path().display());
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert_eq!(buffer, pattern(bytes, 4));
        }
        assert_eq!(file.length().await.unwrap(), 0);
    }
}

async fn allocating_sets_the_length_and_zeros(runtime: impl Runtime) {
    let folder = folder();
    for mode in [OpenMode::Create, OpenMode::CreateDurable] {
        let file = runtime.disk().open(&folder.path().join(format!("{mode:?}")), mode).await.unwrap();
        let bytes = (1 << 20) + 3 * SECTOR;
        file.allocate(bytes).await.unwrap();
        assert_eq!(file.length().await.unwrap(), bytes);
        write(&file, pattern(SECTOR_BYTES, 5), SECTOR).await;
        assert_eq!(file.length().await.unwrap(), bytes, "a write inside changes no length");
        let content = read(&file, usize::try_from(bytes).unwrap(), 0).await;
        assert_eq!(&content[SECTOR_BYTES..2 * SECTOR_BYTES], pattern(SECTOR_BYTES, 5).as_slice());
        let outside = content[..SECTOR_BYTES].iter().chain(&content[2 * SECTOR_BYTES..]);
        assert!(outside.copied().all(|byte| byte == 0));
    }
}

async fn names_are_listed_renamed_and_removed(runtime: impl Runtime) {
    let folder = folder();
    let disk = runtime.disk();
    let inner = folder.path().join("inner");
    disk.create_directory(&inner).await.unwrap();
    disk.create_directory(&inner).await.unwrap();
    for name in ["b", "c", "a"] {
        drop(disk.open(&inner.join(name), OpenMode::Create).await.unwrap());
    }
    assert_eq!(disk.list(&inner).await.unwrap(), ["a", "b", "c"]);
    disk.rename(&inner.join("a"), &inner.join("d")).await.unwrap();
    disk.rename(&inner.join("d"), &inner.join("c")).await.unwrap();
    disk.sync_directory(&inner).await.unwrap();
    assert_eq!(disk.list(&inner).await.unwrap(), ["b", "c"]);
    disk.remove(&inner.join("b")).await.unwrap();
    assert_eq!(disk.list(&inner).await.unwrap(), ["c"]);
    assert_eq!(disk.list(folder.path()).await.unwrap(), ["inner"]);
}

async fn errors_name_the_file(runtime: impl Runtime) {
    let disk = runtime.disk();
    let missing = Path::new("/nonexistent/place");
    let errors = [
        disk.open(missing, OpenMode::Read).await.err().unwrap(),
        disk.open(missing, OpenMode::CreateDurable).await.err().unwrap(),
        disk.create_directory(missing).await.unwrap_err(),
        disk.list(missing).await.unwrap_err(),
        disk.rename(missing, Path::new("/nonexistent/other")).await.unwrap_err(),
        disk.remove(missing).await.unwrap_err(),
        disk.sync_directory(missing).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("/nonexistent/place"), "{error}");
    }
}

async fn writes_in_flight_together_all_arrive(runtime: impl Runtime) {
    let folder = folder();
    let path = folder.path().join("file");
    let file = std::rc::Rc::new(runtime.disk().open(&path, OpenMode::CreateDurable).await.unwrap());
    let (done, mut finished) = crate::mailbox::channel(32);
    for number in 0..32 {
        let (file, done) = (std::rc::Rc::clone(&file), done.clone());
        runtime.spawn(async move {
            write(&*file, pattern(SECTOR_BYTES, number), number as u64 * SECTOR).await;
            done.try_send(number).unwrap();
        });
    }
    drop(done);
    let mut numbers = Vec::new();
    while finished.receive_all(&mut numbers).await.is_ok() {}
    assert_eq!(numbers.len(), 32);
    for number in 0..32 {
        assert_eq!(read(&*file, SECTOR_BYTES, number as u64 * SECTOR).await, pattern(SECTOR_BYTES, number));
    }
}
