//! Worker threads that compute tiles of a batch beside the caller's thread.
//!
//! Each worker owns a workspace and two slots. The caller copies a tile's input into an empty slot;
//! the worker computes it and leaves the answers there. Two slots let a worker start its next tile
//! while the caller collects the last. A caller with nothing left to do takes back tiles that no
//! worker has begun, so that a batch does not wait for a thread the system has not woken. Waiting is a short spin and then a park, because a core
//! that spins takes time from the thread it waits for when the machine is busy.

use std::hint::spin_loop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

use onebit_model::program::ValueId;

use crate::batch::{InputBatch, OutputBatch};
use crate::error::{PlanError, RunError};
use crate::plan::{Plan, PlanParts, Stored};
use crate::step::When;
use crate::values::Values;
use crate::workspace::Workspace;

/// Looks at a slot before parking: a few microseconds, about the time of waking a thread.
const N_SPINS: usize = 2_000;
/// Slots of one worker.
const N_SLOTS: usize = 2;

/// Nothing in the slot: the caller may write.
const EMPTY: u8 = 0;
/// A tile's input is in the slot: the worker may take it.
const READY: u8 = 1;
/// The worker computes the tile.
const TAKEN: u8 = 2;
/// A tile's answers are in the slot: the caller may read.
const DONE: u8 = 3;
/// The worker panicked.
const FAILED: u8 = 4;

/// One tile on its way to a worker and back.
#[derive(Debug)]
struct Job {
    images: Range<usize>,
    input: Values,
    output: Values,
    // Whom to wake when the answers are there.
    caller: Thread,
}

#[derive(Debug)]
struct Slot {
    // Says who may lock the job, so that the lock is never waited for.
    state: AtomicU8,
    job: Mutex<Job>,
}

#[derive(Debug)]
struct Shared {
    slots: [Slot; N_SLOTS],
    is_closing: AtomicBool,
}

#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    // The slot that is filled next, and the one that is collected next.
    fill: usize,
    collect: usize,
}

/// The workers of a session.
#[derive(Debug)]
pub(crate) struct Pool {
    workers: Vec<Worker>,
    // Tiles of a run that failed may still be in slots, so no other run may begin.
    has_failed: bool,
}

impl Pool {
    /// Starts `n_workers` threads, each with a workspace of its own.
    pub(crate) fn new(plan: &Plan, n_workers: usize) -> Result<Self, PlanError> {
        let mut pool = Pool {
            workers: Vec::with_capacity(n_workers),
            has_failed: false,
        };
        for _ in 0..n_workers {
            let job = || Job {
                images: 0..0,
                input: plan.shared.memory.buffer_of(ValueId(0), plan.shared.tile),
                output: plan
                    .shared
                    .memory
                    .buffer_of(plan.shared.output, plan.shared.tile),
                caller: thread::current(),
            };
            let slot = || Slot {
                state: AtomicU8::new(EMPTY),
                job: Mutex::new(job()),
            };
            let shared = Arc::new(Shared {
                slots: [slot(), slot()],
                is_closing: AtomicBool::new(false),
            });
            let (theirs, parts) = (Arc::clone(&shared), Arc::clone(&plan.shared));
            let workspace = Workspace::new(&parts, &parts.memory, parts.tile, When::Always);
            let thread = thread::Builder::new()
                .name("onebit-worker".into())
                .spawn(move || work(&theirs, &parts, workspace))?;
            pool.workers.push(Worker {
                shared,
                thread: Some(thread),
                fill: 0,
                collect: 0,
            });
        }
        Ok(pool)
    }

    /// Collects finished tiles and gives every worker with an empty slot one more tile.
    pub(crate) fn feed(
        &mut self,
        input: &InputBatch<'_>,
        n_in: Stored<'_>,
        n_out: Stored<'_>,
        take: &mut impl FnMut() -> Option<Range<usize>>,
        output: &mut OutputBatch<'_>,
    ) -> Result<(), RunError> {
        for worker in &mut self.workers {
            self.has_failed |= worker.collect(n_out, output).is_err();
            if self.has_failed {
                return Err(RunError::Worker);
            }
            let slot = &worker.shared.slots[worker.fill];
            if slot.state.load(Ordering::Acquire) != EMPTY {
                continue;
            }
            let Some(images) = take() else { return Ok(()) };
            let mut job = slot.job.lock().unwrap_or_else(PoisonError::into_inner);
            input.load(n_in, images.clone(), &mut job.input);
            job.images = images;
            job.caller = thread::current();
            drop(job);
            slot.state.store(READY, Ordering::Release);
            worker.fill = (worker.fill + 1) % N_SLOTS;
            if let Some(thread) = &worker.thread {
                thread.thread().unpark();
            }
        }
        Ok(())
    }

