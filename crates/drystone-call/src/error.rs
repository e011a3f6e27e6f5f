//! `Error`: who failed, how, whether to try again, and for telemetry only, why.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::sync::RwLock;
use std::time::Duration;

use crate::{Code, Reason};

/// The result of a handler or of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause of an error; it stays inside the module that met it.
type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// A failure, with everything that survives a wire and a cause that does not.
///
/// Converts from any [`std::error::Error`], so `?` works in a handler, and is not one itself (as in `anyhow`).
/// The cause goes to telemetry and is removed at the client boundary in every runner, so that nobody can match on what
/// would not survive a wire.
///
/// ```
/// use drystone_call::{Code, Error, Result};
///
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.parse::<u32>().map_err(|cause| Error::invalid_argument("`n` is not a number").caused_by(cause))?)
/// }
/// assert_eq!(parse("x").unwrap_err().code(), Code::InvalidArgument);
/// ```
pub struct Error(Box<Inner>);

pub(crate) struct Inner {
    pub(crate) code: Code,
    pub(crate) reason: Option<ReasonInfo>,
    pub(crate) message: String,
    pub(crate) violations: Vec<FieldViolation>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) cause: Option<Cause>,
    pub(crate) replayed: bool,
    pub(crate) is_final: bool,
}

/// A reason as it travels: domain, name and HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReasonInfo {
    pub(crate) domain: Cow<'static, str>,
    pub(crate) name: Cow<'static, str>,
    pub(crate) http: u16,
}

impl ReasonInfo {
    /// The proto package that declares the reason.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The value's name, such as `OUT_OF_STOCK`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One field of a request that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field, such as `items[2].sku`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Judges a foreign error; the first judgement wins.
pub type Classifier = fn(&(dyn StdError + 'static)) -> Option<(Code, Cow<'static, str>)>;

static CLASSIFIERS: RwLock<Vec<Classifier>> = RwLock::new(Vec::new());

/// Adds a classifier for the whole process; adding the same one again does nothing.
pub fn register_classifier(classifier: Classifier) {
    let mut all = CLASSIFIERS.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !all.iter().any(|known| std::ptr::fn_addr_eq(*known, classifier)) {
        all.push(classifier);
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(message: impl Into<String>) -> Self { Self::new(Code::$code, message) })*
    };
}

impl Error {
    /// An error with a code and a message for the caller.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            reason: None,
            message: message.into(),
            violations: Vec::new(),
            metadata: BTreeMap::new(),
            retry_after: None,
            cause: None,
            replayed: false,
            is_final: false,
        }))
    }

    /// An error with a reason that a contract declares.
    #[must_use]
    pub fn reason<R: Reason>(reason: R, message: impl Into<String>) -> Self {
        let mut error = Self::new(reason.code(), message);
        error.0.reason = Some(ReasonInfo {
            domain: Cow::Borrowed(R::DOMAIN),
            name: Cow::Borrowed(reason.name()),
            http: reason.http(),
        });
        error
    }

    constructors! {
        /// The request is wrong whatever the state of the system.
        invalid_argument => InvalidArgument;
        /// The thing asked for does not exist.
        not_found => NotFound;
        /// The thing to be made exists already.
        already_exists => AlreadyExists;
        /// The system's state does not allow it.
        failed_precondition => FailedPrecondition;
        /// A conflict with something concurrent.
        aborted => Aborted;
        /// Not reachable now.
        unavailable => Unavailable;
        /// A defect on the serving side.
        internal => Internal;
        /// The caller is known and may not.
        permission_denied => PermissionDenied;
    }

    /// The same error with its cause, which only telemetry sees.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The same error naming one more field that is wrong.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.0.violations.push(FieldViolation { field: field.into(), description: description.into() });
        self
    }

    /// The same error with one more fact for machines to read.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.metadata.insert(key.into(), value.into());
        self
    }

    /// The same error asking the caller to wait at least this long; whole milliseconds travel.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after =
            Some(Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)));
        self
    }

    /// The canonical code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The reason, if the error carries one.
    #[must_use]
    pub fn reason_info(&self) -> Option<&ReasonInfo> {
        self.0.reason.as_ref()
    }

    /// Whether the error carries this reason.
    #[must_use]
    pub fn is<R: Reason + PartialEq>(&self, reason: R) -> bool {
        crate::reason_of::<R>(self) == Some(reason)
    }

    /// The message for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The fields that are wrong.
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        &self.0.violations
    }

    /// Facts for machines to read.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// How long the caller should wait before it tries again.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The HTTP status that the gateway answers.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.0.reason.as_ref().map_or(self.0.code.http(), |reason| reason.http)
    }

    /// The cause, while the error is still inside the module that met it.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }

    /// The same error, said to come from the record of an earlier call.
    ///
    /// Travels beside the status, as the header [`crate::headers::IDEMPOTENCY_REPLAYED`], so that a replayed refusal equals the first.
    #[must_use]
    pub fn mark_replayed(mut self) -> Self {
        self.0.replayed = true;
        self
    }

    /// Whether the error came from the record of an earlier call.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.0.replayed
    }

    /// The same error, said to be one that sending the call again does not help: it was tried again already, nearer to where it failed.
    ///
    /// Travels beside the status, as the trailer [`crate::headers::RETRY_PUSHBACK`] with the value -1 (gRPC proposal A6), so that a chain of calls tries again
    /// at one of its hops and not at each.
    #[must_use]
    pub fn mark_final(mut self) -> Self {
        self.0.is_final = true;
        self
    }

    /// Whether the callee asks not to be called again for this.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.0.is_final
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn inner_mut(&mut self) -> &mut Inner {
        &mut self.0
    }
}

impl<E> From<E> for Error
where
    E: StdError + Send + Sync + 'static,
{
    fn from(cause: E) -> Self {
        let classifiers = CLASSIFIERS.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let judged = classifiers.iter().find_map(|classify| classify(&cause));
        drop(classifiers);
        let (code, message) = judged.unwrap_or((Code::Internal, Cow::Borrowed("internal error")));
        Self::new(code, message).caused_by(cause)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.code)?;
        if let Some(reason) = &self.0.reason {
            write!(f, " ({}/{})", reason.domain, reason.name)?;
        }
        write!(f, ": {}", self.0.message)?;
        for violation in &self.0.violations {
            write!(f, "; {}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause: Option<&(dyn StdError + 'static)> = self.0.cause.as_deref().map(|cause| cause as _);
        while let Some(current) = cause {
            write!(f, "\n  caused by: {current}")?;
            cause = current.source();
        }
        Ok(())
    }
}
