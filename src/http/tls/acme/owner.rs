//! The one process that asks the authority: for what is missing, for what ends soon, and again after a while for what it refused.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use httpdate::fmt_http_date;
use instant_acme::{Account, CertificateIdentifier};

use super::{Acme, Error, due, store::Renewal};
use crate::http::tls::{Tls, certificates, x509::Certificate};

/// What there is of a certificate.
struct Issued {
    from: SystemTime,
    until: SystemTime,
    /// Under which the authority knows it.
    id: Option<CertificateIdentifier<'static>>,
}

/// When something is to be done for a host.
#[derive(Clone, Copy)]
struct Plan {
    /// A new certificate is asked for.
    renew: SystemTime,
    /// The authority is asked when it wants that.
    ask: Option<SystemTime>,
}

/// The work of an owner.
struct Owner<'a> {
    acme: &'a Acme,
    tls: &'a Tls,
    account: Option<Account>,
    plans: BTreeMap<String, Plan>,
    /// When hosts got their first certificate because a client asked.
    on_demand: VecDeque<Instant>,
    is_over_limit: bool,
}

/// How often hosts are looked for that clients ask for, and the lock for whether it is free.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a cache that cannot be written is left alone.
const CACHE_RETRY: Duration = Duration::from_secs(60);

const HOUR: Duration = Duration::from_secs(3600);

// === impl Acme ===

