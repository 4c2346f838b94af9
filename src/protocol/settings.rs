//! Configuration of a server: a table of keys, and the values that flags, files and requests give them.
//!
//! A server declares its keys once, as a `static` slice of [`Key`]. From it come reading files ([`Settings::layer`]), the
//! answers to requests 25, 26, 318 and 319, warnings that name the nearest known key, and the commented files in `conf/`
//! ([`sample`]). Layers are laid from the weakest to the strongest; every value remembers where it came from. Files are
//! read by the caller: nothing here touches a disk.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::code::response;
use super::properties::{self, Assignment, BadText};

/// What values a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`, in any case.
    Flag,
    /// A whole number within these bounds.
    Number { min: i64, max: i64 },
    /// A number with decimals.
    Decimal,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text that this function takes; its error says what was expected.
    Checked(fn(&str) -> Result<(), String>),
    /// A text that no answer and no log shows.
    Secret,
}

/// When a changed value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// At once.
    Live,
    /// A request may change it; the value is saved and holds from the next start.
    Restart,
    /// No request may change it: paths, addresses, identity, what guards the server.
    Never,
}

/// What a key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Applied,
    /// Known and checked, but nothing here depends on it; the key's `doc` says why.
    Nothing,
}

/// Values that stop the start: the server would run open, elsewhere, or promise what it cannot keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuse {
    /// Every value but this one.
    AllBut(&'static str, &'static str),
    /// This one value.
    Only(&'static str, &'static str),
}

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Apache's name where Apache has the key.
    pub name: &'static str,
    pub kind: Kind,
    /// Apache's default.
    pub default: &'static str,
    /// rmq's own default where it differs; it holds unless a properties file was given.
    pub own: Option<&'static str>,
    pub effect: Effect,
    pub change: Change,
    pub refuse: Option<Refuse>,
    /// One sentence: what it is for, or why it does nothing.
    pub doc: &'static str,
}

impl Key {
    /// A key that does something; by default a request may change it for the next start.
    pub const fn applied(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
        Key {
            name,
            kind,
            default,
            own: None,
            effect: Effect::Applied,
            change: Change::Restart,
            refuse: None,
            doc,
        }
    }

    /// A key of Apache's that changes nothing here.
    pub const fn nothing(name: &'static str, kind: Kind, default: &'static str, why: &'static str) -> Key {
        Key {
            name,
            kind,
            default,
            own: None,
            effect: Effect::Nothing,
            change: Change::Restart,
            refuse: None,
            doc: why,
        }
    }

    /// Sets rmq's own default.
    pub const fn own(mut self, default: &'static str) -> Key {
        self.own = Some(default);
        self
    }

    /// A change holds at once.
    pub const fn live(mut self) -> Key {
        self.change = Change::Live;
        self
    }

    /// No request may change it.
    pub const fn fixed(mut self) -> Key {
        self.change = Change::Never;
        self
    }

    /// Only this value may be given.
    pub const fn refuse_all_but(mut self, value: &'static str, reason: &'static str) -> Key {
        self.refuse = Some(Refuse::AllBut(value, reason));
        self
    }

    /// This value may not be given.
    pub const fn refuse_value(mut self, value: &'static str, reason: &'static str) -> Key {
        self.refuse = Some(Refuse::Only(value, reason));
        self
    }

    /// Checks a value and brings it into its usual form; the error says what was expected.
    pub fn check(&self, value: &str) -> Result<String, String> {
        let value = value.trim();
        let checked = match self.kind {
            Kind::Text | Kind::Secret => value.to_owned(),
            Kind::Checked(check) => {
                check(value)?;
                value.to_owned()
            }
            Kind::Flag => match value.to_ascii_lowercase().as_str() {
                flag @ ("true" | "false") => flag.to_owned(),
                _ => return Err("expected true or false".to_owned()),
            },
            Kind::Number { min, max } => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => number.to_string(),
                _ => return Err(format!("expected a whole number from {min} to {max}")),
            },
            Kind::Decimal => match value.parse::<f64>() {
                Ok(number) if number.is_finite() => value.to_owned(),
                _ => return Err("expected a number".to_owned()),
            },
            Kind::Choice(words) => match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
                Some(word) => (*word).to_owned(),
                None => return Err(format!("expected {}", words.join(" or "))),
            },
        };
        match self.refuse {
            Some(Refuse::AllBut(allowed, reason)) if checked != allowed => Err(format!("refused: {reason}")),
            Some(Refuse::Only(refused, reason)) if checked == refused => Err(format!("refused: {reason}")),
            _ => Ok(checked),
        }
    }
}

