//! The threads beside the agent's loop, each with as little as it needs.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustix::thread::CapabilitySet;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::{ECHO, SCRIPTS, keep};

/// A thread that runs tasks; dropping it ends them and waits for that.
pub struct Thread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts one that has given up all capabilities but `set`.
    fn start(name: &str, set: CapabilitySet) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let running = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let kept = keep(set);
                let has = kept.is_ok();
                // Whoever waits for it is in the same function.
                let _ = tell.send(kept);
                if has {
                    // It ends by the message, or by the end of who could send it.
                    let _ = runtime.block_on(stopped);
                }
            })?;
        told.recv().map_err(io::Error::other)??;
        Ok(Self {
            handle,
            stop: Some(stop),
            running: Some(running),
        })
    }

    /// Takes tasks.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(running) = self.running.take() {
            // A panic of its own has been told already.
            let _ = running.join();
        }
    }
}

/// All of them. They end in this order: what the first one has asked of the others ends with them.
pub struct Threads {
    /// Has no capability, and speaks with nodes and clients.
    pub outside: Thread,
    /// Opens raw sockets.
    pub echo: Thread,
    /// Runs scripts.
    pub scripts: Thread,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The operating system has no more threads, or does not let one give up what it has.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            outside: Thread::start("outside", CapabilitySet::empty())?,
            echo: Thread::start("echo", ECHO)?,
            scripts: Thread::start("scripts", SCRIPTS)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities_of(thread: &Thread) -> CapabilitySet {
        let (tell, told) = mpsc::channel();
        thread.handle().spawn(async move {
            let held = rustix::thread::capabilities(None).unwrap();
            tell.send(held.permitted).unwrap();
        });
        told.recv().unwrap()
    }

    #[test]
    fn each_thread_has_what_it_needs_and_nothing_else() {
        let held = rustix::thread::capabilities(None).unwrap().permitted;
        let threads = Threads::start().unwrap();
        assert_eq!(capabilities_of(&threads.outside), CapabilitySet::empty());
        assert_eq!(capabilities_of(&threads.echo), ECHO & held);
        assert_eq!(capabilities_of(&threads.scripts), SCRIPTS & held);
    }

    #[test]
    fn a_thread_that_is_dropped_ends_its_tasks() {
        struct Ends(mpsc::Sender<()>);
        impl Drop for Ends {
            fn drop(&mut self) {
                let _ = self.0.send(());
            }
        }
        let thread = Thread::start("ends", CapabilitySet::empty()).unwrap();
        let (sender, ended) = mpsc::channel();
        let ends = Ends(sender);
        thread.handle().spawn(async move {
            let _ends = ends;
            std::future::pending::<()>().await;
        });
        drop(thread);
        assert_eq!(ended.try_recv(), Ok(()));
    }
}
