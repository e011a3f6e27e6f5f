//! The answers of flights that have landed, for a time to live.

#[cfg(feature = "cache")]
pub(super) use kept::Cache;
#[cfg(not(feature = "cache"))]
pub(super) use none::Cache;

#[cfg(feature = "cache")]
mod kept {
    use std::hash::Hash;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    /// Bounded; an answer is as old as its flight, which may have read at its beginning.
    pub(in super::super) struct Cache<K, V> {
        ttl: Duration,
        answers: moka::sync::Cache<Arc<K>, (Instant, Arc<V>)>,
    }

    impl<K, V> Cache<K, V>
    where
        K: Eq + Hash + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        pub(in super::super) fn new(ttl: Duration, most: u64) -> Self {
            // moka's own clock only frees the memory; what may be used is decided by the time that a join is told.
            let answers = moka::sync::Cache::builder().max_capacity(most).time_to_live(ttl).build();
            Self { ttl, answers }
        }

        pub(in super::super) fn get(
            &self,
            key: &K,
            now: Instant,
            fresh: impl Fn(Instant) -> bool,
        ) -> Option<Arc<V>> {
            let (began, value) = self.answers.get(key)?;
            (fresh(began) && now.saturating_duration_since(began) < self.ttl).then_some(value)
        }

        pub(in super::super) fn insert(&self, key: Arc<K>, value: Arc<V>, began: Instant) {
            self.answers.insert(key, (began, value));
        }

        pub(in super::super) fn forget(&self) {
            self.answers.invalidate_all();
            self.answers.run_pending_tasks();
        }
    }
}

#[cfg(not(feature = "cache"))]
mod none {
    use std::convert::Infallible;
    use std::marker::PhantomData;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    /// There is none: without the feature no configuration can ask for it.
    pub(in super::super) struct Cache<K, V>(Infallible, PhantomData<(K, V)>);

    impl<K, V> Cache<K, V> {
        pub(in super::super) fn new(_ttl: Duration, _most: u64) -> Self {
            unreachable!("a time to live needs the feature `cache`")
        }

        pub(in super::super) fn get(
            &self,
            _key: &K,
            _now: Instant,
            _fresh: impl Fn(Instant) -> bool,
        ) -> Option<Arc<V>> {
            match self.0 {}
        }

        pub(in super::super) fn insert(&self, _key: Arc<K>, _value: Arc<V>, _began: Instant) {
            match self.0 {}
        }

        pub(in super::super) fn forget(&self) {
            match self.0 {}
        }
    }
}
