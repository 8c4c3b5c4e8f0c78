//! Who holds what, and who waits for it. Times are nanoseconds of the [monotonic clock](crate::sys::clock::monotonic), given by
//! the caller.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use tokio::sync::oneshot;

/// All locks.
#[derive(Debug, Default)]
pub(super) struct Table {
    resources: HashMap<Arc<str>, Resource>,
    held: usize,
    /// When each holder's time is over; also times that do not count any more, as holders have let go, or have another.
    ends: BinaryHeap<Reverse<End>>,
    waiting: usize,
    next_ticket: u64,
    /// Resources that have changed since [`watch`](Table::watch); none if nobody asks, or they are too many.
    changed: Option<HashSet<Arc<str>>>,
}

/// More changes than these are not kept in mind: then everything counts as changed.
const MAX_CHANGED: usize = 65_536;

/// When, of what resource, by which id.
type End = (u64, Arc<str>, Arc<str>);

/// Something that is held. Nothing is kept of what is not.
#[derive(Debug, Default)]
struct Resource {
    exclusive: bool,
    /// In the order of their ids.
    holders: Vec<Holder>,
    /// In the order of their first request.
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Holder {
    id: Arc<str>,
    until: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    want: Want,
    tell: oneshot::Sender<()>,
}

/// A lock that somebody wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Want {
    pub(super) id: Arc<str>,
    pub(super) exclusive: bool,
    /// When it was first asked for.
    pub(super) since: u64,
    /// How long it is held unless it is released; counts from the moment it is had.
    pub(super) ttl: u64,
}

/// One lock as it is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Held<'a> {
    pub(super) resource: &'a str,
    pub(super) id: &'a str,
    pub(super) exclusive: bool,
    pub(super) until: u64,
}

// === impl Table ===

impl Table {
    /// Gives the lock, if it can be had now.
    pub(super) fn lock(&mut self, name: &str, want: &Want, now: u64) -> bool {
        let resource = self.resources.get(name);
        // Those who wait were there first, but a holder does not wait for itself.
        let can =
            resource.is_none_or(|resource| resource.can_give(want) && (resource.queue.is_empty() || resource.has(&want.id)));
        if can {
            let name = self.known(name).unwrap_or_else(|| name.into());
            self.give(&name, want, now);
        }
        can
    }

    /// Waits in the queue, by the time of the first request. The number is for [`withdraw`](Self::withdraw).
    pub(super) fn wait(&mut self, name: &str, want: Want) -> (u64, oneshot::Receiver<()>) {
        let (tell, told) = oneshot::channel();
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let queue = &mut self.resources.entry(name.into()).or_default().queue;
        let place = queue.partition_point(|other| other.want.since <= want.since);
        queue.insert(place, Waiter { ticket, want, tell });
        self.waiting += 1;
        (ticket, told)
    }

    /// Waits no more; false if that was over already.
    pub(super) fn withdraw(&mut self, name: &str, ticket: u64, now: u64) -> bool {
        let Some(resource) = self.resources.get_mut(name) else { return false };
        let Some(place) = resource.queue.iter().position(|waiter| waiter.ticket == ticket) else { return false };
        resource.queue.remove(place);
        self.waiting -= 1;
        self.go_on(name, now);
        true
    }

    pub(super) fn release(&mut self, name: &str, id: &str, now: u64) -> bool {
        let released = self.take(name, id);
        if released {
            self.go_on(name, now);
        }
        released
    }

    /// Whoever holds it; false if nobody does.
    pub(super) fn release_all(&mut self, name: &str, now: u64) -> bool {
        let Some(resource) = self.resources.get_mut(name) else { return false };
        let holders = std::mem::take(&mut resource.holders);
        self.touch(name);
        self.held -= holders.len();
        self.go_on(name, now);
        !holders.is_empty()
    }

