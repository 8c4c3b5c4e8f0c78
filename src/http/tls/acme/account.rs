//! The account with an authority: made once, and its key kept.

use std::fs;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};

use super::{Acme, Error, causes};

// === impl Acme ===

impl Acme {
    /// The account in the cache, or a new one.
    pub(super) async fn account(&self) -> Result<Account, Error> {
        let config = &self.0.config;
        let failed = |error: instant_acme::Error| Error::Account(config.directory.clone(), causes(&error));
        let builder = match &config.directory_ca {
            Some(file) => Account::builder_with_root(file),
            None => Account::builder(),
        };
        let builder = builder.map_err(failed)?;
        let file = self.0.store.account();
        if let Some(known) = self.0.store.read::<AccountCredentials>(&file)? {
            return builder.from_credentials(known).await.map_err(failed);
        }
        let contact = config.email.iter().map(|email| format!("mailto:{email}")).collect::<Vec<_>>();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let external = config.external.as_ref().map(|known| ExternalAccountKey::new(known.key_id.clone(), &known.hmac_key));
        let (account, credentials) =
            builder.create(&wanted, config.directory.clone(), external.as_ref()).await.map_err(failed)?;
        self.0.store.write_json(&file, &credentials)?;
        tracing::info!("http.ssl.acme: a new account with {}: {}", config.directory, account.id());
        Ok(account)
    }

    /// Its file goes, so that the next order begins with a new one.
    pub(super) fn forget_account(&self) {
        drop(fs::remove_file(self.0.store.account()));
    }
}
