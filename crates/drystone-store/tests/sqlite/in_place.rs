//! A store that does its work where it is asked for, as rehearsals need it.

use std::task::Poll;

use drystone_testkit::poll_once;

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn in_place_everything_is_done_at_the_first_poll() {
    let mut world = World::sqlite_with(|config| config.in_place = true).await;
    let (mut one, mut other) = (world.cx(), world.cx());
    // Whatever another thread had to do would not be done yet.
    let mut first = Box::pin(world.add(&mut one, "a", 1));
    assert!(matches!(poll_once(&mut first), Poll::Ready(Ok(_))));
    drop(first);
    let mut second = Box::pin(world.add(&mut other, "b", 1));
    assert!(matches!(poll_once(&mut second), Poll::Ready(Ok(_))));
    drop(second);
    let mut config = world.config();
    config.in_place = true;
    world.reopen_with(config).await.unwrap();
    assert_eq!(world.skus(&mut world.cx()).await, ["a", "b"]);
}