/// Which defaults hold for keys that nobody set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defaults {
    /// rmq's own.
    Own,
    /// Apache's, because a properties file was given: an existing `broker.conf` finds its store and its clients.
    Apache,
}

/// Where a value came from, from the weakest to the strongest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    Environment(&'static str),
    File(Arc<Path>),
    /// Set by a request and kept by the server in this file.
    Saved(Arc<Path>),
    /// `--set key=value`.
    Set,
    /// A flag of its own.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::File(path) | Source::Saved(path) => write!(f, "{}", path.display()),
            Source::Set => f.write_str("--set"),
            Source::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value that cannot be taken, and where it stands. The server does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSetting {
    #[error("{source_name}:{line}: {key} = {value:?}: {what}")]
    InFile {
        source_name: String,
        line: usize,
        key: String,
        value: String,
        what: String,
    },
    #[error("{source_name} {key}={value}: {what}")]
    Given {
        source_name: String,
        key: String,
        value: String,
        what: String,
    },
    #[error("{path}: {bad}", path = path.display())]
    Text { path: PathBuf, bad: BadText },
    #[error("--set {0}: expected key=value")]
    NotAssignment(String),
    #[error("{path}: {error}", path = path.display())]
    Unreadable { path: PathBuf, error: String },
}

/// What a server was given on its command line and found in its environment.
#[derive(Clone, Debug, Default)]
pub struct Given<'a> {
    /// A key that an environment variable stands for: the key, the variable, its value.
    pub environment: Option<(&'static str, &'static str, &'a str)>,
    /// `-c FILE`.
    pub file: Option<&'a Path>,
    /// Each `--set key=value`.
    pub set: &'a [String],
    /// Flags that stand for a key: the key, the flag, the value.
    pub flags: &'a [(&'static str, &'static str, String)],
}

/// The user's folders, which values of paths may begin with.
#[derive(Clone, Debug)]
pub struct Folders {
    /// `$HOME` or `~`.
    pub home: PathBuf,
    /// `$DATA`: where the user's programs keep their data (XDG).
    pub data: PathBuf,
}

impl Folders {
    /// The path with the folder at its front filled in.
    pub fn expand(&self, path: &str) -> PathBuf {
        let folders = [("$HOME", &self.home), ("~", &self.home), ("$DATA", &self.data)];
        let mut below = folders
            .iter()
            .filter_map(|(name, folder)| Some((path.strip_prefix(name)?, folder)));
        match below.find(|(rest, _)| rest.is_empty() || rest.starts_with('/')) {
            Some((rest, folder)) => folder.join(rest.trim_start_matches('/')),
            None => PathBuf::from(path),
        }
    }
}

/// Lays all sources over each other: default, environment, file, what requests saved, `--set`, flags. Which file holds
/// what requests saved depends on the other sources. `read` reads a file.
///
/// # Errors
/// The first value that cannot be taken, and where it stands.
pub fn load(
    keys: &'static [Key],
    given: &Given<'_>,
    saved_file: impl Fn(&Settings) -> PathBuf,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Settings, BadSetting> {
    let apache = given.file.is_some_and(|file| !is_toml(file));
    let mut settings = Settings::new(keys, if apache { Defaults::Apache } else { Defaults::Own });
    if let Some((key, variable, value)) = given.environment {
        settings.set(key, value, &Source::Environment(variable))?;
    }
    let unreadable = |path: &Path, error: io::Error| BadSetting::Unreadable {
        path: path.into(),
        error: error.to_string(),
    };
    if let Some(file) = given.file {
        let text = read(file).map_err(|error| unreadable(file, error))?;
        settings.layer(&read_file_text(file, &text)?, &Source::File(file.into()))?;
    }
    let mut decided = settings.clone();
    decided.lay_command_line(given)?;
    let saved = saved_file(&decided);
    match read(&saved) {
        Ok(text) => settings.layer_saved(read_file_text(&saved, &text)?, &saved)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(&saved, error)),
    }
    settings.lay_command_line(given)?;
    Ok(settings)
}

