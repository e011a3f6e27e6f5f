//! The canonical codes: every failure carries one, and a contract names one for each reason.

/// A canonical gRPC status code other than `OK`.
///
/// Source: `google/rpc/code.proto`; the HTTP statuses are the mapping documented there, with
/// `CANCELLED` as 499 by the convention of nginx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// The caller gave up.
    Cancelled = 1,
    /// A failure that nobody classified.
    Unknown = 2,
    /// The request is wrong whatever the state of the system.
    InvalidArgument = 3,
    /// The deadline passed before an answer came; the effect may have happened.
    DeadlineExceeded = 4,
    /// The thing asked for does not exist.
    NotFound = 5,
    /// The thing to be made exists already.
    AlreadyExists = 6,
    /// The caller is known and may not.
    PermissionDenied = 7,
    /// A limit or quota is used up.
    ResourceExhausted = 8,
    /// The system's state does not allow it; retrying alone does not help.
    FailedPrecondition = 9,
    /// A conflict with something concurrent; retry the whole operation.
    Aborted = 10,
    /// Past the valid range.
    OutOfRange = 11,
    /// Not implemented here.
    Unimplemented = 12,
    /// A defect on the serving side.
    Internal = 13,
    /// Not reachable now; retry with back-off.
    Unavailable = 14,
    /// Data is lost or corrupt beyond repair.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

impl Code {
    /// Every code, by number.
    pub const ALL: [Self; 16] = [
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of a number read from a wire; a number that means nothing is [`Code::Unknown`], as gRPC asks.
    #[must_use]
    pub fn from_number(number: i32) -> Self {
        Self::try_from_number(number).unwrap_or(Self::Unknown)
    }

    /// The code with the canonical `number`; `None` for OK and for numbers that mean nothing.
    #[must_use]
    pub fn try_from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }

    /// The code of a canonical name such as `NOT_FOUND`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }

    /// The gRPC number, 1 to 16.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The canonical name, such as `NOT_FOUND`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// The HTTP status that the gateway answers when no reason names another.
    #[must_use]
    pub const fn http(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::ResourceExhausted => 429,
            Self::Cancelled => 499,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }

    /// Whether the outcome is open: the call may or may not have had its effect, or may succeed when sent again.
    /// The other codes are answers.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(
            self,
            Self::Cancelled
                | Self::Unknown
                | Self::DeadlineExceeded
                | Self::ResourceExhausted
                | Self::Aborted
                | Self::Internal
                | Self::Unavailable
        )
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
