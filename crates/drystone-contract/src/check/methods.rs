//! Rules about `(drystone.method)`, streaming, the names of methods and of what they take and give.

use std::time::Duration;

use prost_reflect::{MessageDescriptor, MethodDescriptor};

use crate::annotations::{METHOD, method_options};
use crate::finding::Finding;
use crate::model::{MethodKind, effect, method_kind};
use crate::repeat::Effect;
use crate::rules;
use crate::source::{Place, place, width};
use crate::timeout::parse_timeout;

/// Number of `drystone.REQUIRED`.
const REQUIRED: i32 = 2;
/// For how long a coalesced answer may be kept: what somebody has written is remembered for as long.
const LONGEST_TTL: Duration = Duration::from_secs(60);
/// Where a method's descriptor names its request, and where its response.
const INPUT: i32 = 2;
const OUTPUT: i32 = 3;
/// The client's own functions, which no method may be called like.
const CLIENT_FUNCTIONS: [&str; 2] = ["labelled", "fromchannel"];

pub(super) fn check(method: &MethodDescriptor, findings: &mut Vec<Finding>) {
    let name = method.full_name();
    let options = method_options(method);
    if !options.timeout.is_empty()
        && let Err(error) = parse_timeout(&options.timeout)
    {
        let remedy = "write a whole number above zero and `ms`, `s` or `m`, such as \"500ms\"";
        let place = at_option(method, METHOD);
        findings.push(Finding::new(&rules::TIMEOUT, place, format!("method `{name}`: {error}"), remedy));
    }
    if options.key == REQUIRED && effect(method) == Effect::NoSideEffects {
        findings.push(Finding::new(
            &rules::KEY,
            at_option(method, METHOD),
            format!("method `{name}` declares NO_SIDE_EFFECTS and requires an idempotency key"),
            "remove `key: REQUIRED`, or remove `idempotency_level = NO_SIDE_EFFECTS` if the method changes something",
        ));
    }
    check_coalesce(method, options.coalesce.as_deref(), findings);
    if method_kind(method) != MethodKind::Unary {
        findings.push(Finding::new(
            &rules::STREAMING,
            place(method.parent_file().file_descriptor_proto(), method.path()),
            format!("method `{name}` streams, and streaming methods are not supported yet"),
            "make it unary: for a long answer, page with `page_size` and `page_token`",
        ));
    }
    check_shadowed(method, INPUT, &method.input(), findings);
    check_shadowed(method, OUTPUT, &method.output(), findings);
    if CLIENT_FUNCTIONS.contains(&method.name().to_ascii_lowercase().replace('_', "").as_str()) {
        findings.push(Finding::new(
            &rules::NAMES,
            place(method.parent_file().file_descriptor_proto(), method.path()),
            format!("method `{name}` has the name of a function that every client has"),
            "rename the method",
        ));
    }
}

fn check_coalesce(method: &MethodDescriptor, ttl: Option<&str>, findings: &mut Vec<Finding>) {
    let Some(ttl) = ttl else { return };
    let name = method.full_name();
    let mut find = |what: String, remedy: &str| {
        findings.push(Finding::new(&rules::COALESCE, at_option(method, METHOD), what, remedy));
    };
    if effect(method) != Effect::NoSideEffects {
        find(
            format!("method `{name}` coalesces, and does not declare NO_SIDE_EFFECTS"),
            "declare `idempotency_level = NO_SIDE_EFFECTS` if the method only reads, or remove `coalesce`",
        );
    }
    if !ttl.is_empty() && !parse_timeout(ttl).is_ok_and(|ttl| ttl <= LONGEST_TTL) {
        find(
            format!("method `{name}`: `{ttl}` is not a time for which answers are kept"),
            "write 1 ms to 60 s as a whole number and `ms`, `s` or `m`, such as \"500ms\", or remove `ttl`",
        );
    }
}

/// Finds a message named by its last name alone where a method of the service has that name too. protoc looks inside the service first, finds the
/// method and refuses the file, so that clients in other languages could not be generated from it.
fn check_shadowed(
    method: &MethodDescriptor,
    number: i32,
    message: &MessageDescriptor,
    findings: &mut Vec<Finding>,
) {
    let file = method.parent_file();
    let file = file.file_descriptor_proto();
    let path = [method.path(), &[number]].concat();
    let is_short = width(file, &path) == Some(message.name().chars().count());
    if is_short && method.parent_service().methods().any(|other| other.name() == message.name()) {
        findings.push(Finding::new(
            &rules::SHADOWED,
            place(file, &path),
            format!(
                "method `{}`: protoc takes `{}` for the method of that name",
                method.full_name(),
                message.name()
            ),
            format!("name the message in full, as `{}`, or rename one of them", message.full_name()),
        ));
    }
}

/// The place of one option of the method, or of the method if the option has none.
pub(super) fn at_option(method: &MethodDescriptor, option: i32) -> Place {
    let path = [method.path(), &[4, option]].concat();
    place(method.parent_file().file_descriptor_proto(), &path)
}
