//! Network namespaces for tests that need addresses, routes and raw sockets of their own.
//!
//! Needs CAP_SYS_ADMIN (root, or `unshare --user --map-root-user`) and iproute2.

use std::process::Command;
use std::sync::mpsc;
use std::thread;

use tokio::runtime::Builder;

/// A thread in a new network namespace; both end when this is dropped.
pub struct Namespace {
    thread_id: u32,
    jobs: mpsc::Sender<Job>,
    /// Namespaces that have to last as long as this one.
    neighbours: std::cell::RefCell<Vec<Namespace>>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Namespace {
    /// With a loopback interface that is down.
    pub fn new() -> Self {
        let (tell, thread_id) = mpsc::channel();
        let (jobs, orders) = mpsc::channel::<Job>();
        thread::spawn(move || {
            enter_new_namespace();
            tell.send(thread_id_of_this_thread()).unwrap();
            orders.into_iter().for_each(|job| job());
        });
        Self { thread_id: thread_id.recv().expect("a namespace"), jobs, neighbours: Vec::new().into() }
    }

    /// Runs commands; the first that fails ends the test.
    pub fn shell(&self, script: &str) {
        let script = script.to_owned();
        self.finish(move || {
            let status = Command::new("sh").args(["-ec", &script]).status().unwrap();
            assert!(status.success(), "{script}");
        });
    }

    /// Adds a namespace at the other end of a cable; the interfaces are `near` and `far`.
    pub fn neighbour(&self, here: &str, there: &str) {
        let other = Self::new();
        let peer = other.thread_id;
        self.shell(&format!("ip link add near type veth peer name far netns {peer}"));
        other.shell(there);
        self.shell(here);
        self.neighbours.borrow_mut().push(other);
    }

    /// Runs a future inside, on a runtime of one thread.
    pub fn run(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.finish(move || Builder::new_current_thread().enable_all().build().unwrap().block_on(future));
    }

    fn finish(&self, job: impl FnOnce() + Send + 'static) {
        let (done, wait) = mpsc::channel();
        let job = move || {
            job();
            done.send(()).unwrap();
        };
        self.jobs.send(Box::new(job)).unwrap();
        wait.recv().expect("the thread in the namespace panicked, see above");
    }
}

/// Moves this thread, alone, to a new network namespace.
#[expect(unsafe_code, reason = "unshare has no safe wrapper")]
fn enter_new_namespace() {
    // SAFETY: unshare takes a number and touches no memory of ours.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// The number `ip` knows this thread by.
fn thread_id_of_this_thread() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}
