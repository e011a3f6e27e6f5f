//! Statements that go with the next step.

use drystone_call::{Code, Error};

use crate::keyed::{Client, keyed, text};
use crate::world::World;

const INSERT: &str = "insert into items (id, sku, quantity) values ($1, $2, 1)";

pub(crate) async fn queued_statements_run_in_order(world: World) {
    let mut cx = world.cx();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let (first, second) = (tx.new_id(), tx.new_id());
    tx.query(INSERT).bind((first, "first")).queue();
    tx.query("update items set quantity = quantity * 7").queue();
    tx.query(INSERT).bind((second, "second")).queue();
    let sum: (i64,) = tx.query("select cast(sum(quantity) as bigint) from items").one().await.unwrap();
    assert_eq!(sum, (8,), "the next statement sees what was queued before it");
    tx.query("update items set quantity = quantity + 1").queue();
    tx.commit().await.unwrap();
    let mut read = world.store.read(&mut cx).await.unwrap();
    let rows: Vec<(String, i64)> =
        read.query("select sku, quantity from items order by sku").all().await.unwrap();
    assert_eq!(rows, [("first".to_owned(), 8), ("second".to_owned(), 2)]);
}

pub(crate) async fn a_queued_failure_shows_at_the_next_step(world: World) {
    let mut cx = world.cx();
    world.add(&mut cx, "there", 1).await.unwrap();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let (again, after, later) = (tx.new_id(), tx.new_id(), tx.new_id());
    tx.query(INSERT).bind((again, "there")).queue();
    tx.query(INSERT).bind((later, "later")).queue();
    let error = tx.query(INSERT).bind((after, "after")).execute().await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists, "{error:?}");
    let error = tx.query("select 1").one::<(i32,)>().await.unwrap_err();
    assert!(error.message().contains("on conflict do nothing"), "{error}");
    assert_eq!(tx.commit().await.unwrap_err().code(), Code::Internal);
    assert_eq!(world.skus(&mut cx).await, ["there"]);
}

pub(crate) async fn a_queued_failure_shows_at_the_commit(world: World) {
    let mut cx = world.cx();
    world.add(&mut cx, "there", 1).await.unwrap();
    let mut tx = world.store.begin(&mut cx).await.unwrap();
    let (new, again) = (tx.new_id(), tx.new_id());
    tx.query(INSERT).bind((new, "new")).queue();
    tx.query(INSERT).bind((again, "there")).queue();
    assert_eq!(tx.commit().await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(world.skus(&mut cx).await, ["there"]);
    for wrong in ["commit", "delete from items where sku = $1 or sku = $2"] {
        let mut tx = world.store.begin(&mut cx).await.unwrap();
        let id = tx.new_id();
        tx.query(INSERT).bind((id, "new")).queue();
        tx.query(wrong).bind(("there",)).queue();
        assert_eq!(tx.commit().await.unwrap_err().code(), Code::Internal, "{wrong}");
        assert_eq!(world.skus(&mut cx).await, ["there"], "{wrong}");
    }
    assert_eq!(world.store.metrics().open_transactions, 0);
}

pub(crate) async fn a_refusal_takes_the_place_of_a_queued_failure(world: World) {
    world.add(&mut world.cx(), "there", 1).await.unwrap();
    let store = world.store.clone();
    let client = Client::of(&world, move |cx, req| {
        let store = store.clone();
        Box::pin(async move {
            let mut tx = store.begin(cx).await?;
            let id = tx.new_id();
            tx.query(INSERT).bind((id, req.text)).queue();
            if tx.query("select 1").one::<(i32,)>().await.is_err() {
                return tx.refuse(Error::failed_precondition("it is there")).await;
            }
            tx.commit_with(text("added")).await
        })
    });
    for replayed in [false, true] {
        let (answer, from_record) = client.call(&keyed(&world, "k"), "there").await;
        assert_eq!((answer.unwrap_err().message(), from_record), ("it is there", replayed));
    }
    assert_eq!(client.call(&keyed(&world, "l"), "new").await.0.unwrap(), "added");
    assert_eq!(world.skus(&mut world.cx()).await, ["new", "there"]);
}
