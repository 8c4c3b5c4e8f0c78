//! The other engine: what it says, and what is made of it.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::net::{self, UnixStream as Plain},
    },
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, Interest},
    net::{UnixDatagram, UnixStream, unix::OwnedReadHalf},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use super::{
    frame::{Frame, Frames, MAX_BODY, PROTOCOL},
    link::{Link, Outcome, write},
    owner::{Owner, Shared},
    transfer::{self, Reply, Restoring},
};
use crate::sys::passing;

/// What is known of it.
struct Peer {
    shared: Arc<Shared>,
    link: Arc<Link>,
    /// Its plugins and the form of their state, once it has said so as the newer one.
    forms: Option<Vec<(String, u32)>>,
    /// Calls of its that are being made.
    calls: JoinSet<()>,
    /// To the hand-over in progress.
    replies: Option<mpsc::Sender<Reply>>,
    /// The state that is coming.
    restoring: Restoring,
    /// The way to the older one, which tells when that is dead.
    before: Option<OwnedFd>,
}

/// A dead engine's descriptors are closed one after another, in no more than this.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Why an engine cannot introduce itself to the one that it is to succeed.
pub(super) enum Unjoined {
    /// Nobody owns the state any more.
    Dead,
    /// That one does.
    Alive(io::Error),
}

/// Introduces this engine to the one that it is to succeed, which owns the state from now on, as far as this one is concerned.
pub(super) fn join(shared: &Arc<Shared>, before: &OwnedFd) -> Result<(), Unjoined> {
    try_to_join(shared, before).map_err(|error| passing::ended(before).map_or(Unjoined::Alive(error), |()| Unjoined::Dead))
}

fn try_to_join(shared: &Arc<Shared>, before: &OwnedFd) -> io::Result<()> {
    let (ours, theirs) = Plain::pair()?;
    let (link, frames) = register(ours)?;
    let way = before.try_clone()?;
    passing::send(before, &theirs)?;
    let forms = shared.plugins.iter().map(|plugin| (plugin.name().to_owned(), plugin.form())).collect();
    // Before anybody knows the link: nothing may come before it.
    link.0.send_first(&Frame::Hello { protocol: PROTOCOL, forms });
    shared.set_owner(Owner::There { link: link.0.clone(), kept: false });
    begin(shared, link, frames, Some(way));
    Ok(())
}

/// Listens to an engine that is to succeed this one.
pub(super) fn adopt(shared: &Arc<Shared>, stream: Plain) -> io::Result<()> {
    let (link, frames) = register(stream)?;
    begin(shared, link, frames, None);
    Ok(())
}

type Ends = (Arc<Link>, UnixStream);

fn register(stream: net::UnixStream) -> io::Result<(Ends, mpsc::Receiver<Bytes>)> {
    stream.set_nonblocking(true)?;
    let (link, frames) = Link::new();
    Ok(((Arc::new(link), UnixStream::from_std(stream)?), frames))
}

fn begin(shared: &Arc<Shared>, (link, stream): Ends, frames: mpsc::Receiver<Bytes>, before: Option<OwnedFd>) {
    let (shared, restoring) = (shared.clone(), Restoring::default());
    let peer = Peer { shared, link, forms: None, calls: JoinSet::new(), replies: None, restoring, before };
    tokio::spawn(peer.attend(stream, frames));
}

/// Waits until nobody is at the other end of the way to an engine; an error if somebody stays there.
async fn dead(way: OwnedFd) -> io::Result<()> {
    let way = net::UnixDatagram::from(way);
    way.set_nonblocking(true)?;
    let way = UnixDatagram::from_std(way)?;
    timeout(ENDS_WITHIN, way.async_io(Interest::READABLE, || passing::ended(&way))).await?
}

// === impl Peer ===

impl Peer {
    async fn attend(mut self, stream: UnixStream, frames: mpsc::Receiver<Bytes>) {
        let (mut reader, writer) = stream.into_split();
        let writing = tokio::spawn(write(frames, writer));
        let heard = self.listen(&mut reader).await;
        // Whoever asked there is gone, and waits for nothing any more.
        self.calls.shutdown().await;
        self.link.end();
        if let Err(error) = heard {
            self.sever(&mut reader, &error).await;
        }
        writing.abort();
        if let Some(before) = self.before.take()
            && let Err(error) = dead(before).await
        {
            return self.shared.sever(&self.link, &format!("the engine that owns the state has left, and is not dead ({error})"));
        }
        self.link.set_gone();
        self.shared.died(&self.link, "the other engine has ended");
    }

