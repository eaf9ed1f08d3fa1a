//! How long a script may go on: asked by the hook of its instructions, and by what the host does for it in loops.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Asked now and then while a script runs.
pub(super) type Watch = Rc<dyn Fn() -> Result<(), Stop>>;

/// Why a script has to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop(pub(super) String);

/// Steps of a loop between two looks.
const STEPS: u32 = 4096;

/// The script that runs now.
#[derive(Default)]
pub(super) struct Patience {
    watch: RefCell<Option<Watch>>,
    stopped: RefCell<Option<Stop>>,
    steps: Cell<u32>,
}

impl Patience {
    pub(super) fn begin(&self, watch: Watch) {
        self.stopped.borrow_mut().take();
        *self.watch.borrow_mut() = Some(watch);
    }

    /// Whether the script was stopped.
    pub(super) fn end(&self) -> Option<Stop> {
        self.watch.borrow_mut().take();
        self.stopped.borrow_mut().take()
    }

    pub(super) fn stop(&self, stop: Stop) {
        self.stopped.borrow_mut().get_or_insert(stop);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// # Errors
    /// The script has to end; the text of the error.
    pub(super) fn look(&self) -> Result<(), String> {
        let mut stopped = self.stopped.borrow_mut();
        if stopped.is_none() {
            *stopped = self.watch.borrow().as_ref().and_then(|watch| watch().err());
        }
        stopped.as_ref().map_or(Ok(()), |stop| Err(stop.0.clone()))
    }

    /// One step of a loop: looks now and then.
    ///
    /// # Errors
    /// As `look`.
    #[inline]
    pub(super) fn step(&self) -> Result<(), String> {
        let steps = self.steps.get().wrapping_add(1);
        self.steps.set(steps);
        if steps.is_multiple_of(STEPS) { self.look() } else { Ok(()) }
    }
}
