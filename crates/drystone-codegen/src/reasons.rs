//! What the enums of reasons and the messages of events implement.

use std::collections::BTreeMap;

use drystone_contract::{Event, Reason};

use crate::names::{field_name, message_path, type_name};
use crate::template::fill;

const REASON: &str = r#"
impl ::drystone_call::Reason for @Enum@ {
    const DOMAIN: &'static str = "@domain@";

    fn name(self) -> &'static str {
        self.as_str_name()
    }

    fn code(self) -> ::drystone_call::Code {
        match self as i32 {
@codes@            _ => ::drystone_call::Code::Unknown,
        }
    }

    fn http(self) -> u16 {
        match self as i32 {
@statuses@            _ => 500,
        }
    }

    fn from_name(name: &str) -> ::core::option::Option<Self> {
        Self::from_str_name(name)
    }
}

impl @Enum@ {
    /// An error with this reason. The message is for people; callers decide by the reason.
    pub fn error(self, message: impl ::core::convert::Into<::std::string::String>) -> ::drystone_call::Error {
        ::drystone_call::Error::reason(self, message)
    }

    /// The reason that `error` carries, if it is one of these.
    pub fn of(error: &::drystone_call::Error) -> ::core::option::Option<Self> {
        ::drystone_call::reason_of(error)
    }
}
"#;

/// One implementation for each enum of reasons.
pub(crate) fn enums(reasons: &[Reason]) -> String {
    let mut by_enum: BTreeMap<&str, Vec<&Reason>> = BTreeMap::new();
    for reason in reasons {
        by_enum.entry(&reason.enum_name).or_default().push(reason);
    }
    by_enum.into_iter().map(|(name, reasons)| one_enum(name, &reasons)).collect()
}

fn one_enum(name: &str, reasons: &[&Reason]) -> String {
    let arms = |value: &dyn Fn(&Reason) -> String| -> String {
        reasons
            .iter()
            .map(|reason| format!("            {} => {},\n", reason.number, value(reason)))
            .collect()
    };
    let values = [
        ("Enum", &*type_name(name)),
        ("domain", reasons.first().map_or("", |reason| &reason.domain)),
        ("codes", &arms(&|reason| format!("::drystone_call::Code::{:?}", reason.code))),
        ("statuses", &arms(&|reason| reason.http.to_string())),
    ];
    fill(REASON, &values)
}

const EVENT: &str = r#"
impl ::drystone_call::Event for @Message@ {
    const TYPE: &'static str = @type@;

    fn key(&self) -> ::std::string::String {
        ::std::string::ToString::to_string(&self.@key@)
    }
}
"#;

/// One implementation for each event.
pub(crate) fn events(events: &[Event]) -> String {
    let one = |event: &Event| {
        let values = [
            ("Message", &*message_path(&event.message)),
            ("type", &format!("{:?}", event.event_type)),
            ("key", &field_name(&event.key)),
        ];
        fill(EVENT, &values)
    };
    events.iter().map(one).collect()
}
