//! Streams: their names, what they are made with, and what is known about them.
//!
//! What is asked of the server is written out as JSON rather than by the client's types: those know one version's settings, and would take away what a
//! newer server's operator has set.

use std::time::Duration;

use async_nats::jetstream::context::RequestErrorKind;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drystone_call::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::connection::Connection;

/// How much longer than the outbox a stream keeps its messages.
const LONGER: Duration = Duration::from_secs(3600);

/// How long the server remembers ids that no message has twice.
const WINDOW: Duration = Duration::from_secs(1);

/// The server's codes for a stream that is not there, and for one that is.
const NOT_FOUND: u64 = 10059;
const NAME_IN_USE: u64 = 10058;
/// The server's code for a message that is not there.
const NO_MESSAGE: u64 = 10037;

/// A stream as Drystone wants it.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) name: String,
    /// The subjects, all under one beginning.
    pub(super) subjects: String,
    pub(super) max_age: Duration,
}

impl Spec {
    /// The stream of a module's events.
    pub(super) fn of_module(application: &str, module: &str, retention: Duration) -> Self {
        let subjects = format!("{application}.events.{module}.>");
        Self::new(application, module, subjects, retention)
    }

    /// The stream of what producers outside the application write.
    pub(super) fn outside(application: &str, retention: Duration) -> Self {
        Self::new(application, "outside", format!("{application}.outside.>"), retention)
    }

    fn new(application: &str, part: &str, subjects: String, retention: Duration) -> Self {
        let name = format!("DRYSTONE_{application}_{part}").to_ascii_uppercase();
        Self { name, subjects, max_age: retention.saturating_add(LONGER) }
    }

    fn config(&self) -> Value {
        json!({
            "name": self.name,
            "subjects": [self.subjects],
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "num_replicas": 1,
            "max_age": nanos(self.max_age),
            "duplicate_window": nanos(WINDOW),
        })
    }
}

/// Whether a text can be one word of a subject and a part of a stream's name.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the server says about a stream.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Info {
    /// When it was created: another stream of the same name has another.
    pub(super) created: String,
    pub(super) state: State,
    config: Value,
}

/// What is in a stream.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct State {
    #[serde(default)]
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

/// One message as the stream has it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Entry {
    /// When the server stored it, to the nanosecond.
    pub(super) time: String,
    /// Its headers, in base64.
    #[serde(default)]
    hdrs: String,
}

impl Entry {
    /// Whether a header says this.
    pub(super) fn says(&self, text: &str) -> bool {
        let headers = STANDARD.decode(&self.hdrs).unwrap_or_default();
        headers.windows(text.len().max(1)).any(|part| part == text.as_bytes())
    }
}

/// What the server answers when it is asked for a message.
#[derive(Deserialize)]
struct Found {
    message: Entry,
}

/// An answer of the server.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Answer<T> {
    Refused { error: Refused },
    Given(T),
}

/// Why the server refuses.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

impl Connection {
    /// Asks JetStream.
    async fn ask<T: DeserializeOwned>(&self, what: &str, payload: &Value) -> Result<Answer<T>> {
        let epoch = self.up().await?;
        let request = self.jetstream.request(what.to_owned(), payload);
        let answer = tokio::select! {
            answer = request => answer,
            () = self.lost(epoch) => return Err(self.unavailable("went away")),
        };
        answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => self.unavailable("has no JetStream, or none for this login"),
            _ => self.unavailable(format_args!("does not answer {what}: {error}")).caused_by(error),
        })
    }

    /// The stream, made if it is not there.
    ///
    /// # Errors
    /// `UNAVAILABLE` if the server does not answer; `FAILED_PRECONDITION` if there is a stream of that name for other subjects.
    pub(super) async fn ensure(&self, spec: &Spec) -> Result<Info> {
        let mut answer = self.ask(&format!("STREAM.INFO.{}", spec.name), &Value::Null).await?;
        if matches!(&answer, Answer::Refused { error } if error.err_code == NOT_FOUND) {
            answer = self.ask(&format!("STREAM.CREATE.{}", spec.name), &spec.config()).await?;
        }
        // Somebody else was quicker.
        if matches!(&answer, Answer::Refused { error } if error.err_code == NAME_IN_USE) {
            answer = self.ask(&format!("STREAM.INFO.{}", spec.name), &Value::Null).await?;
        }
        let info: Info = match answer {
            Answer::Given(info) => info,
            Answer::Refused { error } => return Err(self.refused(spec, &error)),
        };
        if info.config["subjects"] != json!([spec.subjects]) {
            return Err(Error::failed_precondition(format!(
                "the stream {} at {} takes the subjects {} and not {}: rename the application or the module, or remove the stream",
                spec.name,
                self.shown(),
                info.config["subjects"],
                spec.subjects
            )));
        }
        self.keep_long_enough(spec, &info).await?;
        Ok(info)
    }

    /// The message of a number; `None` if the stream does not have it.
    pub(super) async fn entry(&self, spec: &Spec, number: u64) -> Result<Option<Entry>> {
        let what = format!("STREAM.MSG.GET.{}", spec.name);
        match self.ask::<Found>(&what, &json!({ "seq": number })).await? {
            Answer::Given(Found { message }) => Ok(Some(message)),
            Answer::Refused { error } if [NO_MESSAGE, NOT_FOUND].contains(&error.err_code) => Ok(None),
            Answer::Refused { error } => Err(self.refused(spec, &error)),
        }
    }

    /// Lengthens what the stream keeps if it is too short; an operator may have set it longer.
    async fn keep_long_enough(&self, spec: &Spec, info: &Info) -> Result<()> {
        let age = info.config["max_age"].as_u64().unwrap_or_default();
        if age == 0 || age >= nanos(spec.max_age) {
            return Ok(());
        }
        let mut config = info.config.clone();
        config["max_age"] = nanos(spec.max_age).into();
        match self.ask::<Value>(&format!("STREAM.UPDATE.{}", spec.name), &config).await? {
            Answer::Given(_) => Ok(()),
            Answer::Refused { error } => Err(self.refused(spec, &error)),
        }
    }

    fn refused(&self, spec: &Spec, refused: &Refused) -> Error {
        self.unavailable(format_args!("refuses the stream {}: {}", spec.name, refused.description))
    }
}
