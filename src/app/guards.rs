//! From the configuration's types to those of the middleware that lets requests pass, or not.

use super::{
    edge::{name, subnets},
    settings,
};
use crate::{
    config::{self, Http},
    error::Error,
    http::{
        middleware::{
            BasicAuth, BasicAuthConfig, BodyLimit, IpFilter, Maintenance, MaintenanceConfig, Paths, RateLimit, RateLimitConfig,
            Redirect, RequestId, Users,
        },
    },
};

pub(super) fn request_id(section: &config::RequestId) -> Result<RequestId, Error> {
    Ok(RequestId::new(name("http.request_id.header", &section.header)?, section.trust))
}

pub(super) fn redirect(http: &Http) -> Result<Redirect, Error> {
    Redirect::new(settings::rewrite(&http.redirect)).map_err(|error| Error::Config(format!("http.redirect: {error}")))
}

pub(super) fn body_limit(http: &Http) -> BodyLimit {
    BodyLimit { limits: http.body_limit.clone() }
}

pub(super) fn ip_filter(section: &config::IpFilter) -> IpFilter {
    let allow = (!section.allow.is_empty()).then(|| subnets(&section.allow));
    IpFilter { allow, deny: subnets(&section.deny), paths: Paths::new(section.paths.clone()) }
}

pub(super) fn basic_auth(section: &config::BasicAuth) -> Result<BasicAuth, Error> {
    let missing = || Error::Config("http.basic_auth.file: missing, while http.middleware has basic_auth".into());
    let file = section.file.as_ref().ok_or_else(missing)?;
    let users = Users::read(file).map_err(|error| Error::Config(format!("http.basic_auth.file: {error}")))?;
    let config = BasicAuthConfig {
        users,
        realm: section.realm.clone(),
        paths: Paths::new(section.paths.clone()),
        threads: section.threads,
        max_waiting: section.max_waiting,
        cache_size: section.cache_size,
        cache_ttl: section.cache_ttl,
    };
    config.build().map_err(Error::system("threads of http.basic_auth"))
}

pub(super) fn rate_limit(section: &config::RateLimit) -> RateLimit {
    let config = RateLimitConfig {
        requests: section.requests,
        period: section.period,
        burst: section.burst,
        max_clients: section.max_clients,
        paths: Paths::new(section.paths.clone()),
    };
    config.build()
}

pub(super) fn maintenance(section: &config::Maintenance) -> Result<Maintenance, Error> {
    let missing = || Error::Config("http.maintenance.file: missing, while http.middleware has maintenance".into());
    let config = MaintenanceConfig {
        file: section.file.clone().ok_or_else(missing)?,
        page: section.page.clone(),
        retry_after: section.retry_after,
        allow: subnets(&section.allow),
    };
    Ok(config.build())
}
