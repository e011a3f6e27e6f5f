//! REST through a real channel, bound direct, to a service written by hand as generated code would write it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use drystone_call::codegen::BoxFuture;
use drystone_call::{
    Admission, Claim, Context, ContractInfo, Error, Home, KeyGate, KeyUse, MethodVisitor, PlatformReason,
    Recorded, Result, Served, ServiceDef, Target,
};
use drystone_gateway::Gateway;
use futures_util::FutureExt as _;
use prost::Message as _;

use crate::support::{builder, contract, send};

const PROTO: &str = "syntax = \"proto3\"; package test.notes.v1; import \"google/api/annotations.proto\";
    service Notes {
      rpc Write(Note) returns (Note) { option (google.api.http) = { post: \"/v1/notes\" body: \"*\" }; }
      rpc Read(Note) returns (Note) {
        option idempotency_level = NO_SIDE_EFFECTS;
        option (google.api.http) = { get: \"/v1/notes/{id}\" };
      }
    }
    message Note { string id = 1; string text = 2; }";

#[derive(Clone, PartialEq, prost::Message, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Note {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    text: String,
}

trait NotesDyn: Send + Sync + 'static {
    fn write<'a>(&'a self, cx: &'a mut Context, req: Note) -> BoxFuture<'a, Result<Note>>;
    fn read<'a>(&'a self, cx: &'a mut Context, req: Note) -> BoxFuture<'a, Result<Note>>;
}

fn notes() -> &'static ContractInfo {
    static NOTES: OnceLock<&'static ContractInfo> = OnceLock::new();
    NOTES.get_or_init(|| contract("test/notes.proto", PROTO, "test.notes.v1.Notes"))
}

impl ServiceDef for dyn NotesDyn {
    fn contract() -> &'static ContractInfo {
        notes()
    }

    fn visit<V: MethodVisitor<Self>>(method: usize, visitor: V) -> Option<V::Out> {
        let info = notes().methods.get(method)?;
        Some(match method {
            0 => visitor.unary::<Note, Note>(info, |service, cx, req| service.write(cx, req)),
            _ => visitor.unary::<Note, Note>(info, |service, cx, req| service.read(cx, req)),
        })
    }
}

/// What was answered under each key, as a store keeps it, and the notes.
#[derive(Default)]
struct Book {
    recorded: Mutex<HashMap<String, ([u8; 32], Recorded)>>,
    notes: Mutex<Vec<Note>>,
}

struct Gate(Arc<Book>);

impl KeyGate for Gate {
    fn admit(&self, key_use: KeyUse) -> BoxFuture<'_, Result<Admission>> {
        let outcome = match self.0.recorded.lock().unwrap().get(key_use.key.as_str()) {
            Some((fingerprint, recorded)) if *fingerprint == key_use.fingerprint => {
                Ok(Admission::Replay(recorded.clone()))
            }
            Some(_) => Err(PlatformReason::KeyReused.error("another payload")),
            None => Ok(Admission::Run(Claim::new(key_use, Arc::new(())))),
        };
        async move { outcome }.boxed()
    }
}

struct Notes(Arc<Book>);

impl Notes {
    fn record(&self, cx: &mut Context, recorded: Recorded) {
        let Some(claim) = cx.claim_mut() else { return };
        claim.mark_recorded();
        let entry = (claim.key_use.fingerprint, recorded);
        self.0.recorded.lock().unwrap().insert(claim.key_use.key.to_string(), entry);
    }
}

impl NotesDyn for Notes {
    fn write<'a>(&'a self, cx: &'a mut Context, req: Note) -> BoxFuture<'a, Result<Note>> {
        async move {
            if req.text.is_empty() {
                let error = Error::failed_precondition("a note says something");
                self.record(cx, Recorded::Refusal(error.to_status_bytes()));
                return Err(error);
            }
            let mut notes = self.0.notes.lock().unwrap();
            let note = Note { id: notes.len().to_string(), ..req };
            notes.push(note.clone());
            self.record(cx, Recorded::Answer(note.encode_to_vec().into()));
            Ok(note)
        }
        .boxed()
    }

