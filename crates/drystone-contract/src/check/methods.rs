//! Rules about `(drystone.method)`, streaming and the names of methods.

use prost_reflect::MethodDescriptor;

use crate::annotations::{METHOD, method_options};
use crate::finding::Finding;
use crate::model::{MethodKind, effect, method_kind};
use crate::repeat::Effect;
use crate::rules;
use crate::source::{Place, place};
use crate::timeout::parse_timeout;

/// Number of `drystone.REQUIRED`.
const REQUIRED: i32 = 2;
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
    if method_kind(method) != MethodKind::Unary {
        findings.push(Finding::new(
            &rules::STREAMING,
            place(method.parent_file().file_descriptor_proto(), method.path()),
            format!("method `{name}` streams, and streaming methods are not supported yet"),
            "make it unary: for a long answer, page with `page_size` and `page_token`",
        ));
    }
    if CLIENT_FUNCTIONS.contains(&method.name().to_ascii_lowercase().replace('_', "").as_str()) {
        findings.push(Finding::new(
            &rules::NAMES,
            place(method.parent_file().file_descriptor_proto(), method.path()),
            format!("method `{name}` has the name of a function that every client has"),
            "rename the method",
        ));
    }
}

/// The place of one option of the method, or of the method if the option has none.
pub(super) fn at_option(method: &MethodDescriptor, option: i32) -> Place {
    let path = [method.path(), &[4, option]].concat();
    place(method.parent_file().file_descriptor_proto(), &path)
}
