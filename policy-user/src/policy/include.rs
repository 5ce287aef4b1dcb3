//! Gathers the files of a policy: the policy file, and the fragments in the directory that its `include` names.

use std::fs;
use std::io;
use std::path::Path;

use super::diagnostics::{Diagnostic, Place, Severity, quoted};
use super::load::LoadError;
use super::places::{self, Places, Span};
use super::source::{self, SourceError, Strictness};
use super::{bundle, validate};

/// The text of a policy, its fragments with it, and warnings about the files themselves.
pub fn gather(path: &Path, strictness: Strictness) -> Result<(String, Vec<Diagnostic>), LoadError> {
    let refused = |path: &Path, error| LoadError::Source { path: path.to_owned(), error };
    let (main, mut warnings) = source::read(path, strictness).map_err(|error| refused(path, error))?;
    // Reading a large policy twice takes time. No other key can be written without one of these.
    if !main.contains("include") && !main.contains('\\') {
        return Ok((main, warnings));
    }
    let places = places::read(&main).places;
    let Some((dir, span)) = directory(&places) else { return Ok((main, warnings)) };
    let shown = |diagnostics| LoadError::Invalid { path: path.to_owned(), text: main.clone(), diagnostics };
    let names = list(path, dir, strictness, &mut warnings)
        .map_err(|trouble| shown(vec![trouble.diagnostic(dir, &places, span)]))?;
    let (mut fragments, mut about) = (Vec::new(), Vec::new());
    let mut size = main.len() as u64;
    for name in &names {
        let file = path.with_file_name(name);
        let (text, of_file) = source::read(&file, strictness).map_err(|error| refused(&file, error))?;
        about.extend(of_file.into_iter().map(|warning| (fragments.len(), warning)));
        size += text.len() as u64;
        if size > source::MAX_BYTES {
            return Err(refused(path, SourceError::TooLarge(size)));
        }
        fragments.push(text);
    }
    // A fragment that came or went meanwhile belongs to another state of the directory than those that were read.
    if list(path, dir, strictness, &mut Vec::new()).ok().as_ref() != Some(&names) {
        return Err(refused(&path.with_file_name(dir), SourceError::Changed));
    }
    let fragments = names.iter().map(String::as_str).zip(fragments.iter().map(String::as_str));
    let text = bundle::join(&main, fragments);
    let parts = bundle::Parts::of(&text).list;
    warnings.extend(about.into_iter().map(|(index, warning)| at_start_of(&parts[index + 1], warning)));
    Ok((text, warnings))
}

/// What `include` says, where it is a directory's name; anything else is left to `validate`.
fn directory<'t>(places: &Places<'t>) -> Option<(&'t str, Span)> {
    let root = places.root();
    root.keys().find(|(key, _)| *key == "include")?;
    let span = root.key("include").span();
    let text = places.source(span);
    validate::is_directory_name(text).then_some((text, span))
}

/// Why a directory was not read.
struct Trouble {
    code: &'static str,
    message: String,
    help: String,
}

impl Trouble {
    fn warning(self, dir: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            code: self.code,
            message: format!("the directory {dir} {}", self.message),
            help: format!("{}; `run` refuses such a directory", self.help),
            place: None,
            related: None,
        }
    }

    fn diagnostic(self, dir: &str, places: &Places<'_>, at: Span) -> Diagnostic {
        places.error(self.code, at, format!("the directory {dir} {}", self.message), self.help)
    }
}

/// The fragments of a directory in the order of their names, each as seen from the policy's directory.
fn list(
    policy: &Path,
    dir: &str,
    strictness: Strictness,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Vec<String>, Trouble> {
    let path = policy.with_file_name(dir);
    let unreadable = |error: io::Error| Trouble {
        code: "include-unreadable",
        message: format!("can't be read: {error}"),
        help: format!("see `ls -ld {}`; an empty directory will do", path.display()),
    };
    let metadata = fs::metadata(&path).map_err(unreadable)?;
    if !metadata.is_dir() {
        let message = "is no directory".to_owned();
        let help = "name a directory of fragments, such as `include: policy.d`".to_owned();
        return Err(Trouble { code: "include-not-directory", message, help });
    }
    match (unsafe_directory(&metadata), strictness) {
        (None, _) => {}
        (Some(trouble), Strictness::Strict) => return Err(trouble),
        (Some(trouble), Strictness::Advisory) => warnings.push(trouble.warning(dir)),
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        // As the shell's `*.yaml` does: editors keep their own copies under hidden names.
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") || !bytes.ends_with(b".yaml") {
            continue;
        }
        let name = name.to_string_lossy().into_owned();
        if !validate::is_directory_name(&name) {
            let message = format!("holds a file named {}", quoted(&name));
            let help = "use letters, digits, `-`, `_` and `.` in the names of fragments".to_owned();
            return Err(Trouble { code: "include-bad-name", message, help });
        }
        names.push(format!("{dir}/{name}"));
    }
    names.sort_unstable();
    Ok(names)
}

/// Whoever can write to a directory can add a mail server.
fn unsafe_directory(metadata: &fs::Metadata) -> Option<Trouble> {
    let sentence = source::changeable_by_others(metadata)?.to_string();
    let (message, help) = sentence.split_once("; ").unwrap_or((&sentence, ""));
    let message = format!("is not safe: {message}");
    Some(Trouble { code: "include-writable-by-others", message, help: help.to_owned() })
}

fn at_start_of(part: &bundle::Part<'_>, warning: Diagnostic) -> Diagnostic {
    let place = Place { file: part.file.map(Into::into), line: 1, column: 1, bytes: part.start..part.start };
    Diagnostic { place: Some(place), ..warning }
}