impl Acme {
    /// Has certificates issued for ever, as soon as no other process does. Stopped at any moment, another goes on from there.
    pub(in super::super) async fn run(self, tls: Tls) {
        let mut is_told = false;
        loop {
            let owned = self.0.store.prepare().and_then(|()| self.0.store.own());
            let pause = match owned {
                Ok(Some(_ownership)) => {
                    let mut owner = Owner::new(&self, &tls);
                    owner.work().await;
                    return;
                }
                Ok(None) => {
                    if !is_told {
                        tracing::debug!("http.ssl.acme: another process owns {}", self.0.store.path().display());
                        is_told = true;
                    }
                    LOOK_EVERY
                }
                Err(error) => {
                    tracing::error!("http.ssl.acme: the cache cannot be used: {error}; next try in {CACHE_RETRY:?}");
                    CACHE_RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// The certificate that is in the cache for `host`.
    fn issued(&self, host: &str) -> Option<Issued> {
        let chain = certificates::chain(&self.0.store.certificate(host)).ok()?;
        let certificate = Certificate::parse(chain.first()?)?;
        let (from, until) = certificate.lifetime()?;
        let id = certificate.identity().map(|(authority, serial)| CertificateIdentifier::new(authority.into(), serial.into()));
        Some(Issued { from, until, id: id.map(CertificateIdentifier::into_owned) })
    }
}

// === impl Owner ===

impl<'a> Owner<'a> {
    fn new(acme: &'a Acme, tls: &'a Tls) -> Self {
        let mut owner =
            Self { acme, tls, account: None, plans: BTreeMap::new(), on_demand: VecDeque::new(), is_over_limit: false };
        let config = &acme.0.config;
        let known = config.on_demand.iter().filter(|host| acme.0.store.certificate(host).exists());
        for host in config.domains.iter().chain(known) {
            owner.plan(host);
        }
        owner
    }

    /// Never returns.
    async fn work(&mut self) {
        loop {
            self.take_wishes();
            let now = SystemTime::now();
            let next = self.plans.iter().find(|(_, plan)| plan.first() <= now).map(|(host, plan)| (host.clone(), *plan));
            match next {
                Some((host, plan)) if plan.renew <= now => self.renew(&host).await,
                Some((host, _)) => self.ask(&host).await,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Decides when a host's turn is, by what is in the cache.
    fn plan(&mut self, host: &str) {
        let (store, now) = (&self.acme.0.store, SystemTime::now());
        let mut plan = match self.acme.issued(host) {
            Some(issued) => match store.read::<Renewal>(&store.renewal(host)).ok().flatten() {
                Some(known) if known.from == due::seconds(issued.from) => {
                    Plan { renew: due::at(known.renew), ask: known.ask.map(due::at) }
                }
                _ => Plan { renew: due::renewal(issued.from, issued.until), ask: issued.id.as_ref().map(|_| now) },
            },
            None => Plan { renew: now, ask: None },
        };
        if let Some(failure) = store.failure(host).filter(|failure| !failure.is_over()) {
            plan = Plan { renew: plan.renew.max(failure.until()), ask: None };
            tracing::warn!(
                "http.ssl.acme: {host}: the last order failed; next try at {}, or after a reload without the file in {}",
                fmt_http_date(plan.renew),
                store.path().join("failures").display()
            );
        }
        self.plans.insert(host.to_owned(), plan);
    }

    /// Keeps a plan for a certificate that there is.
    fn keep(&mut self, host: &str, plan: Plan) {
        let store = &self.acme.0.store;
        self.plans.insert(host.to_owned(), plan);
        if let Some(issued) = self.acme.issued(host) {
            let known =
                Renewal { from: due::seconds(issued.from), renew: due::seconds(plan.renew), ask: plan.ask.map(due::seconds) };
            if let Err(error) = store.write_json(&store.renewal(host), &known) {
                tracing::error!("http.ssl.acme: {host}: {error}");
            }
        }
    }

    /// Hosts that clients have asked for, no more within an hour than is allowed.
    fn take_wishes(&mut self) {
        let config = &self.acme.0.config;
        if config.on_demand.is_empty() {
            return;
        }
        self.on_demand.retain(|at| at.elapsed() < HOUR);
        for host in self.acme.0.store.wanted() {
            if self.plans.contains_key(&host) || !config.on_demand.contains(&host) {
                continue;
            }
            if self.on_demand.len() >= config.on_demand_per_hour {
                if !self.is_over_limit {
                    tracing::warn!("http.ssl.acme: {host} waits: {} hosts within an hour are all", config.on_demand_per_hour);
                }
                self.is_over_limit = true;
                return;
            }
            self.on_demand.push_back(Instant::now());
            self.plan(&host);
        }
        self.is_over_limit = false;
    }

    /// One order, its outcome told and kept.
    async fn renew(&mut self, host: &str) {
        let store = &self.acme.0.store;
        let config = &self.acme.0.config;
        let before = self.acme.issued(host);
        tracing::info!("http.ssl.acme: {host}: asking {} for a certificate", config.directory);
        match self.bounded(host, before.as_ref()).await {
            Ok(()) => {
                store.forget(host);
                self.tls.look();
                self.plan(host);
                if let (Some(issued), Some(plan)) = (self.acme.issued(host), self.plans.get(host)) {
                    let (until, renew, plan) = (fmt_http_date(issued.until), fmt_http_date(plan.renew), *plan);
                    tracing::info!("http.ssl.acme: {host}: issued, good until {until}, to be renewed at {renew}");
                    self.keep(host, plan);
                }
            }
            Err(error) => {
                self.account = None;
                if matches!(error, Error::UnknownAccount) {
                    self.acme.forget_account();
                }
                let failure = due::after_failure(store.failure(host), config.retry_after, config.max_retry_after);
                let serves = match before.filter(|issued| issued.until > SystemTime::now()) {
                    Some(issued) => format!("the certificate until {} serves on", fmt_http_date(issued.until)),
                    None => "there is no certificate".into(),
                };
                let next = fmt_http_date(failure.until());
                tracing::error!("http.ssl.acme: {host}: {error}; {serves}; failed {} times, next try at {next}", failure.count);
                if let Err(error) = store.fail(host, failure) {
                    tracing::error!("http.ssl.acme: {host}: {error}");
                }
                self.plans.insert(host.to_owned(), Plan { renew: failure.until(), ask: None });
            }
        }
    }

    async fn bounded(&mut self, host: &str, before: Option<&Issued>) -> Result<(), Error> {
        let limit = self.acme.0.config.order_timeout;
        let order = async {
            let account = self.account().await?;
            // Boxed, for the state of an order is large.
            Box::pin(self.acme.order(&account, host, before.and_then(|issued| issued.id.clone()))).await
        };
        tokio::time::timeout(limit, order).await.unwrap_or(Err(Error::Timeout(limit)))
    }

    async fn account(&mut self) -> Result<Account, Error> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let account = Box::pin(self.acme.account()).await?;
        Ok(self.account.insert(account).clone())
    }

    /// Asks the authority when it wants a certificate renewed, which not every one says.
    async fn ask(&mut self, host: &str) {
        let Some(plan) = self.plans.get(host).copied() else { return };
        let issued = self.acme.issued(host);
        let limit = self.acme.0.config.order_timeout;
        let told = match issued.as_ref().and_then(|issued| issued.id.as_ref()) {
            Some(id) => {
                let told = async { Some(self.account().await.ok()?.renewal_info(id).await) };
                tokio::time::timeout(limit, told).await.ok().flatten()
            }
            None => None,
        };
        let (renew, ask) = match (told, issued) {
            (Some(Ok((info, again))), Some(issued)) => {
                let window = (info.suggested_window.start.into(), info.suggested_window.end.into());
                // Chosen once: a new choice each time would come ever earlier.
                let holds = (window.0..=window.1).contains(&plan.renew);
                let renew = if holds { plan.renew } else { due::suggested(window, issued.until) };
                tracing::debug!("http.ssl.acme: {host}: the authority suggests to renew at {}", fmt_http_date(renew));
                (renew, Some(due::ask_again(again)))
            }
            (Some(Err(instant_acme::Error::Unsupported(_))), _) => (plan.renew, None),
            _ => (plan.renew, Some(due::ask_again(HOUR))),
        };
        self.keep(host, Plan { renew, ask });
    }
}

// === impl Plan ===

impl Plan {
    fn first(&self) -> SystemTime {
        self.ask.map_or(self.renew, |ask| ask.min(self.renew))
    }
}