    /// Takes back a tile that its worker has not begun.
    pub(crate) fn reclaim(&mut self) -> Option<Range<usize>> {
        self.workers.iter_mut().find_map(Worker::reclaim)
    }

    /// Waits for every tile under way and collects its answers.
    pub(crate) fn finish(
        &mut self,
        n_out: Stored<'_>,
        output: &mut OutputBatch<'_>,
    ) -> Result<(), RunError> {
        for worker in &mut self.workers {
            while worker.oldest().load(Ordering::Acquire) != EMPTY {
                wait_until(|| !matches!(worker.oldest().load(Ordering::Acquire), READY | TAKEN));
                self.has_failed |= worker.collect(n_out, output).is_err();
                if self.has_failed {
                    return Err(RunError::Worker);
                }
            }
        }
        Ok(())
    }
}

impl Worker {
    /// The state of the slot that was filled first; empty when all are.
    fn oldest(&self) -> &AtomicU8 {
        &self.shared.slots[self.collect].state
    }

    /// Empties the slot that was filled last, if the worker has not begun it.
    fn reclaim(&mut self) -> Option<Range<usize>> {
        let last = (self.fill + N_SLOTS - 1) % N_SLOTS;
        let slot = &self.shared.slots[last];
        let taken = slot
            .state
            .compare_exchange(READY, EMPTY, Ordering::AcqRel, Ordering::Acquire);
        taken.ok()?;
        self.fill = last;
        Some(
            slot.job
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .images
                .clone(),
        )
    }

    /// Collects the answers that are there, oldest first.
    fn collect(&mut self, n_out: Stored<'_>, output: &mut OutputBatch<'_>) -> Result<(), RunError> {
        loop {
            let slot = &self.shared.slots[self.collect];
            match slot.state.load(Ordering::Acquire) {
                DONE => {
                    let job = slot.job.lock().unwrap_or_else(PoisonError::into_inner);
                    output.store(n_out, job.images.clone(), &job.output);
                    drop(job);
                    slot.state.store(EMPTY, Ordering::Release);
                    self.collect = (self.collect + 1) % N_SLOTS;
                }
                FAILED => return Err(RunError::Worker),
                _ => return Ok(()),
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.shared.is_closing.store(true, Ordering::Release);
            if let Some(thread) = worker.thread.take() {
                thread.thread().unpark();
                // A worker that panicked has told so through its slot.
                let _ = thread.join();
            }
        }
    }
}

/// Spins for a moment, then parks until the condition holds. Whoever makes it hold unparks.
fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..N_SPINS {
        if condition() {
            return;
        }
        spin_loop();
    }
    while !condition() {
        thread::park();
    }
}

/// The life of a worker: takes its slots in turn until the pool closes.
fn work(shared: &Shared, plan: &PlanParts, mut workspace: Workspace) {
    let mut next = 0;
    loop {
        let slot = &shared.slots[next];
        let is_closing = || shared.is_closing.load(Ordering::Acquire);
        wait_until(|| slot.state.load(Ordering::Acquire) == READY || is_closing());
        if is_closing() {
            return;
        }
        // The caller may have taken the tile back in the meantime.
        let begun = slot
            .state
            .compare_exchange(READY, TAKEN, Ordering::AcqRel, Ordering::Acquire);
        if begun.is_err() {
            continue;
        }
        let mut job = slot.job.lock().unwrap_or_else(PoisonError::into_inner);
        let caller = job.caller.clone();
        let result = catch_unwind(AssertUnwindSafe(|| compute(plan, &mut workspace, &mut job)));
        drop(job);
        let state = if result.is_ok() { DONE } else { FAILED };
        slot.state.store(state, Ordering::Release);
        caller.unpark();
        next = (next + 1) % N_SLOTS;
    }
}

/// Computes one tile, exchanging buffers with the slot instead of copying.
fn compute(plan: &PlanParts, workspace: &mut Workspace, job: &mut Job) {
    std::mem::swap(workspace.input_mut(), &mut job.input);
    workspace.execute(plan, job.images.len(), When::Always);
    if plan.output.0 != 0 {
        std::mem::swap(workspace.value_mut(plan.output), &mut job.output);
    }
    std::mem::swap(workspace.input_mut(), &mut job.input);
    if plan.output.0 == 0 {
        job.output.copy_from(&job.input);
    }
}
