//! The operations on a store. They block the calling thread, and give up after some retries.
//!
//! The requests run on separate threads, because callers may be inside or outside of a runtime.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientConfigKey, Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, RetryConfig,
};
use tokio::runtime::Runtime;

use super::address::{Address, Scheme};
use super::error::ObjectError;
use crate::name::{listed as listed_names, nearest};

/// A request that fails is repeated after 0.1 s, 0.2 s and so on, for about 13 s in all.
const RETRIES: usize = 7;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// No request is repeated after this time.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest time of one request, as the configuration of the store reads it.
const TIMEOUT: &str = "60 seconds";
const CONNECT: &str = "5 seconds";
/// Larger files are sent and read in parts of this size.
const PART: usize = 16 << 20;
/// The objects that are read at once.
const AT_ONCE: usize = 32;
/// The most objects that are listed instead of a missing one.
const NEIGHBOURS: usize = 5;

static RUNTIME: LazyLock<std::io::Result<Runtime>> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("objects").enable_all().build()
});

/// A folder of a bucket. The names of objects are relative to it.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    store: Arc<dyn ObjectStore>,
    folder: Address,
}

impl Bucket {
    /// Opens the folder at an address. Sends nothing.
    pub(crate) fn open(folder: &Address) -> Result<Bucket, ObjectError> {
        // This fails only if a provider is already installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = match folder.scheme {
            Scheme::S3 => amazon(&folder.bucket),
            Scheme::Google => google(&folder.bucket),
            Scheme::Azure => azure(&folder.bucket),
        };
        Ok(Bucket { store: store.map_err(|error| failed(folder, &error))?, folder: folder.clone() })
    }

    /// Writes an object unless it is there. Returns whether this call created it. After a reply that was lost it may
    /// return `false` although it did; then the object has these bytes.
    pub(crate) fn put_new(&self, name: &str, bytes: Vec<u8>) -> Result<bool, ObjectError> {
        let (store, key) = self.at(name)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match wait(async move { store.put_opts(&key, PutPayload::from(bytes), options).await }) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        let (store, key) = self.at(name)?;
        let done = wait(async move { store.put(&key, PutPayload::from(bytes)).await });
        done.map(drop).map_err(|error| self.failed(name, &error))
    }

    /// `None` if there is no such object.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Vec<u8>>, ObjectError> {
        let (store, key) = self.at(name)?;
        match wait(async move { store.get(&key).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    /// The objects with these names, several at once. All must be there.
    pub(crate) fn get_all(&self, names: &[String]) -> Result<Vec<Vec<u8>>, ObjectError> {
        let mut found = Vec::with_capacity(names.len());
        for names in names.chunks(AT_ONCE) {
            let places = names.iter().map(|name| self.at(name)).collect::<Result<Vec<_>, _>>()?;
            let reads = places.into_iter().map(|(store, key)| async move { store.get(&key).await?.bytes().await });
            let reads: Vec<_> = reads.collect();
            let read = wait(async move { try_join_all(reads).await });
            let failed = |error: Error| match &error {
                Error::NotFound { path, .. } => {
                    let gone = format!("the object `{}` was deleted meanwhile", self.folder.with_key(path));
                    ObjectError::new(gone, "run the command again")
                }
                _ => self.failed(&names[0], &error),
            };
            found.extend(read.map_err(failed)?.into_iter().map(Vec::from));
        }
        Ok(found)
    }

    /// The names of all objects below a folder, sorted. Empty for all of them.
    pub(crate) fn list(&self, folder: &str) -> Result<Vec<String>, ObjectError> {
        let (store, prefix) = self.at(folder)?;
        let listed = wait(async move {
            let found = store.list(Some(&prefix)).map_ok(|object| object.location.to_string());
            found.try_collect::<Vec<String>>().await
        });
        let keys = listed.map_err(|error| self.failed(folder, &error))?;
        let own = self.folder.key();
        let name = |key: &String| {
            let name = key.strip_prefix(own)?;
            Some(if own.is_empty() { name } else { name.strip_prefix('/')? }.to_owned())
        };
        let mut names: Vec<String> = keys.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// Deletes objects. Those that are not there are no error.
    pub(crate) fn delete(&self, names: &[String]) -> Result<(), ObjectError> {
        let keys = names.iter().map(|name| Ok(self.at(name)?.1)).collect::<Result<Vec<Key>, ObjectError>>()?;
        let store = self.store.clone();
        let deleted = wait(async move {
            let keys = futures_util::stream::iter(keys.into_iter().map(Ok)).boxed();
            let mut deleted = store.delete_stream(keys);
            while let Some(done) = deleted.next().await {
                match done {
                    Ok(_) | Err(Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        deleted.map_err(|error| self.failed("", &error))
    }

    /// Writes the file as an object, which appears whole or not at all. Returns the version of the object.
    pub(crate) fn put_file(&self, name: &str, file: &Path) -> Result<String, ObjectError> {
        let unread =
            |error: std::io::Error| ObjectError { message: format!("{}: {error}", file.display()), help: None };
        let length = std::fs::metadata(file).map_err(unread)?.len();
        let (store, key) = self.at(name)?;
        if length <= PART as u64 {
            let bytes = std::fs::read(file).map_err(unread)?;
            let put = wait(async move { store.put(&key, PutPayload::from(bytes)).await });
            return put.map(|put| put.e_tag.unwrap_or_default()).map_err(|error| self.failed(name, &error));
        }
        let failed = |error: Error| self.failed(name, &error);
        let mut upload = wait(async move { store.put_multipart(&key).await }).map_err(failed)?;
        let mut reader = File::open(file).map_err(unread)?;
        loop {
            let mut part = Vec::with_capacity(PART);
            (&mut reader).take(PART as u64).read_to_end(&mut part).map_err(unread)?;
            if part.is_empty() {
                break;
            }
            let sent = upload.put_part(PutPayload::from(part));
            if let Err(error) = wait(sent) {
                let _ = wait(async move { upload.abort().await });
                return Err(failed(error));
            }
        }
        let put = wait(async move { upload.complete().await }).map_err(failed)?;
        Ok(put.e_tag.unwrap_or_default())
    }

    /// Writes an object into a new file. Returns its version.
    pub(crate) fn get_file(&self, name: &str, mut file: &File) -> Result<String, ObjectError> {
        let object = self.head(name)?.ok_or_else(|| self.missing(name))?;
        let unwritten =
            |error: std::io::Error| ObjectError { message: format!("a copy of {name}: {error}"), help: None };
        let mut start = 0;
        loop {
            let (store, key) = self.at(name)?;
            let options = GetOptions { if_match: object.e_tag.clone(), ..GetOptions::default() };
            let end = object.size.min(start + PART as u64);
            let read = wait(async move {
                let range = (start < end).then(|| (start..end).into());
                store.get_opts(&key, GetOptions { range, ..options }).await?.bytes().await
            });
            let bytes = match read {
                Ok(bytes) => bytes,
                Err(Error::Precondition { .. }) => {
                    let message = format!("`{}` changed while it was read", self.folder.join(name));
                    return Err(ObjectError::new(message, "run the command again"));
                }
                Err(Error::NotFound { .. }) => return Err(self.missing(name)),
                Err(error) => return Err(self.failed(name, &error)),
            };
            file.write_all(&bytes).map_err(unwritten)?;
            start = end;
            if start >= object.size {
                return Ok(version(&object));
            }
        }
    }

    /// What changes when the object is replaced by different bytes. `None` if there is no such object.
    pub(crate) fn version(&self, name: &str) -> Result<Option<String>, ObjectError> {
        Ok(self.head(name)?.as_ref().map(version))
    }

    fn head(&self, name: &str) -> Result<Option<ObjectMeta>, ObjectError> {
        let (store, key) = self.at(name)?;
        match wait(async move { store.head(&key).await }) {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(name, &error)),
        }
    }

    /// Whether the bucket is there and answers. A bucket that may not be listed passes.
    pub(crate) fn check(&self) -> Result<(), ObjectError> {
        let (store, prefix) = self.at("")?;
        match wait(async move { store.list_with_delimiter(Some(&prefix)).await }) {
            Err(error) if !matches!(Meaning::of(&error), Meaning::Refused) => Err(self.failed("", &error)),
            _ => Ok(()),
        }
    }

    /// Why an object is not there: perhaps there is no such bucket. Otherwise names what the folder has.
    pub(crate) fn missing(&self, name: &str) -> ObjectError {
        let address = self.folder.join(name);
        let parent = address.folder();
        let (store, prefix) = (self.store.clone(), Key::parse(parent.key()).unwrap_or_default());
        let listed = match wait(async move { store.list_with_delimiter(Some(&prefix)).await }) {
            Ok(listed) => listed,
            Err(error) => return failed(&address, &error),
        };
        let names: Vec<&str> = listed.objects.iter().filter_map(|object| object.location.filename()).collect();
        let help = match (nearest(address.name(), names.iter().copied()), names.len()) {
            (Some(near), _) => format!("did you mean `{}`?", parent.join(near)),
            (None, 0) => format!("`{parent}` has no objects"),
            (None, 1..=NEIGHBOURS) => format!("`{parent}` has {}", listed_names(names.into_iter())),
            (None, _) => format!("looked in `{parent}`"),
        };
        ObjectError::new(format!("there is no object `{address}`"), help)
    }

    fn at(&self, name: &str) -> Result<(Arc<dyn ObjectStore>, Key), ObjectError> {
        let address = if name.is_empty() { self.folder.clone() } else { self.folder.join(name) };
        let key = Key::parse(address.key());
        Ok((self.store.clone(), key.map_err(|error| failed(&address, &error.into()))?))
    }

    fn failed(&self, name: &str, error: &Error) -> ObjectError {
        failed(&if name.is_empty() { self.folder.clone() } else { self.folder.join(name) }, error)
    }
}

fn version(object: &ObjectMeta) -> String {
    object.e_tag.clone().unwrap_or_else(|| format!("{} {}", object.size, object.last_modified))
}

fn retry() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() };
    RetryConfig { backoff, max_retries: RETRIES, retry_timeout: PATIENCE }
}

const LIMITS: [(ClientConfigKey, &str); 2] =
    [(ClientConfigKey::Timeout, TIMEOUT), (ClientConfigKey::ConnectTimeout, CONNECT)];

fn amazon(bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry());
    let limited = LIMITS
        .into_iter()
        .fold(builder, |builder, (key, value)| builder.with_config(AmazonS3ConfigKey::Client(key), value));
    Ok(Arc::new(limited.build()?))
}

fn google(bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry());
    let limited = LIMITS
        .into_iter()
        .fold(builder, |builder, (key, value)| builder.with_config(GoogleConfigKey::Client(key), value));
    Ok(Arc::new(limited.build()?))
}

fn azure(container: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    let builder = MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retry());
    let limited = LIMITS
        .into_iter()
        .fold(builder, |builder, (key, value)| builder.with_config(AzureConfigKey::Client(key), value));
    Ok(Arc::new(limited.build()?))
}

/// Runs `work` on the threads of the stores.
fn wait<T: Send + 'static>(work: impl Future<Output = Result<T, Error>> + Send + 'static) -> Result<T, Error> {
    let died = |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "object store", source };
    let runtime = RUNTIME.as_ref().map_err(|error| died(error.to_string().into()))?;
    let (done, result) = mpsc::channel();
    runtime.spawn(async move { done.send(work.await) });
    result.recv().map_err(|error| died(Box::new(error)))?
}