    /// It cannot be understood, but lives, and may be the owner: only its end makes this one the owner.
    async fn sever(&mut self, reader: &mut OwnedReadHalf, error: &io::Error) {
        let why = format!("the other engine cannot be understood ({error})");
        tracing::error!("{why}");
        self.shared.sever(&self.link, &why);
        // A hand-over in progress ends by either.
        drop(self.reply(Reply::Aborted(why)));
        self.replies = None;
        let told = self.link.send(Frame::Severed(error.to_string()));
        let mut sink = tokio::io::sink();
        let unheard = async {
            match tokio::io::copy(reader, &mut sink).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                // This is no end, and the other engine must not take this one's for it.
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = async { tokio::join!(told, unheard) } => {}
            () = self.link.closed() => {}
        }
    }

    /// Until its end; an error if it cannot be understood.
    async fn listen(&mut self, reader: &mut OwnedReadHalf) -> io::Result<()> {
        let mut frames = Frames::default();
        loop {
            while let Some(frame) = frames.next()? {
                self.hear(frame).await?;
            }
            while self.calls.try_join_next().is_some() {}
            tokio::select! {
                read = reader.read_buf(&mut frames.0) => match read {
                    // One that dies with something unread resets the connection.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                    read => if read? == 0 {
                        return Ok(());
                    },
                },
                () = self.link.closed() => return Ok(()),
            }
        }
    }

    async fn hear(&mut self, frame: Frame) -> io::Result<()> {
        match frame {
            Frame::Hello { protocol: PROTOCOL, forms } => self.forms = Some(forms),
            Frame::Hello { protocol, .. } => {
                let why = format!("the older engine speaks version {PROTOCOL}, the newer one {protocol}");
                self.link.send(Frame::Refused(why)).await;
            }
            Frame::Refused(why) => self.shared.refused(&self.link, &why),
            Frame::Severed(why) => return Err(io::Error::other(format!("it does not understand this one: {why}"))),
            Frame::Take => {
                let Some(forms) = self.forms.take() else {
                    return Err(io::Error::other("it asks before it has introduced itself"));
                };
                let (tell, told) = mpsc::channel(transfer::REPLIES);
                self.replies = Some(tell);
                tokio::spawn(transfer::hand_over(self.shared.clone(), self.link.clone(), forms, told));
            }
            Frame::Chunk { number, plugin, bytes } => {
                let restored = self.restoring.chunk(&self.shared, number, plugin, &bytes);
                self.acknowledge(restored.map(|()| Frame::Placed(number))).await;
            }
            Frame::End(count) => {
                let whole = self.restoring.end(count);
                self.acknowledge(whole.map(|()| Frame::Complete)).await;
            }
            Frame::Yours => {
                // Otherwise the other one cannot know that it owns nothing any more.
                if !self.restoring.is_whole() || !self.shared.own() {
                    return Err(io::Error::other("it hands over what nobody waits for"));
                }
            }
            Frame::Placed(_) => self.reply(Reply::Placed)?,
            Frame::Complete => self.reply(Reply::Complete)?,
            Frame::Aborted(why) => {
                if !self.shared.give_up(&why) && self.replies.is_some() {
                    self.reply(Reply::Aborted(why))?;
                }
            }
            Frame::Call { number, plugin, request } => self.serve(number, plugin, request),
            Frame::Answer { number, result } => self.link.finish(number, Outcome::Done(result)),
            Frame::Moved(number) => self.link.finish(number, Outcome::Moved),
            Frame::Failed { number, why } => self.link.finish(number, Outcome::Failed(why)),
        }
        Ok(())
    }

    async fn acknowledge(&self, placed: Result<Frame, String>) {
        let frame = placed.unwrap_or_else(|why| {
            self.shared.give_up(&why);
            Frame::Aborted(why)
        });
        self.link.send(frame).await;
    }

    /// To whoever hands over, who reads it soon.
    fn reply(&mut self, reply: Reply) -> io::Result<()> {
        let Some(replies) = &self.replies else { return Err(io::Error::other("it answers what was not said")) };
        match replies.try_send(reply) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(io::Error::other("it answers more than was said")),
            // The hand-over may have been given up.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
        }
    }

    /// No more at once than the other engine lets wait.
    fn serve(&mut self, number: u32, plugin: String, request: Bytes) {
        let (shared, link) = (self.shared.clone(), self.link.clone());
        self.calls.spawn(async move {
            let frame = match shared.call(&plugin, request, Some(link.number)).await {
                Ok(Some(result)) if result.len() <= MAX_BODY => Frame::Answer { number, result },
                // The other engine would take a longer frame for a broken one.
                Ok(Some(result)) => {
                    Frame::Failed { number, why: format!("the result of {} bytes is too long for a message", result.len()) }
                }
                Ok(None) => Frame::Moved(number),
                Err(error) => Frame::Failed { number, why: error.to_string() },
            };
            link.send(frame).await;
        });
    }
}
