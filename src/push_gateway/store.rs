//! Groups on disk: a file each, written beside the old one and put in its place.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message;
use ring::digest;
use wire::exposition::families::{FamilyMessage, LabelPairMessage};

use super::{
    GroupingKey,
    groups::{Group, TimedFamily},
};

/// First bytes of a file, with the version of what follows: a checksum (SHA-256) of the message, and the message.
const MAGIC: &[u8; 8] = b"MRPUSH01";
const END: &str = "group";
const DAMAGED: &str = "damaged";

#[derive(Debug, thiserror::Error)]
#[error("{path}: {doing}: {source}")]
pub(crate) struct StoreError {
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

#[derive(Clone, PartialEq, Message)]
struct GroupMessage {
    #[prost(message, repeated, tag = "1")]
    key: Vec<LabelPairMessage>,
    #[prost(message, repeated, tag = "2")]
    families: Vec<TimedMessage>,
    #[prost(int64, tag = "3")]
    push_time_ms: i64,
    #[prost(int64, tag = "4")]
    failure_time_ms: i64,
    #[prost(uint64, optional, tag = "5")]
    time_to_live_ms: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct TimedMessage {
    #[prost(int64, tag = "1")]
    time_ms: i64,
    #[prost(message, optional, tag = "2")]
    family: Option<FamilyMessage>,
}

impl From<&Group> for GroupMessage {
    fn from(group: &Group) -> Self {
        let pair = |(name, value): (&String, &String)| LabelPairMessage { name: name.clone(), value: value.clone() };
        let timed = |timed: &TimedFamily| TimedMessage { time_ms: timed.time_ms, family: Some(timed.family.clone()) };
        Self {
            key: group.key.0.iter().map(pair).collect(),
            families: group.families.values().map(timed).collect(),
            push_time_ms: group.push_time_ms,
            failure_time_ms: group.failure_time_ms,
            time_to_live_ms: group.time_to_live.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl From<GroupMessage> for Group {
    fn from(message: GroupMessage) -> Self {
        let timed = |TimedMessage { time_ms, family }: TimedMessage| {
            let family = family.unwrap_or_default();
            (family.name.clone(), TimedFamily { time_ms, family })
        };
        Self {
            key: GroupingKey(message.key.into_iter().map(|pair| (pair.name, pair.value)).collect()),
            families: message.families.into_iter().map(timed).collect(),
            push_time_ms: message.push_time_ms,
            failure_time_ms: message.failure_time_ms,
            time_to_live: message.time_to_live_ms.map(Duration::from_millis),
        }
    }
}

pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let created = fs::create_dir_all(folder);
        created.map_err(|source| StoreError { path: folder.to_owned(), doing: "create the folder", source })?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// All groups. A file that is damaged is put aside, and named in the log.
    pub(super) fn read_all(&self) -> Result<Vec<Group>, StoreError> {
        let failed = |doing| move |source| StoreError { path: self.folder.clone(), doing, source };
        let mut groups = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed("list"))? {
            let path = entry.map_err(failed("list"))?.path();
            if path.extension().is_none_or(|end| end != END) {
                continue;
            }
            let bytes = fs::read(&path).map_err(|source| StoreError { path: path.clone(), doing: "read", source })?;
            match decoded(&bytes) {
                Some(group) => groups.push(group),
                None => {
                    let aside = path.with_extension(DAMAGED);
                    tracing::error!(file = %path.display(), aside = %aside.display(), "a group of pushed metrics is damaged and put aside");
                    fs::rename(&path, &aside).map_err(|source| StoreError { path, doing: "put aside", source })?;
                }
            }
        }
        Ok(groups)
    }

    /// Returns when the group is on disk.
    pub(super) fn write(&self, group: &Group) -> Result<(), StoreError> {
        let path = self.path(&group.key);
        let beside = path.with_extension("new");
        let failed = |doing| {
            let path = beside.clone();
            move |source| StoreError { path, doing, source }
        };
        let message = GroupMessage::from(group).encode_to_vec();
        let mut file = fs::File::create(&beside).map_err(failed("create"))?;
        let bytes = [MAGIC, digest::digest(&digest::SHA256, &message).as_ref(), &message].concat();
        file.write_all(&bytes).map_err(failed("write"))?;
        file.sync_all().map_err(failed("sync"))?;
        fs::rename(&beside, &path).map_err(failed("rename"))?;
        self.sync()
    }

    pub(super) fn remove(&self, key: &GroupingKey) -> Result<(), StoreError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError { path, doing: "remove", source })
            }
            _ => self.sync(),
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        let synced = fs::File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| StoreError { path: self.folder.clone(), doing: "sync the folder", source })
    }

    fn path(&self, key: &GroupingKey) -> PathBuf {
        let name = digest::digest(&digest::SHA256, key.to_string().as_bytes());
        let name: String = name.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{name}.{END}"))
    }
}

fn decoded(bytes: &[u8]) -> Option<Group> {
    let (checksum, message) = bytes.strip_prefix(MAGIC)?.split_at_checked(digest::SHA256_OUTPUT_LEN)?;
    if digest::digest(&digest::SHA256, message).as_ref() != checksum {
        return None;
    }
    GroupMessage::decode(message).ok().map(Group::from)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn groups_come_back_and_damage_is_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let key = |job: &str| GroupingKey(BTreeMap::from([("job".to_owned(), job.to_owned())]));
        let family = FamilyMessage { name: "a".to_owned(), ..FamilyMessage::default() };
        let mut group = Group::new(&key("x"));
        group.families.insert("a".to_owned(), TimedFamily { time_ms: 7, family });
        (group.push_time_ms, group.failure_time_ms) = (8, 9);
        group.time_to_live = Some(Duration::from_secs(3));
        store.write(&group).expect("on disk");
        store.write(&Group::new(&key("y"))).expect("on disk");
        store.remove(&key("y")).expect("it is gone");
        store.remove(&key("y")).expect("what is not there is gone");
        assert_eq!(store.read_all().expect("readable"), [group]);
        let path = store.path(&key("x"));
        let mut bytes = fs::read(&path).expect("a file");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&path, bytes).expect("a file");
        assert_eq!(store.read_all().expect("readable"), []);
        assert!(path.with_extension(DAMAGED).exists());
    }
}