/// A key that the table does not have. Apache ignores such keys, so they are a warning and not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    pub key: String,
    pub source: Source,
    pub line: usize,
    /// The known key that is spelled most like it.
    pub nearest: Option<&'static str>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::File(_) | Source::Saved(_) => write!(f, "{}:{}: ", self.source, self.line)?,
            _ => write!(f, "{}: ", self.source)?,
        }
        write!(f, "unknown key {}", self.key)?;
        self.nearest
            .map_or(Ok(()), |nearest| write!(f, " (did you mean {nearest}?)"))
    }
}

/// A value somebody set.
#[derive(Clone)]
struct Setting {
    value: String,
    source: Source,
}

/// The values of a table of keys.
#[derive(Clone)]
pub struct Settings {
    keys: &'static [Key],
    defaults: Defaults,
    set: BTreeMap<&'static str, Setting>,
    unknown: Vec<Unknown>,
}

impl fmt::Debug for Settings {
    /// Shows what was set, without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.keys.iter().filter(|key| self.given(key.name).is_some());
        f.debug_map()
            .entries(set.map(|key| (key.name, self.shown(key))))
            .finish()
    }
}

impl Settings {
    /// Every key at its default.
    pub fn new(keys: &'static [Key], defaults: Defaults) -> Settings {
        Settings {
            keys,
            defaults,
            set: BTreeMap::new(),
            unknown: Vec::new(),
        }
    }

    /// Lays values over those that are there. Call it from the weakest source to the strongest.
    pub fn layer(&mut self, assignments: &[Assignment], source: &Source) -> Result<(), BadSetting> {
        for assignment in assignments {
            let Some(key) = self.key(&assignment.key) else {
                self.unknown.push(Unknown {
                    key: assignment.key.clone(),
                    source: source.clone(),
                    line: assignment.line,
                    nearest: nearest(self.keys, &assignment.key),
                });
                continue;
            };
            let value = key
                .check(&assignment.value)
                .map_err(|what| bad_setting(assignment, source, what))?;
            if value.is_empty() {
                self.set.remove(key.name); // `key=` takes back what a weaker source set.
            } else {
                self.set.insert(
                    key.name,
                    Setting {
                        value,
                        source: source.clone(),
                    },
                );
            }
        }
        Ok(())
    }

    /// Lays one value over what is there.
    pub fn set(&mut self, key: &str, value: &str, source: &Source) -> Result<(), BadSetting> {
        self.layer(
            &[Assignment {
                key: key.to_owned(),
                value: value.to_owned(),
                line: 0,
            }],
            source,
        )
    }

    fn lay_command_line(&mut self, given: &Given<'_>) -> Result<(), BadSetting> {
        for text in given.set {
            self.set_text(text)?;
        }
        for (key, flag, value) in given.flags {
            self.set(key, value, &Source::Flag(flag))?;
        }
        Ok(())
    }

