//! Trait, client, server and method table of one service.

use std::time::Duration;

use drystone_contract::{Contract, Method, MethodKind, is_recursive};
use prost_build::{Comments, Service};

use crate::descriptors::{closure, hash};
use crate::error::BuildError;
use crate::names::constant_name;
use crate::template::fill;

const SERVICE: &str = r#"
@doc@
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not serve the contract `@full_name@`",
    label = "no implementation of `@Trait@`",
    note = "implement `@Trait@` for it, with one `async fn` for each method of the contract"
)]
pub trait @Trait@: ::core::marker::Send + ::core::marker::Sync + 'static {
@trait_methods@}

/// The object-safe form of [`@Trait@`], which client and server work with; implemented for everything that
/// implements the trait.
#[doc(hidden)]
pub trait @Trait@Dyn: ::core::marker::Send + ::core::marker::Sync + 'static {
@dyn_methods@}

impl<T: @Trait@> @Trait@Dyn for T {
@dyn_impls@}

/// The methods of [`@Trait@`], in the order of the `.proto` file.
static @CONST@_METHODS: [::drystone_call::MethodInfo; @count@] = [
@infos@];

/// What [`@Trait@`] promises to its callers.
pub static @CONST@_CONTRACT: ::drystone_call::ContractInfo = ::drystone_call::ContractInfo {
    package: "@package@",
    name: "@full_name@",
    methods: &@CONST@_METHODS,
    descriptor_set: DESCRIPTOR_SET,
    descriptor_hash: @hash@,
};

impl ::drystone_call::ServiceDef for dyn @Trait@Dyn {
    fn contract() -> &'static ::drystone_call::ContractInfo {
        &@CONST@_CONTRACT
    }

    fn visit<V: ::drystone_call::MethodVisitor<Self>>(method: usize, visitor: V) -> ::core::option::Option<V::Out> {
        match method {
@visits@            _ => ::core::option::Option::None,
        }
    }
}

/// Calls [`@Trait@`], wherever it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct @Trait@Client {
    channel: ::drystone_call::Channel<dyn @Trait@Dyn>,
}

impl @Trait@Client {
@client_methods@
    /// The same client, whose calls carry `label` in their idempotency keys: it tells two calls of one method
    /// apart within one handler, which would otherwise be one call made twice.
    #[must_use]
    pub fn labelled(&self, label: &'static str) -> Self {
        Self { channel: self.channel.labelled(label) }
    }
}

impl ::drystone_call::ContractClient for @Trait@Client {
    type Service = dyn @Trait@Dyn;

    fn from_channel(channel: ::drystone_call::Channel<Self::Service>) -> Self {
        Self { channel }
    }
}

/// Serves an implementation of [`@Trait@`].
#[derive(Clone, Copy, Debug)]
pub struct @Trait@Server;

impl @Trait@Server {
    /// `service`, ready to be mounted.
    pub fn new<T: @Trait@>(service: T) -> ::drystone_call::Served {
        ::drystone_call::Served::new::<dyn @Trait@Dyn>(::std::sync::Arc::new(service))
    }
}
"#;

const TRAIT_METHOD: &str = "@doc@
    fn @name@(&self, cx: &mut ::drystone_call::Context, req: @Input@)
        -> impl ::core::future::Future<Output = ::drystone_call::Result<@Output@>> + ::core::marker::Send;
";

const DYN_METHOD: &str = "    fn @name@<'a>(&'a self, cx: &'a mut ::drystone_call::Context, req: @Input@)
        -> ::drystone_call::codegen::BoxFuture<'a, ::drystone_call::Result<@Output@>>;
";

const DYN_IMPL: &str = "    fn @name@<'a>(&'a self, cx: &'a mut ::drystone_call::Context, req: @Input@)
        -> ::drystone_call::codegen::BoxFuture<'a, ::drystone_call::Result<@Output@>> {
        ::std::boxed::Box::pin(<T as @Trait@>::@name@(self, cx, req))
    }
";

const INFO: &str = r#"    ::drystone_call::MethodInfo {
        index: @index@,
        name: "@proto_name@",
        path: "@path@",
        contract: "@full_name@",
        effect: ::drystone_call::Effect::@effect@,
        key: ::drystone_call::KeyPolicy::@key@,
        timeout: @timeout@,
        coalesce: @coalesce@,
        recursive: @recursive@,
    },
"#;