/// What the error of a store means.
enum Meaning {
    NoBucket,
    Refused,
    NoCredentials,
    Other,
}

impl Meaning {
    fn of(error: &Error) -> Meaning {
        let text = error.to_string();
        let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
        match error {
            _ if has(&METADATA) || has(&["must be specified", "Missing AccessKeyId", "Missing SecretAccessKey"]) => {
                Meaning::NoCredentials
            }
            Error::NotFound { .. } => Meaning::NoBucket,
            Error::Unauthenticated { .. } | Error::PermissionDenied { .. } => Meaning::Refused,
            // The errors of lists are generic.
            _ if has(&["404 Not Found"]) => Meaning::NoBucket,
            _ if has(&["401 Unauthorized", "403 Forbidden"]) => Meaning::Refused,
            _ => Meaning::Other,
        }
    }
}

/// The servers that machines of a cloud ask for credentials. They are asked if the environment has none.
const METADATA: [&str; 3] = ["169.254.169.254", "169.254.170.2", "metadata.google.internal"];

/// What went wrong with the object at `address`, and the way out.
fn failed(address: &Address, error: &Error) -> ObjectError {
    let (why, credentials) = (reason(error), address.scheme.credentials());
    match Meaning::of(error) {
        Meaning::NoBucket => {
            ObjectError::new(format!("there is no bucket `{}`", address.root()), "create it, or correct its name")
        }
        Meaning::Refused => {
            let help = format!("check {credentials}, and what they may do with this bucket");
            ObjectError::new(format!("access to `{address}` was refused: {why}"), help)
        }
        Meaning::NoCredentials => ObjectError::new(
            format!("there are no credentials for `{address}`"),
            format!("set the environment variables {credentials}"),
        ),
        Meaning::Other => ObjectError::new(format!("`{address}` can't be used: {why}"), address.scheme.server()),
    }
}

/// The innermost error. Of a reply in XML only its message.
fn reason(error: &Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let text = inner.to_string();
    let message = text.split_once("<Message>").and_then(|(_, rest)| Some(rest.split_once("</Message>")?.0));
    message.map_or_else(|| text.lines().next().unwrap_or_default().to_owned(), str::to_owned)
}