    /// Whether `id` holds it; anybody, if none is given.
    pub(super) fn is_held(&self, name: &str, id: Option<&str>) -> bool {
        let Some(resource) = self.resources.get(name) else { return false };
        id.map_or(!resource.holders.is_empty(), |id| resource.has(id))
    }

    /// Sets how long `id` still holds it.
    pub(super) fn renew(&mut self, name: &str, id: &str, ttl: u64, now: u64) -> bool {
        let Some(name) = self.known(name) else { return false };
        let Some(holder) = self.resources.get_mut(&name).and_then(|resource| resource.holder(id)) else { return false };
        holder.until = now.saturating_add(ttl);
        let (until, id) = (holder.until, holder.id.clone());
        self.touch(&name);
        self.ends_at(until, name, id);
        true
    }

    /// Takes the locks whose time is over.
    pub(super) fn expire(&mut self, now: u64) {
        while self.next_end().is_some_and(|end| end <= now)
            && let Some(Reverse((end, name, id))) = self.ends.pop()
        {
            let holder = self.resources.get_mut(&name).and_then(|resource| resource.holder(&id));
            if holder.is_some_and(|holder| holder.until == end) {
                self.release(&name, &id, now);
            }
        }
    }

    /// When the next lock's time is over, at the earliest.
    pub(super) fn next_end(&self) -> Option<u64> {
        self.ends.peek().map(|Reverse((end, ..))| *end)
    }

    /// All locks that are held.
    pub(super) fn held(&self) -> impl Iterator<Item = Held<'_>> {
        self.resources.iter().flat_map(|(name, resource)| {
            let exclusive = resource.exclusive;
            resource.holders.iter().map(move |holder| Held { resource: name, id: &holder.id, exclusive, until: holder.until })
        })
    }

    /// The same of one resource.
    pub(super) fn holders<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Held<'a>> {
        self.resources.get(name).into_iter().flat_map(move |resource| {
            let exclusive = resource.exclusive;
            resource.holders.iter().map(move |holder| Held { resource: name, id: &holder.id, exclusive, until: holder.until })
        })
    }

    /// What is held now, by name. What changes from now on is kept in mind.
    pub(super) fn watch(&mut self) -> Vec<Arc<str>> {
        self.changed = Some(HashSet::new());
        self.resources.keys().cloned().collect()
    }

    /// What has changed since then; none if that is not known.
    pub(super) fn changed(&mut self) -> Option<HashSet<Arc<str>>> {
        self.changed.take()
    }

    /// Whether this one has, or may have.
    pub(super) fn has_changed(&self, name: &str) -> bool {
        self.changed.as_ref().is_none_or(|changed| changed.contains(name))
    }

    /// As if nobody had held it.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some(resource) = self.resources.remove(name) {
            self.held -= resource.holders.len();
        }
    }

    /// Puts back what [`held`](Self::held) showed; false if the two cannot be held together.
    pub(super) fn put(&mut self, held: &Held<'_>) -> bool {
        let name: Arc<str> = held.resource.into();
        let resource = self.resources.entry(name.clone()).or_default();
        let is_shared = !resource.exclusive && !held.exclusive && !resource.has(held.id);
        if !resource.holders.is_empty() && !is_shared {
            return false;
        }
        resource.exclusive = held.exclusive;
        let id: Arc<str> = held.id.into();
        resource.insert(Holder { id: id.clone(), until: held.until });
        self.held += 1;
        self.ends_at(held.until, name, id);
        true
    }

    /// Nobody waits any more, nor has anybody got what it waited for.
    pub(super) fn dismiss(&mut self) {
        self.resources.values_mut().for_each(|resource| resource.queue.clear());
        self.waiting = 0;
    }

    /// Locks that are held.
    pub(super) fn len(&self) -> usize {
        self.held
    }

    /// What is held by at least one.
    pub(super) fn resources(&self) -> usize {
        self.resources.len()
    }

    /// Those in a queue.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// The name of something that is held, for good.
    fn known(&self, name: &str) -> Option<Arc<str>> {
        self.resources.get_key_value(name).map(|(name, _)| name.clone())
    }

    fn give(&mut self, name: &Arc<str>, want: &Want, now: u64) {
        // A reader that becomes the writer, or that asks again, has a new time.
        self.take(name, &want.id);
        let resource = self.resources.entry(name.clone()).or_default();
        let until = now.saturating_add(want.ttl);
        resource.exclusive = want.exclusive;
        resource.insert(Holder { id: want.id.clone(), until });
        self.held += 1;
        self.touch(name);
        self.ends_at(until, name.clone(), want.id.clone());
    }

    fn touch(&mut self, name: &str) {
        let Some(changed) = &mut self.changed else { return };
        if changed.len() >= MAX_CHANGED {
            self.changed = None;
        } else if !changed.contains(name) {
            changed.insert(name.into());
        }
    }

    fn ends_at(&mut self, until: u64, name: Arc<str>, id: Arc<str>) {
        if self.ends.len() > 2 * self.held + 64 {
            let end = |(name, holder): (&Arc<str>, &Holder)| Reverse((holder.until, name.clone(), holder.id.clone()));
            let holders =
                self.resources.iter().flat_map(|(name, resource)| resource.holders.iter().map(move |holder| (name, holder)));
            self.ends = holders.map(end).collect();
        } else {
            self.ends.push(Reverse((until, name, id)));
        }
    }

    fn take(&mut self, name: &str, id: &str) -> bool {
        let taken = self.resources.get_mut(name).is_some_and(|resource| resource.remove(id));
        self.held -= usize::from(taken);
        if taken {
            self.touch(name);
        }
        taken
    }

    /// Gives the lock to those who are next, and forgets what nobody holds.
    fn go_on(&mut self, name: &str, now: u64) {
        let Some(name) = self.known(name) else { return };
        while let Some(resource) = self.resources.get_mut(&name) {
            let Some(waiter) = resource.next() else { break };
            self.waiting -= 1;
            // One that has left is asked no more.
            if !waiter.tell.is_closed() {
                self.give(&name, &waiter.want, now);
                if waiter.tell.send(()).is_err() {
                    self.take(&name, &waiter.want.id);
                }
            }
        }
        if self.resources.get(&name).is_some_and(|resource| resource.holders.is_empty()) {
            self.resources.remove(&name);
        }
    }
}

