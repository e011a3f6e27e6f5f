//! Errors as RFC 9457 problem documents, and back without loss.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::ReasonInfo;
use crate::{Code, Error, FieldViolation};

/// A problem document (`application/problem+json`, RFC 9457) with Drystone's extension members.
///
/// `type` names the reason as a URN, or is `about:blank` when the code says all there is to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:drystone:reason:<domain>:<name>` or `about:blank`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The reason or the code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The message for the caller.
    pub detail: String,
    /// The canonical code, such as `FAILED_PRECONDITION`.
    pub code: String,
    /// The reason's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The proto package that declares the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The fields that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<ProblemViolation>,
    /// Facts for machines to read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How long to wait before trying again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// One wrong field in a problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemViolation {
    /// The path of the field.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// `OUT_OF_STOCK` as `Out of stock`.
fn in_words(name: &str) -> String {
    let mut words = name.to_lowercase().replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let reason = error.reason_info();
        Self {
            kind: reason.map_or_else(
                || "about:blank".to_owned(),
                |r| format!("urn:drystone:reason:{}:{}", r.domain(), r.name()),
            ),
            title: in_words(reason.map_or(error.code().name(), |r| r.name())),
            status: error.http_status(),
            detail: error.message().to_owned(),
            code: error.code().name().to_owned(),
            reason: reason.map(|r| r.name().to_owned()),
            domain: reason.map(|r| r.domain().to_owned()),
            violations: error
                .violations()
                .iter()
                .map(|v| ProblemViolation { field: v.field.clone(), description: v.description.clone() })
                .collect(),
            metadata: error.metadata().clone(),
            retry_after_ms: error.retry_delay().map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let code = Code::from_name(&problem.code).unwrap_or(Code::Unknown);
        let mut error = Error::new(code, problem.detail);
        let inner = error.inner_mut();
        if let (Some(name), Some(domain)) = (problem.reason, problem.domain) {
            inner.reason =
                Some(ReasonInfo { domain: Cow::Owned(domain), name: Cow::Owned(name), http: problem.status });
        }
        inner.violations = problem
            .violations
            .into_iter()
            .map(|v| FieldViolation { field: v.field, description: v.description })
            .collect();
        inner.metadata = problem.metadata;
        inner.retry_after = problem.retry_after_ms.map(Duration::from_millis);
        error
    }
}