    /// Takes `key=value` as `--set` gives it.
    pub fn set_text(&mut self, text: &str) -> Result<(), BadSetting> {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| BadSetting::NotAssignment(text.to_owned()))?;
        self.set(key.trim(), value, &Source::Set)
    }

    /// Takes back what was set, so that the default holds again.
    pub fn unset(&mut self, name: &str) {
        self.set.remove(name);
    }

    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub fn keys(&self) -> &'static [Key] {
        self.keys
    }

    /// Keys that were given and are not in the table, in the order they came.
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    /// Which defaults hold.
    pub fn defaults(&self) -> Defaults {
        self.defaults
    }

    /// The value of a key, set or default.
    ///
    /// # Panics
    /// If the table has no such key: names of keys are written in the program.
    pub fn get(&self, name: &str) -> &str {
        match self.set.get(name) {
            Some(setting) => &setting.value,
            None => self.default_of(self.known(name)),
        }
    }

    /// The value of a key if somebody set it.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.set
            .get(name)
            .filter(|setting| setting.source != Source::Default)
            .map(|setting| setting.value.as_str())
    }

    /// Where the value of a key came from.
    pub fn source(&self, name: &str) -> Source {
        self.set
            .get(name)
            .map_or(Source::Default, |setting| setting.source.clone())
    }

    /// The value of a [`Kind::Flag`].
    pub fn flag(&self, name: &str) -> bool {
        self.get(name) == "true"
    }

    /// The value of a [`Kind::Number`] whose bounds fit into `N`.
    pub fn number<N: TryFrom<i64>>(&self, name: &str) -> N {
        let number = self
            .get(name)
            .parse::<i64>()
            .ok()
            .and_then(|number| N::try_from(number).ok());
        number.unwrap_or_else(|| panic!("the bounds of {name} fit into the type that reads it"))
    }

    /// Keys that were set and do nothing here, for one line at the start.
    pub fn without_effect(&self) -> Vec<&'static str> {
        let set = self.keys.iter().filter(|key| self.given(key.name).is_some());
        set.filter(|key| key.effect == Effect::Nothing)
            .map(|key| key.name)
            .collect()
    }

    /// Every key with its value, sorted by name: the body of requests 26 and 319.
    pub fn text(&self) -> String {
        let all: BTreeMap<_, _> = self.keys.iter().map(|key| (key.name, self.shown(key))).collect();
        let mut text = String::new();
        all.iter()
            .for_each(|(name, value)| properties::write(name, value, &mut text));
        text
    }

    /// Takes the properties text of a request, all of it or nothing. `saved` is the file that the server keeps such
    /// changes in. Beside the keys that no request may change, those of `configBlackList` are refused, and `forbidden`.
    ///
    /// # Errors
    /// See [`BadChange`]; then nothing has changed.
    pub fn change(&mut self, text: &str, forbidden: &[&str], saved: &Path) -> Result<Changed, BadChange> {
        let assignments = properties::parse(text).map_err(BadChange::Text)?;
        let black_list = self.get("configBlackList");
        let mut changed = Changed::default();
        for assignment in &assignments {
            let name = assignment.key.as_str();
            if forbidden.contains(&name) || black_list.split(';').any(|black| black.trim() == name) {
                return Err(BadChange::BlackListed);
            }
            let key = self.key(name).ok_or_else(|| self.unknown_change(name))?;
            match (key.change, key.effect) {
                (Change::Never, _) => return Err(BadChange::Fixed(key.name)),
                (_, Effect::Nothing) => changed.without_effect.push(key.name),
                (Change::Live, _) => changed.live.push(key.name),
                (Change::Restart, _) => changed.at_restart.push(key.name),
            }
            key.check(&assignment.value).map_err(|what| BadChange::Value {
                key: key.name,
                value: assignment.value.clone(),
                what,
            })?;
        }
        let mut settings = self.clone();
        settings
            .layer(&assignments, &Source::Saved(saved.into()))
            .expect("every value was checked");
        *self = settings;
        Ok(changed)
    }

    fn unknown_change(&self, name: &str) -> BadChange {
        const SHOWN_MAX: usize = 64;
        BadChange::Unknown {
            key: name.chars().take(SHOWN_MAX).collect(),
            nearest: nearest(self.keys, name),
        }
    }

    /// The values that requests have set, as the file that keeps them is written.
    pub fn saved_text(&self) -> String {
        let mut text = String::from(
            "# Changed by requests while the server ran; stronger than its configuration file.\n",
        );
        let saved = self
            .set
            .iter()
            .filter(|(_, setting)| matches!(setting.source, Source::Saved(_)));
        saved.for_each(|(name, setting)| properties::write(name, &setting.value, &mut text));
        text
    }

    /// Lays what requests have set in an earlier run. A request may not change every key, so neither may this file.
    fn layer_saved(&mut self, mut assignments: Vec<Assignment>, saved: &Path) -> Result<(), BadSetting> {
        assignments.retain(|assignment| {
            self.key(&assignment.key)
                .is_none_or(|key| key.change != Change::Never)
        });
        self.layer(&assignments, &Source::Saved(saved.into()))
    }

    /// The value of a key as anybody may see it.
    pub fn shown(&self, key: &Key) -> &str {
        let value = self.get(key.name);
        if matches!(key.kind, Kind::Secret) && !value.is_empty() {
            "***"
        } else {
            value
        }
    }

    /// Gives a default that only this machine knows (its host name, its folders) to a key nobody set.
    pub fn derive(&mut self, name: &str, value: String) {
        let key = self.known(name);
        self.set.entry(key.name).or_insert(Setting {
            value,
            source: Source::Default,
        });
    }

    fn known(&self, name: &str) -> &'static Key {
        self.key(name)
            .unwrap_or_else(|| panic!("{name} is in the table of keys"))
    }

    fn default_of(&self, key: &'static Key) -> &'static str {
        match self.defaults {
            Defaults::Own => key.own.unwrap_or(key.default),
            Defaults::Apache => key.default,
        }
    }
}