    fn read<'a>(&'a self, _: &'a mut Context, req: Note) -> BoxFuture<'a, Result<Note>> {
        async move {
            assert_ne!(req.id, "panic", "a defect");
            let found = self.0.notes.lock().unwrap().iter().find(|note| note.id == req.id).cloned();
            found.ok_or_else(|| Error::not_found(format!("there is no note {}", req.id)))
        }
        .boxed()
    }
}

fn gateway() -> (Gateway, Arc<Book>) {
    let book = Arc::new(Book::default());
    let served = Served::new::<dyn NotesDyn>(Arc::new(Notes(Arc::clone(&book))));
    let mount = served.mount(Home::of_system("notes"), Some(Arc::new(Gate(Arc::clone(&book)))));
    let channel = served.outside_channel("gateway");
    channel.bind_to(Target::Direct(mount)).unwrap();
    (builder().mount(channel).build().unwrap(), book)
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn notes_are_written_and_read() {
    let (gateway, _) = gateway();
    let written = send(&gateway, "POST /v1/notes", &[JSON], r#"{"text":"milk"}"#).await;
    assert_eq!((written.status.as_u16(), &*written.body), (200, &br#"{"id":"0","text":"milk"}"#[..]));
    assert_eq!(written.header("idempotency-replayed"), None);
    let read = send(&gateway, "GET /v1/notes/0", &[], "").await;
    assert_eq!((read.status.as_u16(), read.body), (200, written.body));
    let missing = send(&gateway, "GET /v1/notes/9", &[], "").await;
    assert_eq!((missing.status.as_u16(), &missing.problem()["detail"]), (404, &"there is no note 9".into()));
}

#[tokio::test]
async fn a_key_makes_two_requests_one() {
    let (gateway, book) = gateway();
    let keyed = [JSON, ("idempotency-key", "\"k\"")];
    let first = send(&gateway, "POST /v1/notes", &keyed, r#"{"text":"milk"}"#).await;
    let second = send(&gateway, "POST /v1/notes", &keyed, r#"{"text":"milk"}"#).await;
    assert_eq!((first.status, first.body), (second.status, second.body));
    assert_eq!(first.headers.get("idempotency-replayed"), None);
    assert_eq!(second.headers["idempotency-replayed"], "true");
    assert_eq!(book.notes.lock().unwrap().len(), 1);
    let other = send(&gateway, "POST /v1/notes", &keyed, r#"{"text":"eggs"}"#).await;
    assert_eq!((other.status.as_u16(), &other.problem()["reason"]), (422, &"IDEMPOTENCY_KEY_REUSED".into()));
    // A refusal is replayed as the refusal.
    let keyed = [JSON, ("idempotency-key", "\"r\"")];
    let first = send(&gateway, "POST /v1/notes", &keyed, "{}").await;
    let second = send(&gateway, "POST /v1/notes", &keyed, "{}").await;
    assert_eq!((first.status.as_u16(), first.problem()), (400, second.problem()));
    assert_eq!(second.headers["idempotency-replayed"], "true");
}

#[tokio::test]
async fn requests_that_do_not_fit_are_located() {
    let (gateway, book) = gateway();
    for (body, detail) in [
        (r#"{"text":"a","colour":1}"#, "unknown field `colour`, expected `id` or `text` at line 1 column 20"),
        (r#"{"text":1}"#, "invalid type: integer `1`, expected a string at line 1 column 9"),
        (r#"{"text":"a""#, "EOF while parsing an object at line 1 column 11"),
    ] {
        let answer = send(&gateway, "POST /v1/notes", &[JSON], body).await;
        assert_eq!(answer.status, 400, "{body}");
        let problem = answer.problem();
        let expect = format!("the request does not fit /test.notes.v1.Notes/Write: {detail}");
        assert_eq!(problem["detail"], expect);
    }
    assert!(book.notes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_panic_is_a_problem_and_no_more() {
    let (gateway, _) = gateway();
    let answer = send(&gateway, "GET /v1/notes/panic", &[], "").await;
    assert_eq!((answer.status.as_u16(), &answer.problem()["reason"]), (500, &"HANDLER_PANICKED".into()));
    assert_eq!(send(&gateway, "GET /v1/notes/1", &[], "").await.status, 404);
}
