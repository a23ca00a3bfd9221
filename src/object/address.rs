//! Addresses of objects: the kind of store, the bucket and the key.

use std::fmt;

use super::error::ObjectError;

/// A kind of object store, by the beginning of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    S3,
    Google,
    Azure,
}

impl Scheme {
    const ALL: [Scheme; 3] = [Scheme::S3, Scheme::Google, Scheme::Azure];

    const fn name(self) -> &'static str {
        match self {
            Scheme::S3 => "s3",
            Scheme::Google => "gs",
            Scheme::Azure => "az",
        }
    }

    /// The environment variables with the credentials, for messages.
    #[cfg(feature = "cloud")]
    pub(super) const fn credentials(self) -> &'static str {
        match self {
            Scheme::S3 => "`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`",
            Scheme::Google => "`GOOGLE_APPLICATION_CREDENTIALS`",
            Scheme::Azure => "`AZURE_STORAGE_ACCOUNT_NAME` and `AZURE_STORAGE_ACCOUNT_KEY`",
        }
    }

    /// What to check if a store does not answer.
    #[cfg(feature = "cloud")]
    pub(super) const fn server(self) -> &'static str {
        match self {
            Scheme::S3 => {
                "check the connection, and `AWS_ENDPOINT_URL` if the store is not Amazon's (`AWS_ALLOW_HTTP=true` allows \
                 an address without TLS)"
            }
            Scheme::Google => "check the connection",
            Scheme::Azure => "check the connection and `AZURE_STORAGE_ACCOUNT_NAME`",
        }
    }
}

/// `s3://bucket/key`. The key is empty for the bucket itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    pub(super) scheme: Scheme,
    pub(super) bucket: String,
    key: String,
}

/// Whether a path is the address of an object, not of a file.
pub(crate) fn is_address(path: &str) -> bool {
    Scheme::ALL.into_iter().any(|scheme| after(path, scheme).is_some())
}

fn after(path: &str, scheme: Scheme) -> Option<&str> {
    path.strip_prefix(scheme.name())?.strip_prefix("://")
}

impl Address {
    /// `None` if `path` is that of a file.
    pub(crate) fn parse(path: &str) -> Option<Result<Address, ObjectError>> {
        let (scheme, rest) = Scheme::ALL.into_iter().find_map(|scheme| Some((scheme, after(path, scheme)?)))?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let wrong = |what: &str| {
            let help = format!("write `{}://BUCKET/FOLDER/FILE`", scheme.name());
            Some(Err(ObjectError::new(format!("`{path}` is not an address of an object: {what}"), help)))
        };
        let key = key.trim_end_matches('/');
        if bucket.is_empty() || bucket.contains(['@', ':', '?', '#']) {
            return wrong("it names no bucket");
        }
        if !key.is_empty() && key.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return wrong("a folder in it has no name");
        }
        Some(Ok(Address { scheme, bucket: bucket.to_owned(), key: key.to_owned() }))
    }

    /// The environment variables that may have credentials for the store, and are set.
    pub(crate) fn variables(&self) -> Vec<String> {
        let start = match self.scheme {
            Scheme::S3 => "AWS_",
            Scheme::Google => "GOOGLE_",
            Scheme::Azure => "AZURE_",
        };
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.filter(|name| name.starts_with(start)).collect()
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The bucket without a key.
    pub(crate) fn root(&self) -> Address {
        self.with_key("")
    }

    /// The folder of the object.
    pub(crate) fn folder(&self) -> Address {
        self.with_key(self.key.rsplit_once('/').map_or("", |(folder, _)| folder))
    }

    pub(crate) fn with_key(&self, key: &str) -> Address {
        Address { key: key.to_owned(), ..self.clone() }
    }

    /// The address of `name` in this folder.
    pub(crate) fn join(&self, name: &str) -> Address {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}/{name}", self.key) };
        self.with_key(&key)
    }

    /// The last part of the key.
    pub(crate) fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { scheme, bucket, key } = self;
        match key.as_str() {
            "" => write!(f, "{}://{bucket}", scheme.name()),
            key => write!(f, "{}://{bucket}/{key}", scheme.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str) -> Option<Result<(String, String), String>> {
        let found = Address::parse(path)?;
        Some(found.map(|found| (found.bucket, found.key)).map_err(|error| error.message))
    }

    #[test]
    fn addresses_have_a_bucket_and_a_key() {
        let pair = |bucket: &str, key: &str| Some(Ok((bucket.to_owned(), key.to_owned())));
        assert_eq!(parsed("s3://study/data/a b.csv"), pair("study", "data/a b.csv"));
        assert_eq!(parsed("gs://study"), pair("study", ""));
        assert_eq!(parsed("az://study/runs/"), pair("study", "runs"));
        for file in ["data.csv", "s3:/a/b", "https://example.org/a.csv", "a/s3://b/c.csv", "S3://a/b.csv"] {
            assert!(parsed(file).is_none() && !is_address(file), "{file}");
        }
        for wrong in ["s3://", "s3:///a.csv", "s3://key:secret@host/a.csv", "s3://a//b.csv", "gs://a/../b.csv"] {
            assert!(parsed(wrong).is_some_and(|found| found.is_err()) && is_address(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_address_is_shown_as_it_is_written() {
        let address = |path: &str| Address::parse(path).unwrap().unwrap();
        for path in ["s3://study/data/a.csv", "gs://study", "az://study/runs"] {
            assert_eq!(address(path).to_string(), path);
        }
        assert_eq!(address("s3://study/runs").join("a/b").to_string(), "s3://study/runs/a/b");
        assert_eq!(address("s3://study").join("b").to_string(), "s3://study/b");
        assert_eq!(address("s3://study/data/a.csv").name(), "a.csv");
        assert_eq!(address("s3://study/data/a.csv").folder().to_string(), "s3://study/data");
        assert_eq!(address("s3://study/a.csv").folder(), address("s3://study"));
    }
}
