//! Who does for a check what it may not do itself: open a raw socket, start a script.

use std::io;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::privileges::Threads;

/// The threads that have the privileges; where there are none, checks use their own.
#[derive(Clone, Debug, Default)]
pub struct Hands {
    echo: Option<Handle>,
    scripts: Option<Handle>,
}

impl Hands {
    /// Those of the agent's threads.
    pub fn of(threads: &Threads) -> Self {
        Self {
            echo: Some(threads.echo.handle().clone()),
            scripts: Some(threads.scripts.handle().clone()),
        }
    }

    /// Opens a socket where raw ones may be opened.
    pub(super) async fn open<T: Send + 'static>(
        &self,
        open: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        on(self.echo.as_ref(), async { open() }).await?
    }

    /// Does what only may be done where scripts can be started as their users.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> io::Result<T> {
        on(self.scripts.as_ref(), work).await
    }
}

/// Work that another thread does ends with whoever waits for it.
async fn on<T: Send + 'static>(
    handle: Option<&Handle>,
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let Some(handle) = handle else {
        return Ok(work.await);
    };
    let mut tasks = JoinSet::new();
    tasks.spawn_on(work, handle);
    match tasks.join_next().await {
        Some(Ok(done)) => Ok(done),
        Some(Err(_)) | None => Err(io::ErrorKind::Interrupted.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread::current;

    use super::*;

    #[tokio::test]
    async fn work_is_done_by_the_thread_that_may_do_it() {
        let threads = Threads::start().unwrap();
        let hands = Hands::of(&threads);
        let name = || current().name().map(str::to_owned);
        let opened = hands.open(move || Ok(name())).await.unwrap();
        assert_eq!(opened.as_deref(), Some("echo"));
        let ran = hands.run(async move { name() }).await.unwrap();
        assert_eq!(ran.as_deref(), Some("scripts"));
        let own = Hands::default().open(move || Ok(name())).await.unwrap();
        assert_eq!(own, current().name().map(str::to_owned));
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_ends() {
        let threads = Threads::start().unwrap();
        let hands = Hands::of(&threads);
        let (held, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let work = hands.run(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        let limit = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(limit, work).await.is_err());
        assert_eq!(ended.recv().await, None);
    }
}
