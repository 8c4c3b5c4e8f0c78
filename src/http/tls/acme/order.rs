//! One certificate, from the order to the file.

use std::{fs, time::Duration};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};

use super::{Acme, Challenge, Error, KeyType, door::Door, store::Pending};

/// What an order runs on.
struct Running<'a> {
    acme: &'a Acme,
    host: &'a str,
    order: Order,
    key: KeyPair,
}

/// The pause before the authority is first asked how far it is; longer each time, and bounded by the order's own time.
const FIRST_LOOK: Duration = Duration::from_millis(250);
const SLOWER: f32 = 1.5;

// === impl Acme ===

impl Acme {
    /// Has a certificate issued for `host`, in place of `replaced`.
    pub(super) async fn order(
        &self,
        account: &Account,
        host: &str,
        replaced: Option<CertificateIdentifier<'static>>,
    ) -> Result<(), Error> {
        // Opened first: without it the authority need not be troubled.
        let door = Door::open(self).await?;
        let finished = self.proceed(account, host, replaced).await;
        drop(door);
        // Orders run one after another, so what is there was for this one.
        self.0.store.clear(self.0.config.challenge);
        if finished.as_ref().is_err_and(|error| !error.is_passing()) {
            drop(fs::remove_file(self.0.store.order(host)));
        }
        finished
    }

    async fn proceed(
        &self,
        account: &Account,
        host: &str,
        replaced: Option<CertificateIdentifier<'static>>,
    ) -> Result<(), Error> {
        let (order, key) = self.begin(account, host, replaced).await?;
        Running { acme: self, host, order, key }.finish().await
    }

    /// The order that was left unfinished, by whichever process, or a new one.
    async fn begin(
        &self,
        account: &Account,
        host: &str,
        replaced: Option<CertificateIdentifier<'static>>,
    ) -> Result<(Order, KeyPair), Error> {
        let file = self.0.store.order(host);
        // One that cannot be read is worth no more than none.
        let pending = self.0.store.read::<Pending>(&file).ok().flatten();
        if let Some(pending) = pending.filter(|pending| pending.account == account.id())
            && let Ok(key) = KeyPair::from_pem(&pending.key)
            && let Ok(mut order) = account.order(pending.url).await
            && order.state().status != OrderStatus::Invalid
        {
            tracing::info!("http.ssl.acme: {host}: going on with the order {}", order.url());
            return Ok((order, key));
        }
        let identifiers = [Identifier::Dns(host.to_owned())];
        let order = match replaced {
            // Only a hint, which some refuse: nobody should be without a certificate for it.
            Some(replaced) => match account.new_order(&NewOrder::new(&identifiers).replaces(replaced)).await {
                Err(_) => account.new_order(&NewOrder::new(&identifiers)).await,
                ordered => ordered,
            },
            None => account.new_order(&NewOrder::new(&identifiers)).await,
        };
        let order = order.map_err(|error| Error::of("the new order", &error))?;
        let key = self.0.config.key_type.generate().map_err(|error| Error::Failed("the new key", error.to_string()))?;
        let pending = Pending { account: account.id().to_owned(), url: order.url().to_owned(), key: key.serialize_pem() };
        self.0.store.write_json(&file, &pending)?;
        Ok((order, key))
    }
}

// === impl Running ===

impl Running<'_> {
    async fn finish(&mut self) -> Result<(), Error> {
        let policy = RetryPolicy::new().initial_delay(FIRST_LOOK).backoff(SLOWER).timeout(self.acme.0.config.order_timeout);
        if self.order.state().status == OrderStatus::Pending {
            self.prove().await?;
            match self.order.poll_ready(&policy).await {
                Ok(OrderStatus::Ready) => {}
                Ok(_) => return Err(Error::Unproven(self.reason().await)),
                Err(instant_acme::Error::Api(_)) if self.order.state().status == OrderStatus::Invalid => {
                    return Err(Error::Unproven(self.reason().await));
                }
                Err(error) => return Err(Error::of("waiting for the authority to look", &error)),
            }
        }
        if self.order.state().status == OrderStatus::Ready {
            let csr = request(self.host, &self.key).map_err(|error| Error::Failed("the request", error.to_string()))?;
            self.order.finalize_csr(&csr).await.map_err(|error| Error::of("the request", &error))?;
        }
        let issued = self.order.poll_certificate(&policy).await.map_err(|error| Error::of("the certificate", &error))?;
        let file = self.acme.0.store.certificate(self.host);
        self.acme.0.store.write(&file, (self.key.serialize_pem() + &issued).as_bytes())
    }

    /// Gives the answers to what the authority asks, and says that they are there.
    async fn prove(&mut self) -> Result<(), Error> {
        let kind = self.acme.0.config.challenge;
        let wanted = match kind {
            Challenge::Http01 => ChallengeType::Http01,
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        };
        let failed = |error: instant_acme::Error| Error::of("the challenge", &error);
        let mut authorizations = self.order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(failed)?;
            if authorization.status != AuthorizationStatus::Pending {
                continue;
            }
            let mut challenge = authorization.challenge(wanted.clone()).ok_or(Error::NoChallenge(kind.name()))?;
            let proof = challenge.key_authorization();
            let (name, answer) = match kind {
                Challenge::Http01 => (challenge.token.clone(), proof.as_str().as_bytes().to_vec()),
                Challenge::TlsAlpn01 => (self.host.to_owned(), proof.digest().as_ref().to_vec()),
            };
            self.acme.0.store.give(kind, &name, &answer)?;
            // One that another process has announced already must not be announced again.
            if challenge.status == ChallengeStatus::Pending {
                challenge.set_ready().await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// What the authority has found when it looked.
    async fn reason(&mut self) -> String {
        let mut authorizations = self.order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if let Ok(state) = authorization.refresh().await
                && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
            {
                return problem.to_string();
            }
        }
        "it does not say why".into()
    }
}

/// What is sent to be signed, in DER.
fn request(host: &str, key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

// === impl KeyType ===

impl KeyType {
    fn generate(self) -> Result<KeyPair, rcgen::Error> {
        KeyPair::generate_for(match self {
            Self::P256 => &PKCS_ECDSA_P256_SHA256,
            Self::P384 => &PKCS_ECDSA_P384_SHA384,
            Self::Rsa2048 => &PKCS_RSA_SHA256,
        })
    }
}