fn bad_setting(assignment: &Assignment, source: &Source, what: String) -> BadSetting {
    let (key, value) = (assignment.key.clone(), assignment.value.clone());
    let source_name = source.to_string();
    match source {
        Source::File(_) | Source::Saved(_) => BadSetting::InFile {
            source_name,
            line: assignment.line,
            key,
            value,
            what,
        },
        _ => BadSetting::Given {
            source_name,
            key,
            value,
            what,
        },
    }
}

/// The known key spelled most like `name`, if one is near enough to be meant: at most a third of its letters differ.
pub fn nearest(keys: &'static [Key], name: &str) -> Option<&'static str> {
    const NAME_LEN_MAX: usize = 128;
    if name.len() > NAME_LEN_MAX {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let distances = keys
        .iter()
        .map(|key| (edit_distance(&name, &key.name.to_ascii_lowercase()), key.name));
    let (distance, nearest) = distances.min()?;
    (distance * 3 <= nearest.len()).then_some(nearest)
}

/// Levenshtein's distance in bytes.
fn edit_distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, left_byte) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right_byte) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(left_byte != right_byte);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

/// Reads the text of a configuration file: TOML with flat keys if it is called `.toml`, else properties.
pub fn read_file_text(path: &Path, text: &str) -> Result<Vec<Assignment>, BadSetting> {
    let read = if is_toml(path) {
        parse_toml(text)
    } else {
        properties::parse(text)
    };
    read.map_err(|bad| BadSetting::Text {
        path: path.to_owned(),
        bad,
    })
}

/// Whether a file of this name is read as TOML.
pub fn is_toml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}

fn parse_toml(text: &str) -> Result<Vec<Assignment>, BadText> {
    let table = toml::de::DeTable::parse(text).map_err(|error| BadText {
        line: error.span().map_or(1, |span| line_at(text, span.start)),
        what: error.message().to_owned(),
    })?;
    let mut assignments = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_at(text, key.span().start);
        let value = toml_scalar(value.get_ref()).ok_or_else(|| BadText {
            line,
            what: format!(
                "{}: expected a string, a number, true, false or a list of strings",
                key.get_ref()
            ),
        })?;
        assignments.push(Assignment {
            key: key.get_ref().to_string(),
            value,
            line,
        });
    }
    assignments.sort_by_key(|assignment| assignment.line);
    Ok(assignments)
}

fn line_at(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

/// A value as the text a properties file would have; a list is joined with `;`, as RocketMQ writes lists.
fn toml_scalar(value: &toml::de::DeValue<'_>) -> Option<String> {
    use toml::de::DeValue;
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .ok()?
            .to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(|item| toml_scalar(item.get_ref())).collect();
            items?.join(";")
        }
        DeValue::Datetime(_) | DeValue::Table(_) => return None,
    })
}

/// What a request changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// Names of the keys whose new value holds at once.
    pub live: Vec<&'static str>,
    /// Names of the keys whose new value holds from the next start.
    pub at_restart: Vec<&'static str>,
    /// Names of the keys that do nothing here; kept all the same.
    pub without_effect: Vec<&'static str>,
}

