//! From the configuration's types to those of the middleware that lets requests pass, or not.

use std::sync::Arc;

use http::StatusCode;

use super::{
    edge::{name, subnets},
    settings,
};
use crate::{
    config::{self, Http},
    error::Error,
    http::{
        Metrics,
        middleware::{
            BasicAuth, BasicAuthConfig, BodyLimit, CircuitBreaker, CircuitBreakerConfig, Hosts, IpFilter, Maintenance,
            MaintenanceConfig, Paths, RateLimit, RateLimitConfig, Redirect, RequestId, SendRemoteFile, SendRemoteFileConfig,
            Users,
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

pub(super) fn circuit_breaker(section: &config::CircuitBreaker, metrics: Option<&Arc<Metrics>>) -> Result<CircuitBreaker, Error> {
    if section.error_codes.is_empty() {
        return Err(Error::Config("http.circuit_breaker.error_codes: missing, while http.middleware has circuit_breaker".into()));
    }
    let status = |code: &u16| StatusCode::from_u16(*code).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let config = CircuitBreakerConfig {
        max_error_rate: section.max_error_rate,
        min_requests: section.min_requests,
        error_codes: section.error_codes.iter().map(status).collect(),
        time_window: section.time_window,
        time_to_halfopen: section.time_to_halfopen,
        time_to_closed: section.time_to_closed,
        code_when_open: status(&section.code_when_open),
    };
    Ok(config.build(metrics.cloned()))
}

pub(super) fn sendremotefile(section: &config::SendRemoteFile) -> Result<SendRemoteFile, Error> {
    if section.hosts.is_empty() {
        let missing = "http.sendremotefile.hosts: missing, while http.middleware has sendremotefile: name the hosts that files may \
                       come from";
        return Err(Error::Config(missing.into()));
    }
    let config = SendRemoteFileConfig {
        hosts: Hosts::listed(&section.hosts),
        networks: subnets(&section.networks),
        timeout: section.timeout,
        max_time: section.max_time,
        max_size: section.max_size,
        max_redirects: section.max_redirects,
        max_fetches: section.max_fetches,
        root_ca: section.root_ca.clone(),
    };
    config.build().map_err(|error| Error::Config(format!("http.sendremotefile.{error}")))
}