// === impl Resource ===

impl Resource {
    /// Whether it can be had beside those who hold it.
    fn can_give(&self, want: &Want) -> bool {
        match &self.holders[..] {
            [] => true,
            _ if self.exclusive => false,
            // The only reader may become the writer.
            [only] if want.exclusive => only.id == want.id,
            _ => !want.exclusive,
        }
    }

    /// Takes the one out of the queue who has the lock next: the first, but for a reader that waits to be the only one and then is.
    fn next(&mut self) -> Option<Waiter> {
        let first = self.queue.front()?;
        if self.can_give(&first.want) {
            return self.queue.pop_front();
        }
        let [only] = &self.holders[..] else { return None };
        let place = self.queue.iter().position(|waiter| waiter.want.id == only.id && self.can_give(&waiter.want))?;
        self.queue.remove(place)
    }

    fn place(&self, id: &str) -> Result<usize, usize> {
        self.holders.binary_search_by(|holder| (*holder.id).cmp(id))
    }

    fn has(&self, id: &str) -> bool {
        self.place(id).is_ok()
    }

    fn holder(&mut self, id: &str) -> Option<&mut Holder> {
        let place = self.place(id).ok()?;
        self.holders.get_mut(place)
    }

    fn insert(&mut self, holder: Holder) {
        let place = self.place(&holder.id).unwrap_or_else(|place| place);
        self.holders.insert(place, holder);
    }

    fn remove(&mut self, id: &str) -> bool {
        self.place(id).map(|place| self.holders.remove(place)).is_ok()
    }
}

#[cfg(test)]
mod tests;