impl Changed {
    /// What whoever asked should know beside that it was done.
    pub fn remark(&self) -> Option<String> {
        let notes = [
            ("from the next start", &self.at_restart),
            ("without effect", &self.without_effect),
        ];
        let notes = notes.iter().filter(|(_, keys)| !keys.is_empty());
        let notes: Vec<String> = notes
            .map(|(note, keys)| format!("{note}: {}", keys.join(", ")))
            .collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// Why a request changes nothing (25, 318).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadChange {
    #[error("string2Properties error: {0}")]
    Text(BadText),
    #[error("Can not update config in black list.")]
    BlackListed,
    #[error("{0} can not be changed by a request.")]
    Fixed(&'static str),
    #[error("unknown key {key}{hint}", hint = nearest.map_or(String::new(), |near| format!(" (did you mean {near}?)")))]
    Unknown {
        key: String,
        nearest: Option<&'static str>,
    },
    #[error("{key}={value}: {what}")]
    Value {
        key: &'static str,
        value: String,
        what: String,
    },
}

impl BadChange {
    /// The code that the request is answered with; the text above is the remark.
    pub fn code(&self) -> i32 {
        match self {
            BadChange::Text(_) => response::SYSTEM_ERROR,
            BadChange::BlackListed | BadChange::Fixed(_) => response::NO_PERMISSION,
            BadChange::Unknown { .. } | BadChange::Value { .. } => response::INVALID_PARAMETER,
        }
    }
}

/// How a sample file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Properties,
    Toml,
}

/// A commented file with every key that does something, each at its default and switched off by a `#`.
pub fn sample(keys: &'static [Key], format: Format, heading: &str) -> String {
    let mut text = String::new();
    heading.lines().for_each(|line| push_comment(line, &mut text));
    let defaults = match format {
        Format::Properties => Defaults::Apache,
        Format::Toml => Defaults::Own,
    };
    let settings = Settings::new(keys, defaults);
    for key in keys.iter().filter(|key| key.effect == Effect::Applied) {
        text.push('\n');
        push_comment(key.doc, &mut text);
        if key.change == Change::Live {
            push_comment("Can be changed while the server runs.", &mut text);
        }
        text.push('#');
        match format {
            Format::Properties => properties::write(key.name, settings.get(key.name), &mut text),
            Format::Toml => push_toml(key, settings.get(key.name), &mut text),
        }
    }
    text
}

fn push_comment(line: &str, text: &mut String) {
    text.push_str("# ");
    text.push_str(line);
    text.push('\n');
}

fn push_toml(key: &Key, value: &str, text: &mut String) {
    let value = match key.kind {
        Kind::Flag | Kind::Number { .. } | Kind::Decimal => value.to_owned(),
        Kind::Text | Kind::Secret | Kind::Checked(_) | Kind::Choice(_) => {
            toml::Value::from(value).to_string()
        }
    };
    text.push_str(&format!("{} = {value}\n", key.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    static KEYS: &[Key] = &[
        Key::applied(
            "listenPort",
            Kind::Number { min: 0, max: 65535 },
            "10911",
            "The port.",
        ),
        Key::applied("bindAddress", Kind::Text, "0.0.0.0", "The address.")
            .own("127.0.0.1")
            .fixed(),
        Key::applied(
            "flushDiskType",
            Kind::Choice(&["ASYNC_FLUSH", "SYNC_FLUSH"]),
            "ASYNC_FLUSH",
            "When.",
        )
        .live(),
        Key::applied(
            "brokerRole",
            Kind::Choice(&["ASYNC_MASTER", "SLAVE"]),
            "ASYNC_MASTER",
            "Role.",
        )
        .refuse_value("SLAVE", "no slaves yet"),
        Key::applied("aclEnable", Kind::Flag, "false", "Access control.")
            .refuse_all_but("false", "it would be open"),
        Key::nothing(
            "serverWorkerThreads",
            Kind::Number { min: 0, max: 1024 },
            "8",
            "No such threads.",
        ),
    ];

    fn from_file(name: &str, text: &str) -> Result<Settings, BadSetting> {
        let mut settings = Settings::new(KEYS, Defaults::Apache);
        let path = Path::new(name);
        settings.layer(&read_file_text(path, text)?, &Source::File(path.into()))?;
        Ok(settings)
    }

    #[test]
    fn a_stronger_layer_wins_and_its_source_is_kept() {
        let mut settings = from_file("b.conf", "listenPort=1\nflushDiskType = sync_flush\n").unwrap();
        assert_eq!(settings.get("flushDiskType"), "SYNC_FLUSH");
        settings.set_text("listenPort=2").unwrap();
        settings
            .set("listenPort", "3", &Source::Flag("--listen"))
            .unwrap();
        assert_eq!(settings.number::<u16>("listenPort"), 3);
        assert_eq!(settings.source("listenPort").to_string(), "--listen");
        assert_eq!(settings.source("bindAddress"), Source::Default);
    }

    #[test]
    fn apache_defaults_hold_with_a_properties_file_only() {
        assert_eq!(Settings::new(KEYS, Defaults::Own).get("bindAddress"), "127.0.0.1");
        assert_eq!(
            Settings::new(KEYS, Defaults::Apache).get("bindAddress"),
            "0.0.0.0"
        );
    }

    #[test]
    fn a_bad_value_is_named_with_file_and_line() {
        let error = from_file("b.conf", "# port\nlistenPort = many\n")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "b.conf:2: listenPort = \"many\": expected a whole number from 0 to 65535"
        );
        let error = from_file("b.toml", "\nflushDiskType = 'OFTEN'\n")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "b.toml:2: flushDiskType = \"OFTEN\": expected ASYNC_FLUSH or SYNC_FLUSH"
        );
        let error = from_file("b.toml", "a = 1\nlistenPort = \n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("b.toml: line 2: "), "{error}");
        let error = from_file("b.toml", "[listenPort]\nx = 1\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("b.toml: line 1: listenPort: expected a string"),
            "{error}"
        );
    }

    #[test]
    fn what_would_start_open_is_refused_with_the_reason() {
        let error = from_file("b.conf", "brokerRole=SLAVE").unwrap_err().to_string();
        assert_eq!(error, "b.conf:1: brokerRole = \"SLAVE\": refused: no slaves yet");
        let error = Settings::new(KEYS, Defaults::Own)
            .set_text("aclEnable=true")
            .unwrap_err()
            .to_string();
        assert_eq!(error, "--set aclEnable=true: refused: it would be open");
        assert!(from_file("b.conf", "aclEnable=false\nbrokerRole=ASYNC_MASTER").is_ok());
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let settings = from_file("b.conf", "listenport = 1\nfilterServerNums=1\n").unwrap();
        let warnings: Vec<String> = settings.unknown().iter().map(Unknown::to_string).collect();
        let expected = [
            "b.conf:1: unknown key listenport (did you mean listenPort?)",
            "b.conf:2: unknown key filterServerNums",
        ];
        assert_eq!(warnings, expected);
    }

    #[test]
    fn toml_values_are_read_as_properties_would_be() {
        let settings = from_file(
            "b.TOML",
            "listenPort = 0x10\nbindAddress = ['a', 'b']\nserverWorkerThreads = 2\n",
        )
        .unwrap();
        assert_eq!(
            (settings.get("listenPort"), settings.get("bindAddress")),
            ("16", "a;b")
        );
        assert_eq!(settings.without_effect(), ["serverWorkerThreads"]);
    }

    #[test]
    fn a_sample_file_reads_back_once_its_keys_are_switched_on() {
        for (format, name) in [(Format::Properties, "s.conf"), (Format::Toml, "s.toml")] {
            let text = sample(KEYS, format, "heading");
            let switched_on: String = text
                .lines()
                .filter_map(|line| line.strip_prefix('#'))
                .filter(|line| !line.starts_with(' '))
                .fold(String::new(), |all, line| all + line + "\n");
            let settings = from_file(name, &switched_on).unwrap();
            assert_eq!(settings.set.len(), 5, "{switched_on}");
            assert!(settings.unknown().is_empty());
        }
    }

    #[test]
    fn the_text_of_all_keys_is_sorted_and_reads_back() {
        let text = Settings::new(KEYS, Defaults::Own).text();
        assert!(
            text.starts_with("aclEnable=false\nbindAddress=127.0.0.1\n"),
            "{text}"
        );
        assert_eq!(properties::parse(&text).unwrap().len(), KEYS.len());
    }
}