const VISIT: &str = "            @index@ => ::core::option::Option::Some(visitor.unary::<@Input@, @Output@>(
                &@CONST@_METHODS[@index@],
                |s, cx, req| s.@name@(cx, req),
            )),
";

const CLIENT_METHOD: &str = "@doc@
    pub fn @name@<'a>(&'a self, cx: &'a ::drystone_call::Context, req: @Input@)
        -> impl ::core::future::Future<Output = ::drystone_call::Result<@Output@>> + ::core::marker::Send + 'a {
        self.channel.unary(cx, &@CONST@_METHODS[@index@], req, |s, cx, req| s.@name@(cx, req))
    }
";

/// The code of `contract`'s service; `generated` is what prost made of the same service.
pub(crate) fn generate(contract: &Contract, generated: &Service) -> Result<String, BuildError> {
    let constant = constant_name(&contract.service);
    let scope = Scope { contract, trait_name: &generated.name, constant: &constant };
    let mut parts = Parts::default();
    for (method, names) in contract.methods.iter().zip(&generated.methods) {
        match method.kind {
            MethodKind::Unary => parts.unary(&scope, method, names),
            MethodKind::ServerStreaming | MethodKind::ClientStreaming | MethodKind::Bidirectional => {
                let message =
                    format!("error: method `{}` streams, which cannot be generated yet", method.path);
                return Err(BuildError::Generate(message));
            }
        }
    }
    let file = contract.pool.get_service_by_name(&contract.full_name).map(|service| service.parent_file());
    let values = [
        ("doc", &*doc(&generated.comments, 0)),
        ("Trait", &generated.name),
        ("CONST", &constant),
        ("package", &contract.package),
        ("full_name", &contract.full_name),
        ("count", &contract.methods.len().to_string()),
        ("hash", &format!("{:#018x}", hash(&closure(&contract.pool, file)))),
        ("trait_methods", &parts.trait_methods),
        ("dyn_methods", &parts.dyn_methods),
        ("dyn_impls", &parts.dyn_impls),
        ("infos", &parts.infos),
        ("visits", &parts.visits),
        ("client_methods", &parts.client_methods),
    ];
    Ok(fill(SERVICE, &values))
}

/// What the methods of one service share.
struct Scope<'a> {
    contract: &'a Contract,
    trait_name: &'a str,
    constant: &'a str,
}

/// The pieces that each method adds to the service.
#[derive(Default)]
struct Parts {
    trait_methods: String,
    dyn_methods: String,
    dyn_impls: String,
    infos: String,
    visits: String,
    client_methods: String,
}

impl Parts {
    fn unary(&mut self, scope: &Scope<'_>, method: &Method, names: &prost_build::Method) {
        let coalesce = method.coalesce.map(|coalesce| {
            format!("::drystone_call::Coalescing {{ ttl: {} }}", option(coalesce.ttl.map(duration)))
        });
        let values = [
            ("doc", &*doc(&names.comments, 1)),
            ("name", &names.name),
            ("Input", &names.input_type),
            ("Output", &names.output_type),
            ("Trait", scope.trait_name),
            ("CONST", scope.constant),
            ("full_name", &scope.contract.full_name),
            ("index", &method.index.to_string()),
            ("proto_name", &method.name),
            ("path", &method.path),
            ("effect", &format!("{:?}", method.effect)),
            ("key", &format!("{:?}", method.key)),
            ("timeout", &option(method.timeout.map(duration))),
            ("coalesce", &option(coalesce)),
            ("recursive", &(is_recursive(&method.input) || is_recursive(&method.output)).to_string()),
        ];
        let pieces = [
            (&mut self.trait_methods, TRAIT_METHOD),
            (&mut self.dyn_methods, DYN_METHOD),
            (&mut self.dyn_impls, DYN_IMPL),
            (&mut self.infos, INFO),
            (&mut self.visits, VISIT),
            (&mut self.client_methods, CLIENT_METHOD),
        ];
        for (piece, template) in pieces {
            piece.push_str(&fill(template, &values));
        }
    }
}

fn option(value: Option<String>) -> String {
    value.map_or("::core::option::Option::None".to_owned(), |value| {
        format!("::core::option::Option::Some({value})")
    })
}

fn duration(duration: Duration) -> String {
    format!("::core::time::Duration::from_millis({})", duration.as_millis())
}

/// The comment as lines of rustdoc, escaped as prost escapes those of messages.
fn doc(comments: &Comments, depth: u8) -> String {
    let mut text = String::new();
    comments.append_with_indent(depth, &mut text);
    text.trim_end().to_owned()
}
