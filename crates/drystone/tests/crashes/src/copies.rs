//! Two copies of the ledger, by its events alone: the mirror, whose handler fails where a test wants it, and the audit, which never fails.

use crashes_api::{
    ArmMirrorRequest, ArmMirrorResponse, Audit, AuditServer, Copies, Entry, FailRequest, FailResponse,
    GetAuditedRequest, GetHeldRequest, GetMirroredRequest, Held, Mirror, MirrorServer, Posted, Reminded,
    ReplayRequest, ReplayResponse,
};
use drystone::prelude::*;
use drystone::store::ReadTx;

use crate::ledger::small;

struct MirrorService(Store);

struct AuditService(Store);

/// The mirror.
pub(crate) fn mirror() -> Module {
    Module::new("mirror").migrations(migrations!("migrations/mirror")).wire(|w| {
        w.handle::<Posted>(mirror_posted);
        w.handle::<Reminded>(mirror_reminded);
        w.serve(MirrorServer::new(MirrorService(w.store())));
    })
}

/// The audit.
pub(crate) fn audit() -> Module {
    Module::new("audit").migrations(migrations!("migrations/audit")).wire(|w| {
        w.handle::<Posted>(audit_posted);
        w.handle::<Reminded>(audit_reminded);
        w.serve(AuditServer::new(AuditService(w.store())));
    })
}

async fn mirror_posted(tx: &mut Tx<'_>, event: Posted) -> Result<()> {
    let Posted { account, n, text } = event;
    fail_where_wanted(tx, &account).await?;
    append(tx, Entry { account, n, text, later: false }).await
}

async fn mirror_reminded(tx: &mut Tx<'_>, event: Reminded) -> Result<()> {
    let Reminded { account, n, text } = event;
    fail_where_wanted(tx, &account).await?;
    append(tx, Entry { account, n, text, later: true }).await
}

async fn audit_posted(tx: &mut Tx<'_>, event: Posted) -> Result<()> {
    let Posted { account, n, text } = event;
    append(tx, Entry { account, n, text, later: false }).await
}

async fn audit_reminded(tx: &mut Tx<'_>, event: Reminded) -> Result<()> {
    let Reminded { account, n, text } = event;
    append(tx, Entry { account, n, text, later: true }).await
}

async fn fail_where_wanted(tx: &mut Tx<'_>, account: &str) -> Result<()> {
    let (failing,) = tx
        .query("select count(*) from failing where prefix = substr($1, 1, length(prefix))")
        .bind((account,))
        .one::<(i64,)>()
        .await?;
    if failing > 0 { Err(Error::internal(format!("{account} fails, as was asked"))) } else { Ok(()) }
}

/// Nothing here keeps an entry from being applied twice, or in another order: that is the platform's promise.
async fn append(tx: &mut Tx<'_>, entry: Entry) -> Result<()> {
    let Entry { account, n, text, later } = entry;
    let (place,) = tx
        .query("select cast(coalesce(max(place), 0) + 1 as bigint) from applied where account = $1")
        .bind((&account,))
        .one::<(i64,)>()
        .await?;
    tx.query("insert into applied (account, place, n, text, later) values ($1, $2, $3, $4, $5)")
        .bind((account, place, i64::from(n), text, i64::from(later)))
        .execute()
        .await
        .map(drop)
}

async fn applied(store: &Store, cx: &mut Context, prefix: &str) -> Result<Copies> {
    let mut tx = store.read(cx).await?;
    let rows: Vec<(String, i64, String, i64)> = tx
        .query("select account, n, text, later from applied where substr(account, 1, length($1)) = $1 order by account, place")
        .bind((prefix,))
        .all()
        .await?;
    let total = total(&mut tx).await?;
    let entry = |(account, n, text, later)| Entry { account, n: small(n), text, later: later != 0 };
    Ok(Copies { applied: rows.into_iter().map(entry).collect(), total })
}

async fn total(tx: &mut ReadTx<'_>) -> Result<i32> {
    let (total,) = tx.query("select count(*) from applied").one::<(i64,)>().await?;
    Ok(small(total))
}

impl Mirror for MirrorService {
    async fn fail(&self, cx: &mut Context, req: FailRequest) -> Result<FailResponse> {
        let mut tx = self.0.begin(cx).await?;
        tx.query("delete from failing where prefix = $1").bind((&req.prefix,)).execute().await?;
        if req.on {
            tx.query("insert into failing (prefix) values ($1)").bind((&req.prefix,)).execute().await?;
        }
        tx.commit_with(FailResponse {}).await
    }

    async fn replay(&self, cx: &mut Context, req: ReplayRequest) -> Result<ReplayResponse> {
        let mut tx = self.0.begin(cx).await?;
        let parked = tx
            .query("update drystone_held set state = 'retrying', due = 0, attempts = 0 where state = 'parked' and substr(key, 1, length($1)) = $1")
            .bind((&req.prefix,))
            .execute()
            .await?;
        tx.commit_with(ReplayResponse { parked: i32::try_from(parked)? }).await
    }

    async fn get_mirrored(&self, cx: &mut Context, req: GetMirroredRequest) -> Result<Copies> {
        applied(&self.0, cx, &req.prefix).await
    }

    async fn get_held(&self, cx: &mut Context, _: GetHeldRequest) -> Result<Held> {
        let counts =
            "select count(*), cast(coalesce(sum(case when state = 'parked' then 1 else 0 end), 0) as bigint)
            from drystone_held";
        let mut tx = self.0.read(cx).await?;
        let (messages, parked) = tx.query(counts).one::<(i64, i64)>().await?;
        let total = total(&mut tx).await?;
        let repeats = i32::try_from(drystone_events::repeats())?;
        Ok(Held { messages: small(messages), parked: small(parked), repeats, total })
    }

    async fn arm_mirror(&self, _: &mut Context, req: ArmMirrorRequest) -> Result<ArmMirrorResponse> {
        drystone_events::arm(&req.name, u64::try_from(req.nth)?);
        Ok(ArmMirrorResponse {})
    }
}

impl Audit for AuditService {
    async fn get_audited(&self, cx: &mut Context, req: GetAuditedRequest) -> Result<Copies> {
        applied(&self.0, cx, &req.prefix).await
    }
}
